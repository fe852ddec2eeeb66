"""dgmcore: one registry, one command and one call for every family of deep generative models.

Names are imported when they are first used, so `import dgmcore` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Config": "config",
    "Critic": "interfaces",
    "Density": "interfaces",
    "DgmError": "errors",
    "Encoder": "interfaces",
    "Generator": "interfaces",
    "IndexedNoise": "noise",
    "Likelihood": "interfaces",
    "Model": "model",
    "Noise": "noise",
    "Options": "config",
    "Pushforward": "interfaces",
    "Trajectory": "interfaces",
    "convert": "conversion",
    "evaluate": "evaluation",
    "info": "registry",
    "list_models": "registry",
    "load": "loading",
    "pull": "hub",
    "push": "hub",
    "sample": "sampling",
    "score": "scoring",
}

__all__ = ["__version__", "train", *_HOMES]


def __getattr__(name: str) -> Any:
    if name == "train":  # the subpackage, which is callable
        return import_module(".train", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    from . import train as train
    from .config import Config as Config
    from .config import Options as Options
    from .conversion import convert as convert
    from .errors import DgmError as DgmError
    from .evaluation import evaluate as evaluate
    from .hub import pull as pull
    from .hub import push as push
    from .interfaces import Critic as Critic
    from .interfaces import Density as Density
    from .interfaces import Encoder as Encoder
    from .interfaces import Generator as Generator
    from .interfaces import Likelihood as Likelihood
    from .interfaces import Pushforward as Pushforward
    from .interfaces import Trajectory as Trajectory
    from .loading import load as load
    from .model import Model as Model
    from .noise import IndexedNoise as IndexedNoise
    from .noise import Noise as Noise
    from .registry import info as info
    from .registry import list_models as list_models
    from .sampling import sample as sample
    from .scoring import score as score
