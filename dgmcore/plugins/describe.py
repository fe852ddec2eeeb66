"""Finds plugins, loads each in a `try`, and describes it as plain data.

This is the slow half of the plugin system: it runs when the index is rebuilt (:mod:`dgmcore.plugins.index`).
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import inspect
import json
import os
import sys
import traceback
from collections.abc import Iterable, Mapping
from typing import Any

import pluggy

from .. import hookspecs
from ..files.folders import user_plugins
from ..suggestions import nearest
from . import index
from .imports import USER_PACKAGE, import_module, import_string

__all__ = [
    "GROUP",
    "HOOKS",
    "SOURCE_KEYS",
    "Record",
    "Source",
    "blank",
    "core_state",
    "describe",
    "discover",
    "fail",
    "files_of_module",
    "limit",
    "serve",
]

GROUP = "dgm"
MAX_NAME, MAX_TEXT = 200, 2000  # characters of what identifies a record, and of what it says

SOURCE_KEYS = ("name", "kind", "value", "distribution", "version", "location")

Source = dict[str, Any]  # of these keys
Record = dict[str, Any]  # a source, and what was learned of it

#: Each hook: what its records are called, the key that names one, the keys it needs and may have.
HOOKS: dict[str, tuple[str, str, tuple[str, ...], tuple[str, ...]]] = {
    "dgm_architectures": ("architectures", "name", ("name", "family", "import"), ("summary", "paper")),
    "dgm_datasets": ("datasets", "name", ("name", "import"), ("summary",)),
    "dgm_metrics": ("metrics", "name", ("name", "import"), ("summary",)),
    "dgm_features": ("features", "dataset", ("dataset", "entry"), ("summary",)),
    "dgm_converters": ("converters", "format", ("format", "import"), ("summary", "license")),
    "dgm_commands": ("commands", "name", ("name", "help", "import"), ()),
    "dgm_calls": ("calls", "name", ("name", "import"), ("summary",)),
}


# --- where plugins are ------------------------------------------------------------------------------


def discover() -> list[Source]:
    """Returns the sources of all plugins: the core, then installed ones by distribution, then files.

    The order decides who keeps a name that two of them claim.
    """

    from ..version import __version__

    core = _source(
        "core", "builtin", "dgmcore.plugins.builtin", "dgmcore", __version__, os.path.dirname(os.path.dirname(__file__))
    )
    return [core, *sorted(_installed(), key=lambda s: (s["distribution"], s["name"])), *_files()]


def _source(name: str, kind: str, value: str, distribution: str | None, version: str | None, location: str) -> Source:
    return dict(zip(SOURCE_KEYS, (name, kind, value, distribution, version, location), strict=True))


def _installed() -> Iterable[Source]:
    """Yields the entry points of the group; the first distribution of a name on `sys.path` counts."""

    seen = set()
    for distribution in importlib.metadata.distributions():
        try:
            title = distribution.metadata["Name"] or ""
            points = [p for p in distribution.entry_points if p.group == GROUP]
            version = distribution.version
        except Exception:  # damaged metadata of any distribution on the path, which may be nobody's plugin
            continue
        key = title.lower().replace("_", "-")
        if key in seen:
            continue
        seen.add(key)
        for point in points:
            location = str(distribution.locate_file(""))
            yield _source(*map(_shown, (point.name, "installed", point.value, title)), _shown(version), location)


def _files() -> Iterable[Source]:
    """Yields the one-file plugins of the user's plugin folder."""

    folder = user_plugins()
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return
    for name in names:
        stem, suffix = os.path.splitext(name)
        if suffix == ".py" and not name.startswith(("_", ".")):
            yield _source(stem, "file", f"{USER_PACKAGE}.{stem}", None, None, str(folder / name))


# --- what they say ----------------------------------------------------------------------------------


def serve(sources: list[Source]) -> None:
    """Describes plugins to another process: a record a line on stdout, where plugins can't write."""

    sys.stdout.flush()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)  # what plugins print goes to stderr
        for source in sources:
            print(json.dumps(describe(source)), file=out, flush=True)
        os._exit(0)  # threads of a plugin don't keep us


def blank(source: Source) -> Record:
    """Returns the record of a plugin that has not been loaded."""

    record: Record = {**source, "status": "ok", "errors": [], "registries": [], "files": [], "retry": False}
    return record | {kind: {} for kind, *_ in HOOKS.values()}


def core_state() -> list[list[Any]]:
    """Returns the states of the files of the core that a record depends on, for those who edit the core."""

    here = os.path.dirname(os.path.dirname(__file__))
    names = ("plugins/describe", "plugins/builtin", "hookspecs", "interfaces")
    return [index.file_state(os.path.join(here, f"{name}.py")) for name in names]


