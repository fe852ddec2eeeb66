"""Where this user's files are: plugins, entries and data in one folder, what can be rebuilt in another.

`XDG_DATA_HOME` and `XDG_CACHE_HOME` are honoured where the platform knows them.
"""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_dir, user_data_dir


def user_data() -> Path:
    """The user's own folder: `plugins/`, `registry/` and `data/` are inside."""
    return Path(user_data_dir("dgmcore"))


def user_plugins() -> Path:
    """The folder of one-file plugins."""
    return user_data() / "plugins"


def user_registry() -> Path:
    """The user's own registry."""
    return user_data() / "registry"


def user_cache() -> Path:
    """What may be deleted at any time."""
    return Path(user_cache_dir("dgmcore"))


def environment_registries() -> list[Path]:
    """The folders that `$DGM_REGISTRY` names, the most important first."""
    return [Path(p).absolute() for p in os.environ.get("DGM_REGISTRY", "").split(os.pathsep) if p]


def bundled_registry() -> Path:
    """The registry of a checkout; what is installed from wheels has none here, but in the package dgm-weights."""
    return Path(__file__).parent.parent.parent / "registry"
