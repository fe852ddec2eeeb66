"""One-line changes of behaviour in the families' modules, and whether their own tests notice them.

    python benchmarks/mutants.py dgm-flows --n 6 --seed 0
    python benchmarks/mutants.py dgm-given --at sampling.py:177      # all changes of one line

A change swaps an operator, a comparison or a truth, or adds one to a number. Annotations, docstrings, messages and
settings of a first recipe (`starter`) are left alone. Nothing is written: a process that is forked for each change
compiles the changed module in place of the file, and runs the plugin's tests that name the module or what is in it,
until one fails.
"""

from __future__ import annotations

import argparse
import ast
import importlib.abc
import importlib.machinery
import importlib.util
import os
import random
import re
import resource
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SWAPS: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
SIGNS = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Lt: "<",
    ast.GtE: ">=",
    ast.Gt: ">",
    ast.LtE: "<=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.And: "and",
    ast.Or: "or",
}


class Sites(ast.NodeVisitor):
    """Finds what can be changed."""

    def __init__(self) -> None:
        self.found: list[ast.AST] = []

    def visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.Raise | ast.JoinedStr | ast.Assert | ast.Import | ast.ImportFrom):
            return
        if isinstance(node, ast.FunctionDef) and node.name in ("starter", "__repr__"):
            return
        if isinstance(node, ast.FunctionDef):
            for child in (*node.args.defaults, *(d for d in node.args.kw_defaults if d is not None), *node.body):
                self.visit(child)
            return
        if isinstance(node, ast.AnnAssign):
            if node.value is not None:
                self.visit(node.value)
            return
        truth = isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float)
        if truth or (isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign) and type(node.op) in SWAPS):
            self.found.append(node)
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in SWAPS:
            self.found.append(node)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
            self.found.append(node)
        self.generic_visit(node)


def change(node: ast.AST) -> str:
    """Changes a node in place; returns what became of it."""
    if isinstance(node, ast.Constant):
        old, node.value = node.value, (not node.value) if isinstance(node.value, bool) else node.value + 1
        return f"{old} -> {node.value}"
    if isinstance(node, ast.UnaryOp):
        old, node.op = ("not", ast.UAdd()) if isinstance(node.op, ast.Not) else ("-", ast.UAdd())
        if old == "not":
            node.op, node.operand = ast.Not(), ast.UnaryOp(ast.Not(), node.operand)
        return f"{old} left out"
    if isinstance(node, ast.Compare):
        old = node.ops[0]
        node.ops[0] = SWAPS[type(old)]()
        return f"{SIGNS[type(old)]} -> {SIGNS[type(node.ops[0])]}"
    old = node.op
    node.op = SWAPS[type(old)]()
    return f"{SIGNS[type(old)]} -> {SIGNS[type(node.op)]}"


def sites(file: Path) -> list[ast.AST]:
    finder = Sites()
    finder.visit(ast.parse(file.read_text()))
    return finder.found


class Changed(importlib.abc.MetaPathFinder, importlib.machinery.SourceFileLoader):
    """Compiles one module from a changed tree."""

    def __init__(self, name: str, path: str, tree: ast.AST):
        importlib.machinery.SourceFileLoader.__init__(self, name, path)
        self.tree = tree

    def find_spec(self, name, path=None, target=None):
        return importlib.util.spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def get_code(self, fullname):
        return compile(ast.fix_missing_locations(self.tree), self.path, "exec")


def tests_of(plugin: Path, file: Path) -> list[str]:
    """Returns the files of tests that name a module or something in it: those that name most first, but for those
    with the conformance suite, which takes minutes."""
    tree = ast.parse(file.read_text())
    names = {n.name for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef)}
    names |= {file.stem, file.stem.replace("_", "-"), *(n.name for n in ast.walk(tree) if isinstance(n, ast.ClassDef))}
    pattern = re.compile("|".join(rf"\b{re.escape(n)}\b" for n in names))
    texts = {str(t): t.read_text() for t in (plugin / "tests").glob("test_*.py")}
    counts = {t: len(pattern.findall(text)) for t, text in texts.items()}
    by_length = sorted(counts, key=lambda t: ("parametrize_with_checks" in texts[t], -counts[t]))
    return [t for t in by_length if counts[t]] or by_length


def noticed(plugin: Path, file: Path, index: int, seconds: int, show: bool) -> tuple[str, str]:
    """Returns what was changed, and `noticed`, `survived` or `out of time`."""
    tree = ast.parse(file.read_text())
    finder = Sites()
    finder.visit(tree)
    node = finder.found[index]
    said = f"{file.relative_to(ROOT)}:{node.lineno} col {node.col_offset}: {change(node)}"
    name = ".".join(file.relative_to(plugin / "src").with_suffix("").parts).removesuffix(".__init__")
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
        sys.meta_path.insert(0, Changed(name, str(file), tree))
        if not show:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
        import pytest

        arguments = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:randomly", "--no-header"]
        os._exit(int(pytest.main([*arguments, *tests_of(plugin, file)])))
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return said, "out of time" if os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL) else "noticed"
    return said, {0: "survived", 5: "no tests"}.get(os.WEXITSTATUS(status), "noticed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plugin", help="such as dgm-flows")
    parser.add_argument("--n", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--at", help="FILE:LINE of the plugin instead of a sample")
    parser.add_argument("--only", help="a pattern of files")
    parser.add_argument("--seconds", type=int, default=120, help="of the processor, for each")
    parser.add_argument("--show", action="store_true", help="what pytest says")
    asked = parser.parse_args()
    plugin = ROOT / "plugins" / asked.plugin
    files = sorted((plugin / "src").rglob("*.py"))
    if asked.only:
        files = [f for f in files if re.search(asked.only, str(f))]
    every = [(f, i, node.lineno) for f in files for i, node in enumerate(sites(f))]
    if asked.at:
        place, line = asked.at.split(":")
        chosen = [(f, i) for f, i, n in every if str(f).endswith(place) and n == int(line)]
    else:
        chosen = [(f, i) for f, i, _ in random.Random(asked.seed).sample(every, asked.n)]
    # what all tests import is imported once; nothing of the plugin is
    import hypothesis  # noqa: F401
    import numpy  # noqa: F401
    import pytest  # noqa: F401
    import scipy.stats  # noqa: F401
    import torch._dynamo  # noqa: F401

    counts: dict[str, int] = {}
    for file, index in chosen:
        said, verdict = noticed(plugin, file, index, asked.seconds, asked.show)
        counts[verdict] = counts.get(verdict, 0) + 1
        print(f"{verdict:12} {said}", flush=True)
    print(f"{asked.plugin}: {counts.get('noticed', 0)} of {len(chosen)} noticed, of {len(every)} possible", flush=True)


if __name__ == "__main__":
    main()