def describe(source: Source) -> Record:
    """Loads a plugin and returns everything that it says; what is wrong with it is in `errors`."""

    record = blank(source)
    try:
        plugin = load(source)
        _check_api(plugin, record)
        if record["status"] == "ok":
            _call_hooks(plugin, record)
    except (Exception, SystemExit) as e:
        fail(record, f"{_said(e)}, while {source['value']} was imported", _hint(e), e)
    for architecture in record["architectures"].values():
        _describe_class(architecture, record)
    record["files"] = sorted(set(record["files"]) | _files_of(record))
    return record


def fail(record: Record, what: str, hint: str, error: BaseException | None = None, *, status: str = "broken") -> None:
    """Notes an error of a plugin."""

    what, trace = _shown(what), None
    if error is not None:
        trace = "".join(traceback.format_exception(error))[-8000:]
        frames = traceback.extract_tb(error.__traceback__)
        record["files"] += [f.filename for f in frames if os.path.isfile(f.filename)]
    record["errors"].append({"what": what, "hint": hint, "traceback": trace})
    record["status"] = status


def limit() -> set[str] | None:
    """Returns the names in `$DGM_PLUGINS`, or None where everything is loaded."""

    value = os.environ.get("DGM_PLUGINS")
    return None if value is None else {name.strip() for name in value.split(",") if name.strip()}


def load(source: Source) -> Any:
    """Imports a plugin: a module, or an object in one."""

    module, _, attribute = source["value"].partition(":")
    plugin: Any = import_module(module.split("[")[0].strip())
    for name in attribute.split("[")[0].strip().split("."):
        plugin = getattr(plugin, name) if name else plugin
    return plugin


def _check_api(plugin: Any, record: Record) -> None:
    module = plugin if inspect.ismodule(plugin) else sys.modules.get(getattr(plugin, "__module__", ""), plugin)
    api = getattr(plugin, "PLUGIN_API", getattr(module, "PLUGIN_API", hookspecs.PLUGIN_API))
    if api == hookspecs.PLUGIN_API:
        return
    newer = isinstance(api, int) and api > hookspecs.PLUGIN_API
    fail(
        record,
        f"{record['value']} is written for PLUGIN_API {api!r}, this dgmcore has {hookspecs.PLUGIN_API}",
        "upgrade dgmcore: pip install -U dgmcore" if newer else f"set PLUGIN_API = {hookspecs.PLUGIN_API} once it fits",
        status="incompatible",
    )


def _call_hooks(plugin: Any, record: Record) -> None:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    known = [*HOOKS, "dgm_registries"]
    for name, function in inspect.getmembers(plugin, inspect.isroutine):
        if name.startswith("dgm_") and not hasattr(function, f"{hookspecs.PROJECT}_impl"):
            fail(
                record,
                f"{name} in {record['value']} is not marked as a hook",
                "decorate it with @dgmcore.hookspecs.hookimpl",
            )
    try:
        manager.register(plugin, record["name"])
        manager.check_pending()
    except pluggy.PluginValidationError as e:
        hooks = [c.name for c in manager.get_hookcallers(plugin) or [] if not c.has_spec()]
        for name in hooks:
            close = nearest(name, known, 1)
            fail(
                record,
                f"there is no hook {name}",
                f"did you mean {close[0]}?" if close else f"hooks: {', '.join(known)}",
            )
        if not hooks:
            fail(record, " ".join(str(e).split()), "hooks take no arguments: see dgmcore.hookspecs")
        return
    if record["status"] != "ok":
        return
    for hook in known:
        for result in _results(manager, hook, record):
            if hook == "dgm_registries":
                _take_registries(result, record)
            else:
                _take_records(hook, result, record)


def _results(manager: pluggy.PluginManager, hook: str, record: Record) -> list[Any]:
    try:
        return getattr(manager.hook, hook)()
    except (Exception, SystemExit) as e:
        fail(record, f"{hook} raised {_said(e)}", _hint(e), e)
        return []


def _take_registries(result: Any, record: Record) -> None:
    for folder in result if isinstance(result, (list, tuple)) else [result]:
        folder = os.fspath(folder) if isinstance(folder, os.PathLike) else folder
        if not isinstance(folder, str) or not os.path.isabs(folder) or not os.path.isdir(folder):
            fail(
                record, f"dgm_registries: {folder!r} is not the absolute path of a folder", "use Path(__file__).parent"
            )
        else:
            record["registries"].append(folder)


