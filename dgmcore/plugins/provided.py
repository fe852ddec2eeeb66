"""What plugins provide, by name: `architectures()`, `datasets()`, `metrics()`, ... for each kind of the table.

The data come from the index (:mod:`dgmcore.plugins.index`); a plugin's module is imported when something of it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import PluginError, RegistryError
from ..suggestions import ASKED_BY, PACKAGES, did_you_mean
from . import current
from .imports import import_string
from .records import KINDS, NOT_NAMED, PluginRecord, Provides


def plugins() -> list[PluginRecord]:
    """Returns a record of each plugin, the core's own first."""
    return current.index().plugins


def provided() -> Provides:
    """Returns what all plugins provide, each kind by name."""
    return current.index().provided


def __getattr__(kind: str) -> Callable[[], dict[str, Any]]:
    """`architectures()` is `provided().architectures`, and so for each kind of :class:`.records.Provides`."""
    if kind not in KINDS:
        raise AttributeError(f"module {__name__!r} has no attribute {kind!r}")
    return lambda: getattr(provided(), kind)


def architecture(name: str) -> Any:
    """Returns the class, a subclass of :class:`dgmcore.Model`, of an architecture; raises as :func:`call`."""
    record = provided().architectures.get(name)
    if record is None:
        raise unknown_architecture(name)
    return imported(record.plugin, f"architecture {name}", record.import_)


def name_of(kind: type) -> str:
    """Returns the name of an architecture by its class; raises a RegistryError if no plugin provides it."""
    # names are compared first, so that only the plugin in question is imported
    for name, record in provided().architectures.items():
        if record.import_.rpartition(":")[2] == kind.__qualname__ and architecture(name) is kind:
            return name
    what = f"no plugin provides the architecture {kind.__module__}:{kind.__qualname__}"
    raise RegistryError(what, "give save(..., architecture=NAME), or register it with the hook dgm_architectures")


def call(name: str) -> Callable[..., Any]:
    """Returns the function behind a call of the core, such as `train`.

    Raises a PluginError if no plugin provides it, or the one that does can't be imported.
    """
    record = provided().calls.get(name)
    if record is None:
        raise missing(name)
    function: Callable[..., Any] = imported(record.plugin, name, record.import_)
    return function


def imported(plugin: str, what: str, string: str) -> Any:
    """Imports a thing of a plugin; raises a PluginError that calls it `what`."""
    try:
        return import_string(string)
    except (Exception, SystemExit) as e:
        said = f"plugin {plugin}: {what} can't be imported: {type(e).__name__}: {e}"
        raise PluginError(said, "see `dgm plugins`") from e


def distribution_of(architecture: str) -> str | None:
    """Returns the distribution that brings an architecture: None for the core, for a file, and where there is none."""
    record = provided().architectures.get(architecture)
    source = next((p.source for p in plugins() if record is not None and p.name == record.plugin), None)
    return source.distribution if source is not None and source.kind == "installed" else None


def missing(name: str) -> PluginError:
    """Returns the error for a call or command of the core that no plugin provides."""
    package, name = PACKAGES[name], ASKED_BY.get(name, name)
    for plugin in plugins():
        if plugin.source.distribution == package and plugin.status != "ok":
            what = f"plugin {plugin.name} is {plugin.status}, so there is no {name}"
            return PluginError(what, "see `dgm plugins`")
    return PluginError(f"{name} needs the plugin {package}, which is not installed", f"pip install {package}")


def unknown_architecture(name: str) -> PluginError:
    """Returns the error for an architecture that nothing provides, and what to do about it."""
    rows, here = current.index().rows, {p.source.distribution for p in plugins()}
    said = (entry.package for entry in (row.entry() for row in rows) if entry.architecture == name)
    package = next((package for package in said if package and package not in here), None)
    unloaded = [p for p in plugins() if p.status != "ok"]
    wrong = [p for p in unloaded if p.errors[0].what != NOT_NAMED] or unloaded
    if package is not None:
        hint = f"pip install {package}"
    elif not wrong:
        known = provided().architectures
        hint = did_you_mean(name, known, "install the plugin that provides it, see `dgm plugins`")
    elif len(wrong) == 1:
        hint = f"plugin {wrong[0].name} is {wrong[0].status}: {wrong[0].errors[0].what}; {wrong[0].errors[0].hint}"
    else:
        hint = f"these plugins are not loaded: {', '.join(p.name for p in wrong)}; see `dgm plugins`"
    return PluginError(f"no plugin provides the architecture {name}", hint)
