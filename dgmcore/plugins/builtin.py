"""The plugin `core`: what the core itself provides, through the same hooks as any plugin."""

from __future__ import annotations

from typing import Any

from ..files.folders import bundled_registry
from ..hookspecs import hookimpl

PLUGIN_API = 1


@hookimpl
def dgm_architectures() -> list[dict[str, Any]]:
    return [
        {
            "name": "tilted",
            "family": "compositions",
            "import": "dgmcore.compose.tilted:Tilted",
            "summary": "Any generator tilted by any critic, sampled by Langevin dynamics on its noise",
            "paper": "https://arxiv.org/abs/2010.00654",
        },
    ]


@hookimpl
def dgm_registries() -> list[str]:
    folder = bundled_registry()
    return [str(folder)] if (folder.parent / "pyproject.toml").is_file() and folder.is_dir() else []
