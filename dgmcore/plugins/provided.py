"""What plugins provide, by name.

The data come from the index (:mod:`dgmcore.plugins.index`); a plugin's module is imported when something
of it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import PluginError
from ..suggestions import did_you_mean
from . import index
from .imports import import_string

__all__ = [
    "PACKAGES",
    "architecture",
    "architectures",
    "call",
    "calls",
    "commands",
    "converters",
    "datasets",
    "features",
    "import_string",
    "metrics",
    "plugins",
]


def plugins() -> list[dict[str, Any]]:
    """Returns a record of each plugin: `name, distribution, version, status, errors` and what it provides."""
    return index.current().plugins


def architectures() -> dict[str, dict[str, Any]]:
    """Architectures by name: `family, import, summary, capabilities, likelihood, parts, plugin`, ..."""
    return index.current().provided("architectures")


def datasets() -> dict[str, dict[str, Any]]:
    """Data sets by name: `import, summary, plugin`."""
    return index.current().provided("datasets")


def metrics() -> dict[str, dict[str, Any]]:
    """Metrics by name: `import, summary, plugin`."""
    return index.current().provided("metrics")


def features() -> dict[str, dict[str, Any]]:
    """Default feature extractors by data set: `entry, plugin`."""
    return index.current().provided("features")


def converters() -> dict[str, dict[str, Any]]:
    """Converters by format: `import, summary, license, plugin`."""
    return index.current().provided("converters")


def commands() -> dict[str, dict[str, Any]]:
    """Commands of plugins by name: `help, import, plugin`."""
    return index.current().provided("commands")


def calls() -> dict[str, dict[str, Any]]:
    """Functions behind calls of the core by name: `import, summary, plugin`."""
    return index.current().provided("calls")


#: The distributions that bring calls and commands that the core has a name for.
PACKAGES = {"train": "dgm-train", "eval": "dgm-eval", "evaluate": "dgm-eval", "push": "dgm-publish"}


def call(name: str) -> Callable[..., Any]:
    """Returns the function behind a call of the core, such as `train`.

    Raises:
        PluginError: If no plugin provides it, or the one that does can't be imported.
    """

    record = calls().get(name)
    if record is None:
        raise missing(name)
    try:
        return import_string(record["import"])
    except (Exception, SystemExit) as e:
        raise PluginError(
            f"plugin {record['plugin']}: {name} can't be imported: {type(e).__name__}: {e}", "see `dgm plugins`"
        ) from e


def missing(name: str) -> PluginError:
    """Returns the error for a call or command of the core that no plugin provides."""

    package = PACKAGES[name]
    wrong = [p for p in plugins() if p["distribution"] == package and p["status"] != "ok"]
    if wrong:
        return PluginError(
            f"plugin {wrong[0]['name']} is {wrong[0]['status']}, so there is no {name}", "see `dgm plugins`"
        )
    return PluginError(f"{name} is not installed: the package {package} brings it", f"pip install {package}")


def architecture(name: str) -> Any:
    """Returns the class (a subclass of :class:`dgmcore.Model`) of an architecture.

    Raises:
        PluginError: If no plugin provides it, or the one that does can't be imported.
    """

    known = architectures()
    if name not in known:
        raise unknown_architecture(name)
    record = known[name]
    try:
        return import_string(record["import"])
    except (Exception, SystemExit) as e:
        raise PluginError(
            f"plugin {record['plugin']}: architecture {name} can't be imported: {type(e).__name__}: {e}",
            "see `dgm plugins`",
        ) from e


def unknown_architecture(name: str) -> PluginError:
    """Returns the error for an architecture that nothing provides, and what to do about it."""

    wrong = [p for p in plugins() if p["status"] in ("broken", "incompatible")]
    wrong = wrong or [p for p in plugins() if p["status"] == "blocked"]
    if not wrong:
        hint = did_you_mean(name, architectures(), "install the plugin that provides it, see `dgm plugins`")
    elif len(wrong) == 1:
        hint = f"plugin {wrong[0]['name']} is {wrong[0]['status']}: {wrong[0]['errors'][0]['what']}"
    else:
        hint = f"these plugins are not loaded: {', '.join(p['name'] for p in wrong)}; see `dgm plugins`"
    return PluginError(f"no plugin provides the architecture {name}", hint)
