"""Where plugins are: entry points of installed distributions, and files in the user's plugin folder."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..console import printable
from ..files.folders import user_plugins
from ..version import __version__
from .imports import HOME, USER_PACKAGE, is_trusted, search_path
from .records import NOT_NAMED, Problem, Source

GROUP = "dgm"
SHOWN = 500  # characters of a text from a plugin that are kept
ORIGINS = ("environment", "user", "folder", "hub")  # of entries that are no plugin's: no names for plugins


def discover() -> list[Source]:
    """Returns the sources of all plugins: the core, then installed ones by distribution, then files.

    The order decides who keeps a name that two of them claim.
    """
    core = Source("core", "builtin", "dgmcore.plugins.builtin", "dgmcore", __version__, printable(HOME))
    installed = sorted(set(_installed()), key=lambda s: (s.distribution or "", s.name, s.value))
    folder = user_plugins()
    files = [f for f in sorted(folder.glob("*.py")) if not f.name.startswith(("_", ".")) and str(f).isprintable()]
    own = [Source(file.stem, "file", f"{USER_PACKAGE}.{file.stem}", location=str(file)) for file in files]
    return [core, *installed, *own]


def _installed() -> Iterator[Source]:
    """Yields the entry points of the group; the first distribution of a name on `sys.path` counts."""
    seen = set()
    for distribution in importlib.metadata.distributions(path=search_path()):
        try:
            points = [p for p in distribution.entry_points if p.group == GROUP]
            if not points or (title := distribution.metadata["Name"] or "").lower().replace("_", "-") in seen:
                continue
            version, location = distribution.version, printable(distribution.locate_file(""))
        except Exception:  # damaged metadata of any distribution on the path, which may be nobody's plugin
            continue
        seen.add(title.lower().replace("_", "-"))
        for p in points:
            name, value, title, version = (printable(t, SHOWN) for t in (p.name, p.value, title, version))
            yield Source(name, "installed", value, title, version, location)


def limit() -> set[str] | None:
    """Returns the names in `$DGM_PLUGINS`, or None where everything is loaded."""
    value = os.environ.get("DGM_PLUGINS")
    return None if value is None else {name.strip() for name in value.split(",") if name.strip()}


def barred(sources: Iterable[Source]) -> dict[Source, Problem]:
    """Returns the plugins that are not to be loaded, and why."""
    chosen = limit()
    found: dict[Source, Problem] = {}
    owners = dict.fromkeys(ORIGINS, "dgm itself")
    for source in sources:
        if source.kind != "builtin" and chosen is not None and chosen.isdisjoint({source.name, source.distribution}):
            found[source] = Problem(NOT_NAMED, f"DGM_PLUGINS=...,{source.name} loads it", status="blocked")
        elif source.kind == "file" and not is_trusted(source.location):
            what = f"{os.path.basename(source.location)} is new or has changed, so it does not run"
            found[source] = Problem(what, f"dgm plugins --trust {source.name}", status="blocked")
        elif source.name in owners:
            what = f"the plugin name {source.name} is taken by {owners[source.name]}"
            found[source] = Problem(what, "give the entry point another name")
        else:
            owners[source.name] = source.distribution or source.location
    return found


def module_files(source: Source) -> list[str]:
    """Returns the file of a plugin's module, without importing it, and the other files of a package."""
    if source.kind == "file":
        return [source.location]
    name = source.value.partition(":")[0].split(".")[0].strip()
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return []
    if spec is None or spec.origin is None or not os.path.isfile(spec.origin):
        return []
    inside = Path(spec.origin).parent.rglob("*.py") if spec.submodule_search_locations else ()
    return list(dict.fromkeys([spec.origin, *sorted(map(str, inside))]))
