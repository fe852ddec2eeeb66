"""The version of the core, and what the one before had elsewhere: it is found there for one more version."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType
from typing import Any

__all__ = ["ALIASES", "__version__", "forwarded", "install"]

__version__ = "0.1.0"

#: The old path of a module, and its path today.
ALIASES = {
    "dgmcore.data.decode": "dgm_data.decode",
    "dgmcore.data.idx": "dgm_data.idx",
    "dgmcore.data.locate": "dgm_data.locate",
    "dgmcore.data.named": "dgm_data.named",
    "dgmcore.data.picture_files": "dgm_data.picture_files",
    "dgmcore.data.toys": "dgm_data.toys",
    "dgmcore.evaluation.distances": "dgm_eval.metrics.energy_distance",
    "dgmcore.evaluation.extractor": "dgm_eval.extractor",
    "dgmcore.evaluation.records": "dgm_eval.comparing",
    "dgmcore.folders": "dgmcore.files.folders",
    "dgmcore.loading.save": "dgmcore.model",
    "dgmcore.pictures": "dgmcore.sampling.pictures",
    "dgmcore.registry.listing": "dgmcore.calls.listing",
    "dgmcore.sampling.interpolate": "dgm_latent.interpolate",
    "dgmcore.sampling.pictures.preview": "dgm_export.terminal",
    "dgmcore.sampling.reconstruct": "dgm_latent.reconstruct",
    "dgmcore.saving": "dgmcore.model",
    "dgmcore.scoring": "dgmcore.sampling.scores",
    "dgmcore.train": "dgmcore.training",
    "dgmcore.train.energy": "dgm_train.energy",
    "dgmcore.train.objectives": "dgm_train.objectives",
    "dgmcore.train.phase": "dgmcore.training.phase",
    "dgmcore.training.energy": "dgm_train.energy",
    "dgmcore.training.objectives": "dgm_train.objectives",
}


class _Called(ModuleType):
    """A module that is called as the function of its name: `dgmcore.train(...)` after `import dgmcore.train.phase`."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return import_module("dgmcore.calls.by_plugins").train(*args, **kwargs)


class _Finder:
    """Finder and loader, asked last, for what is not where it was; importlib.abc would cost more than it gives."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        # typeshed wants a load_module, which Python has dropped
        return spec_from_loader(name, self, is_package=name == "dgmcore.train") if name in ALIASES else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Called(spec.name) if spec.name == "dgmcore.train" else ModuleType(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        new = ALIASES[module.__name__]
        warnings.warn(f"{module.__name__} is {new} now", DeprecationWarning, stacklevel=2)
        found = vars(import_module(new))
        module.__dict__.update({k: v for k, v in found.items() if k[:2] != "__" or k in ("__all__", "__getattr__")})


def forwarded(module: str, *names: str) -> Callable[[str], Any]:
    """Returns a module's `__getattr__` under which what plugins bring can be imported from where it once was."""

    def find(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return import_module("dgmcore.plugins").call(name)

    return find


def install() -> None:
    """Makes the old paths importable."""
    if not any(type(finder).__name__ == "_Finder" and type(finder).__module__ == __name__ for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
