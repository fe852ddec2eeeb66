"""dgmcore: one registry, one command and one call for every family of deep generative models.

Names are imported when they are first used, so `import dgmcore` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__
from .version import install as _install_old_paths

#: The module of each public name.
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
    "convert": "conversion.converters",
    "evaluate": "calls.by_plugins",
    "given": "calls.by_plugins",
    "info": "calls.listing",
    "list_models": "calls.listing",
    "load": "loading.load",
    "pull": "calls.pulling",
    "push": "calls.by_plugins",
    "sample": "sampling.draw",
    "score": "sampling.scores",
    "train": "calls.by_plugins",
}

__all__ = ["__version__", *_HOMES]

_install_old_paths()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    from .calls.by_plugins import evaluate as evaluate
    from .calls.by_plugins import given as given
    from .calls.by_plugins import push as push
    from .calls.by_plugins import train as train
    from .calls.listing import info as info
    from .calls.listing import list_models as list_models
    from .calls.pulling import pull as pull
    from .config import Config as Config
    from .config import Options as Options
    from .conversion.converters import convert as convert
    from .errors import DgmError as DgmError
    from .interfaces import Critic as Critic
    from .interfaces import Density as Density
    from .interfaces import Encoder as Encoder
    from .interfaces import Generator as Generator
    from .interfaces import Likelihood as Likelihood
    from .interfaces import Pushforward as Pushforward
    from .interfaces import Trajectory as Trajectory
    from .loading.load import load as load
    from .model import Model as Model
    from .noise import IndexedNoise as IndexedNoise
    from .noise import Noise as Noise
    from .sampling.draw import sample as sample
    from .sampling.scores import score as score
