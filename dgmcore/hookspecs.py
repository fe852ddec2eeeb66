"""The hooks of a plugin. Every hook returns plain data with import strings, never classes.

A plugin is a module (or any object) named by an entry point of the group ``dgm``::

    [project.entry-points.dgm]
    my-family = "my_package"

Listing models reads what the hooks said from an index; the module is imported only to rebuild it
after an install or an edit, so keep torch out of the module's top level.

Example:
    A whole plugin module::

        import dgmcore.hookspecs as dgm

        PLUGIN_API = 1

        @dgm.hookimpl
        def dgm_architectures():
            return [{"name": "shift", "family": "toys", "import": "my_package.shift:Shift",
                     "summary": "A shifted Gaussian", "paper": "https://..."}]
"""

from __future__ import annotations

from typing import Any

import pluggy

__all__ = ["PLUGIN_API", "PROJECT", "hookimpl", "hookspec"]

PROJECT = "dgm"
PLUGIN_API = 1

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def dgm_architectures() -> list[dict[str, Any]]:
    """Architectures: ``name``, ``family``, ``import`` (``module:Class`` of a Model), ``summary``, ``paper``."""


@hookspec
def dgm_registries() -> list[str]:
    """Folders of entries (``FOLDER/NAME/model.yaml``), absolute paths."""


@hookspec
def dgm_datasets() -> list[dict[str, Any]]:
    """Data sets: ``name``, ``import`` (``module:function(split, root) -> Dataset``), ``summary``."""


@hookspec
def dgm_metrics() -> list[dict[str, Any]]:
    """Metrics: ``name``, ``import`` (``module:function``, see :mod:`dgmcore.evaluation`), ``summary``."""


@hookspec
def dgm_features() -> list[dict[str, Any]]:
    """Default feature extractors: ``dataset``, ``entry`` (a model that implements ``Features``)."""


@hookspec
def dgm_converters() -> list[dict[str, Any]]:
    """Formats of foreign checkpoints: ``format``, ``import`` (``module:function``), ``summary``, ``license``."""


@hookspec
def dgm_commands() -> list[dict[str, Any]]:
    """Commands: ``name``, ``help``, ``import`` (``module:app``, a typer app)."""


@hookspec
def dgm_samplers() -> list[dict[str, Any]]:
    """Chains of tilted models: ``name``, ``import`` (``module:function(tilted, noise, options)``), ``summary``."""


@hookspec
def dgm_operators() -> list[dict[str, Any]]:
    """What of a datum is observed: ``name``, ``import`` (``module:function(argument, event_shape)``), ``summary``."""


@hookspec
def dgm_calls() -> list[dict[str, Any]]:
    """Functions behind calls of the core (see :mod:`dgmcore.calls`): ``name``, ``import``, ``summary``."""