def _take_records(hook: str, result: Any, record: Record) -> None:
    kind, key, needed, optional = HOOKS[hook]
    if not isinstance(result, (list, tuple)):
        return fail(record, f"{hook} returned {type(result).__name__}, not a list", "return a list of dicts")
    for item in result:
        problem = _problem(item, needed, optional)
        if problem:
            fail(record, f"{hook}: {problem}", f"keys: {', '.join(needed)}; optional: {', '.join(optional) or 'none'}")
        elif item[key] in record[kind]:
            fail(record, f"{hook}: {item[key]} is there twice", "give each a name of its own")
        else:
            record[kind][item[key]] = dict(item)


def _problem(item: Any, needed: tuple[str, ...], optional: tuple[str, ...]) -> str | None:
    """Says what is wrong with one record of a hook, or None."""

    if not isinstance(item, Mapping):
        return f"{item!r:.60} is not a dict"
    for key in needed:
        if key not in item:
            return f"{dict(item)!r:.80} lacks the key {key}"
    for key, value in item.items():
        if key not in (*needed, *optional):
            close = nearest(str(key), (*needed, *optional), 1)
            return f"unknown key {key!r}" + (f", did you mean {close[0]}?" if close else "")
        if not isinstance(value, str):
            return f"{key} must be text, not {value!r:.60}"
        if not value.isprintable() or len(value) > (MAX_NAME if key in needed else MAX_TEXT):
            return f"{key} must be one short printable line, not {value!r:.60}"
    if "import" in needed:
        module, _, name = item["import"].partition(":")
        if not all(part.isidentifier() for part in (*module.split("."), *name.split("."))):
            return f"import must read module:name, not {item['import']!r}"
    return None


def _describe_class(architecture: dict[str, Any], record: Record) -> None:
    """Adds the capabilities of an architecture, derived from its class, and its options."""

    from ..interfaces import Likelihood, capabilities

    architecture.update(capabilities=[], parts={}, likelihood=None, sampling={}, scoring={})
    try:
        cls = import_string(architecture["import"])
        architecture["capabilities"] = capabilities(cls)
        architecture["parts"] = {name: list(needs) for name, needs in getattr(cls, "Parts", {}).items()}
        likelihood = getattr(cls, "likelihood", None)
        architecture["likelihood"] = str(likelihood) if isinstance(likelihood, Likelihood) else None
        architecture["sampling"] = _options(getattr(cls, "Sampling", None))
        architecture["scoring"] = _options(getattr(cls, "Scoring", None))
    except (Exception, SystemExit) as e:
        fail(record, f"architecture {architecture['name']}: {_said(e)}", _hint(e), e)
        architecture["error"] = record["errors"][-1]["what"]


def _options(struct: Any) -> dict[str, Any]:
    """Returns the options of a typed struct by name, with their types and defaults."""

    import msgspec

    if struct is None:
        return {}
    options: dict[str, Any] = {}
    for field in msgspec.structs.fields(struct):
        default = field.default if field.default is not msgspec.NODEFAULT else None
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        kind = field.type.__name__ if isinstance(field.type, type) else str(field.type).replace("typing.", "")
        options[field.encode_name] = {"type": kind, "default": msgspec.to_builtins(default)}
    return options


def files_of_module(source: Source) -> list[str]:
    """Returns the file and the folder of a plugin's module, without importing it."""

    if source["kind"] == "file":
        return [source["location"]]
    name = source["value"].partition(":")[0].split(".")[0].strip()
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return []
    origin = spec.origin if spec is not None else None
    return [origin, os.path.dirname(origin)] if origin and os.path.isfile(origin) else []


def _files_of(record: Record) -> set[str]:
    """Returns the source files that the record was made from; for a broken plugin, whose
    author may add a file, also the folder."""

    files = set(files_of_module(record)[: 1 if record["status"] == "ok" else 2])
    modules = {s.partition(":")[0] for s in [record["value"], *(a["import"] for a in record["architectures"].values())]}
    if record["kind"] != "builtin":  # those of the core change with its version
        packages = {m.split(".")[0] for m in modules} - {USER_PACKAGE, "dgmcore"}
        modules |= {m for m in list(sys.modules) if m.split(".")[0] in packages}
    paths = {getattr(sys.modules.get(m), "__file__", None) for m in modules}
    return files | {p for p in paths if p and os.path.isfile(p)}


def _shown(text: Any, limit: int = 500) -> str:
    """Makes text from a plugin fit to be shown: one line, printable, and short."""
    text = "".join(c if c.isprintable() else "?" for c in str(text)[: 4 * limit])
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _said(error: BaseException) -> str:
    """Says an exception in one line, with the place in the plugin where it was raised."""

    text = " ".join(str(error).split())
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text}{where}" if text else f"{type(error).__name__}{where}"


def _hint(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"install what provides {error.name.split('.')[0]}, or reinstall the plugin"
    return "update or uninstall the plugin; its author needs `dgm plugins --tracebacks`"
