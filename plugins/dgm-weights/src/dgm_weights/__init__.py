"""The shipped models as a distribution of their own: the core's wheel has none."""

from __future__ import annotations

from pathlib import Path

from dgmcore.hookspecs import hookimpl

PLUGIN_API = 1


@hookimpl
def dgm_registries() -> list[str]:
    """The registry inside a wheel; a checkout has it beside the core, which finds it there."""
    folder = Path(__file__).parent / "registry"
    return [str(folder)] if folder.is_dir() else []
