"""What the modules of a package import, and where: at their top, or inside a function.

Read from the source, so nothing is imported. An import under `if TYPE_CHECKING` costs nothing at run time and is
left out.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["Import", "Package"]


@dataclass(frozen=True)
class Import:
    """One imported module: `importer` imports `imported` in `line`, inside a function or not."""

    importer: str
    imported: str
    line: int
    inside: bool


class Package:
    """The modules below a folder.

    Arguments:
        root: The folder of the package.
    """

    def __init__(self, root: Path):
        self.root, self.name = root, root.name
        self.files = {self._name(p): p for p in sorted(root.rglob("*.py")) if "templates" not in p.parts}
        self.imports = [i for module in self.files for i in self._imports_of(module)]

    def closure(self, *modules: str) -> frozenset[str]:
        """Returns all that importing these modules imports: modules of the package, and names of other packages."""

        found: set[str] = set()
        waiting = list(modules)
        while waiting:
            module = waiting.pop()
            if module not in found:
                found.add(module)
                waiting += self._top(module)
        return frozenset(found)

    @cache  # noqa: B019
    def _top(self, module: str) -> tuple[str, ...]:
        """Returns what the import of one module imports at once: the packages that it is in, and its own top level."""

        parents = [module.rpartition(".")[0]] if module in self.files and "." in module else []
        return (*parents, *(i.imported for i in self.imports if i.importer == module and not i.inside))

    def _name(self, file: Path) -> str:
        parts = file.relative_to(self.root.parent).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def _imports_of(self, module: str) -> Iterator[Import]:
        tree = ast.parse(self.files[module].read_text(encoding="utf-8"))
        for node, inside in _import_nodes(tree, inside=False):
            for imported in self._targets(module, node):
                yield Import(module, imported, node.lineno, inside)

    def _targets(self, module: str, node: ast.Import | ast.ImportFrom) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (self._known(alias.name) for alias in node.names)
            return
        base = node.module or ""
        if node.level:
            is_package = self.files[module].name == "__init__.py"
            parts = module.split(".")[: None if is_package and node.level == 1 else is_package - node.level]
            base = ".".join([*parts, *([base] if base else [])])
        for alias in node.names:  # `from . import index` may name modules, or what is in one
            inner = f"{base}.{alias.name}"
            yield inner if inner in self.files else self._known(base)

    def _known(self, name: str) -> str:
        """Returns a module of the package by its full name, another package by its first."""

        return name if name.partition(".")[0] == self.name else name.partition(".")[0]


def _import_nodes(node: ast.AST, inside: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, inside
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        else:
            yield from _import_nodes(child, inside or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))
