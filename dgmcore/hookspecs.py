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

import inspect
import sys
from collections.abc import Iterator
from typing import Any

import pluggy

from .suggestions import did_you_mean

__all__ = ["PLUGIN_API", "PROJECT", "hookimpl", "hooks_of", "hookspec", "incompatible"]

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
    """Functions behind calls of the core (see :mod:`dgmcore.calls.by_plugins`): ``name``, ``import``, ``summary``."""


# --- what a plugin must look like -------------------------------------------------------------------


def incompatible(plugin: Any, name: str) -> tuple[str, str] | None:
    """Returns what is wrong with the `PLUGIN_API` of a plugin called `name`, and what to do; None if nothing is."""
    module = plugin if inspect.ismodule(plugin) else sys.modules.get(getattr(plugin, "__module__", ""), plugin)
    api = getattr(plugin, "PLUGIN_API", getattr(module, "PLUGIN_API", None))
    if api is None or api == PLUGIN_API:
        return None
    newer = isinstance(api, int) and api > PLUGIN_API
    hint = "upgrade dgmcore: pip install -U dgmcore" if newer else f"set PLUGIN_API = {PLUGIN_API} once it fits"
    return f"{name} is written for PLUGIN_API {api!r}, this dgmcore has {PLUGIN_API}", hint


def hooks_of(plugin: Any, name: str) -> tuple[Any, list[tuple[str, str]]]:
    """Returns what calls the hooks of a plugin called `name`, and what is wrong with them, each with what to do."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(sys.modules[__name__])
    return manager.hook, [*_faults(plugin, name), *_refusal(manager, plugin)]


def _faults(plugin: Any, name: str) -> Iterator[tuple[str, str]]:
    specified = [hook for hook in globals() if hook.startswith("dgm_")]
    for own, function in inspect.getmembers(plugin, inspect.isroutine):
        marked = getattr(function, f"{PROJECT}_impl", None)
        if marked and (hook := marked.get("specname") or own) not in specified:
            yield f"there is no hook {hook}", did_you_mean(hook, specified, n=1)
        elif own.startswith("dgm_") and not marked:
            yield f"{own} in {name} is not marked as a hook", "decorate it with @dgmcore.hookspecs.hookimpl"


def _refusal(manager: pluggy.PluginManager, plugin: Any) -> Iterator[tuple[str, str]]:
    try:
        manager.register(plugin)
    except pluggy.PluginValidationError as e:
        yield " ".join(str(e).split()), "hooks take no arguments: see dgmcore.hookspecs"
