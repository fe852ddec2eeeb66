"""The house stands: imports inside functions postpone something heavy, no module is in a circle, folders stay small."""

from __future__ import annotations

import graphlib
from pathlib import Path

import pytest
from import_graph import Import, Package

import dgmcore

ROOT = Path(dgmcore.__file__).parent

# what takes long to import, or is there only with an extra
HEAVY = {
    *("IPython", "PIL", "accelerate", "copier", "filelock", "huggingface_hub", "matplotlib", "numpy", "pytest", "rich"),
    *("safetensors", "scipy", "torch", "tqdm", "typer", "yaml"),
}

# an import inside a function that postpones nothing of the above, and why it is there
EXCEPTIONS: dict[tuple[str, str], str] = {
    ("dgmcore.plugins.current", "dgmcore.plugins.compile"): "imports pluggy and metadata, after an edit only",
    ("dgmcore.cli.commands.sample", "signal"): "only where pipes break, and not on Windows",
    ("dgmcore.sampling.scores", "dgmcore.data"): "drawing opens no data",
    ("dgmcore.plugins.imports", "hashlib"): "only where there is a one-file plugin",
    ("dgmcore.suggestions", "difflib"): "only after a mistake",
}

# what list, info, pull, load, sample, score and save stand on, and the contracts
KERNEL = ["errors", "config", "noise", "interfaces", "model", "entry", "files", "plugins", "registry", "hub", "loading"]
# what else of the core it may import: hooks, and the words for people
BELOW = ["hookspecs", "suggestions", "console", "version"]

# folders with more than twelve modules (without __init__ and __main__), to be made smaller
LARGE: dict[str, int] = {}


@pytest.fixture(scope="module")
def core() -> Package:
    return Package(ROOT)


def test_imports_inside_functions_postpone_something_heavy(core):
    found = {(i.importer, i.imported): i for i in core.imports if i.inside and not _postpones(core, i)}
    new = {pair: i for pair, i in found.items() if pair not in EXCEPTIONS}
    assert not new, "move to the top of the module, or write down a reason here: " + "; ".join(
        f"{i.importer}:{i.line} imports {i.imported}" for i in new.values()
    )
    outdated = EXCEPTIONS.keys() - found.keys()
    assert not outdated, f"no longer there, take it out of the lists here: {sorted(outdated)}"
    assert all(reason.strip() for reason in EXCEPTIONS.values())


def _postpones(core: Package, i: Import) -> bool:
    return bool((core.closure(i.imported) - core.closure(i.importer)) & HEAVY)


def test_what_is_imported_from_the_core_is_there(core):
    missing = {f"{i.importer}:{i.line} imports {i.imported}" for i in core.imports if _is_missing(core, i.imported)}
    assert not missing


def _is_missing(core: Package, module: str) -> bool:
    return module.partition(".")[0] == core.name and module not in core.files


def test_no_circle_of_modules_counting_imports_inside_functions(core):
    edges: dict[str, set[str]] = {module: set() for module in core.files}
    for i in core.imports:
        if i.imported in core.files:
            edges[i.importer].add(i.imported)
    try:
        graphlib.TopologicalSorter(edges).prepare()
    except graphlib.CycleError as e:
        pytest.fail(f"a circle of imports: {' -> '.join(reversed(e.args[1]))}")


def test_folders_have_at_most_twelve_modules():
    sizes = {}
    for folder in [ROOT, *(f for f in ROOT.rglob("*") if f.is_dir() and "templates" not in f.parts)]:
        modules = [p.name for p in folder.glob("*.py") if p.name not in ("__init__.py", "__main__.py")]
        if len(modules) > 12:
            sizes[folder.relative_to(ROOT.parent).as_posix()] = len(modules)
    assert sizes == LARGE


def test_the_core_and_its_kernel_stay_small():
    """In lines of Python, as `wc -l` counts them."""
    lines = {p.relative_to(ROOT): p.read_bytes().count(b"\n") for p in ROOT.rglob("*.py")}
    kernel = sum(n for path, n in lines.items() if path.parts[0].removesuffix(".py") in KERNEL)
    assert {path.parts[0].removesuffix(".py") for path in lines} >= set(KERNEL)
    assert sum(lines.values()) <= 11_000 and kernel < 4_000, (sum(lines.values()), kernel)


def test_the_kernel_imports_nothing_of_the_core_that_is_not_counted(core):
    """A layer that the kernel needs is a part of it, whatever it is called."""
    parts = {f"dgmcore.{name}" for name in (*KERNEL, *BELOW)}
    foreign = {
        f"{i.importer}:{i.line} imports {i.imported}"
        for i in core.imports
        if i.importer.split(".")[1:2] and i.importer.split(".")[1] in KERNEL and i.imported.startswith("dgmcore.")
        if ".".join(i.imported.split(".")[:2]) not in parts
    }
    assert not foreign


def test_the_reader_of_imports(tmp_path):
    """On a made-up package: relative and absolute imports, in functions, under TYPE_CHECKING, and their closure."""
    files = {
        "__init__.py": "import json\n",
        "a.py": "from typing import TYPE_CHECKING\nfrom . import b\nif TYPE_CHECKING:\n    from . import far\n",
        "b.py": "def f():\n    from .inner.c import g\n    import torch.nn\n",
        "far.py": "import box.a\n",
        "inner/__init__.py": "from ..b import f\n",
        "inner/c.py": "from .. import a as other\nimport torch.nn as nn\n",
    }
    for name, text in files.items():
        (tmp_path / "box" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "box" / name).write_text(text)
    box = Package(tmp_path / "box")
    seen = {(i.importer, i.imported, i.inside) for i in box.imports}
    assert ("box.b", "box.inner.c", True) in seen and ("box.b", "torch", True) in seen
    assert ("box.inner", "box.b", False) in seen and ("box.inner.c", "box.a", False) in seen
    assert ("box.far", "box.a", False) in seen and not any(i[:2] == ("box.a", "box.far") for i in seen)
    assert box.closure("box.b") == {"box.b", "box", "json"}
    assert "torch" in box.closure("box.inner.c") and "box.b" in box.closure("box.inner.c")
