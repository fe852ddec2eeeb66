"""Loads plugins, each in a `try`, and describes what they say: the work of a process of its own.

The process is started by :mod:`dgmcore.plugins.isolate` when the index is compiled.
"""

from __future__ import annotations

import errno
import faulthandler
import inspect
import os
import sys
import traceback
from typing import Any

import msgspec
import pluggy

from .. import hookspecs
from ..console import printable, said
from ..interfaces import Likelihood, capabilities
from ..suggestions import did_you_mean
from .imports import USER_PACKAGE, import_module, import_string, search_path
from .records import HOOKS, KINDS, Architecture, Option, PluginRecord, Problem, Provided, Source, checked, hook_keys
from .sources import SHOWN, module_files

HINT = "update or uninstall the plugin; its author needs `dgm plugins --tracebacks`"
MACHINE = {errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOSPC}  # no fault of a plugin's


def serve(seconds: float) -> None:
    """Describes the plugins that stdin names: a record a line on stdout, where plugins can't write.

    The process ends itself, with the line `Timeout (...` and the place, if one takes longer than `seconds`.
    """
    sources = msgspec.json.decode(sys.stdin.buffer.read(), type=list[Source])
    nowhere = os.open(os.devnull, os.O_RDWR)
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(nowhere, 0)
        os.dup2(nowhere, 1)  # what plugins print is not ours
        out.write(b"ready\n")  # from now on what fails is a plugin
        for source in sources:
            out.flush()
            faulthandler.dump_traceback_later(seconds, exit=True, file=out)
            out.write(msgspec.json.encode(describe(source)) + b"\n")
        out.flush()
        os._exit(0)  # threads of a plugin don't keep us


def describe(source: Source) -> PluginRecord:
    """Loads a plugin and returns everything that it says; what is wrong with it is in `problems`."""
    record = PluginRecord(source)
    try:
        plugin = _load(source)
        _check_api(plugin, record)
        if not record.problems:
            _call_hooks(plugin, record)
    except (Exception, SystemExit) as e:
        _raised(record, f"{_said(e)}, while {source.value} was imported", e)
    for architecture in record.provides.architectures.values():
        try:
            _describe_class(architecture)
        except (Exception, SystemExit) as e:
            _raised(record, f"architecture {architecture.name}: {_said(e)}", e)
    record.files = sorted({*record.files, *_files_of(record)})
    return record


def _load(source: Source) -> Any:
    """Imports a plugin: a module, or an object in one."""
    module, _, attribute = source.value.partition(":")
    plugin: Any = import_module(module.split("[")[0].strip())
    for name in attribute.split("[")[0].strip().split("."):
        plugin = getattr(plugin, name) if name else plugin
    return plugin


def _check_api(plugin: Any, record: PluginRecord) -> None:
    module = plugin if inspect.ismodule(plugin) else sys.modules.get(getattr(plugin, "__module__", ""), plugin)
    api, ours = getattr(plugin, "PLUGIN_API", getattr(module, "PLUGIN_API", None)), hookspecs.PLUGIN_API
    if api is not None and api != ours:
        newer = isinstance(api, int) and api > ours
        hint = "upgrade dgmcore: pip install -U dgmcore" if newer else f"set PLUGIN_API = {ours} once it fits"
        what = f"{record.source.value} is written for PLUGIN_API {api!r}, this dgmcore has {ours}"
        record.problems.append(Problem(printable(what, SHOWN), hint, status="incompatible"))


def _call_hooks(plugin: Any, record: PluginRecord) -> None:
    """Calls every hook of a plugin, if all that look like hooks are some."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    for name, function in inspect.getmembers(plugin, inspect.isroutine):
        if name.startswith("dgm_") and not hasattr(function, f"{hookspecs.PROJECT}_impl"):
            what = f"{name} in {record.source.value} is not marked as a hook"
            _fail(record, what, "decorate it with @dgmcore.hookspecs.hookimpl")
    try:
        manager.register(plugin, record.name)
        manager.check_pending()
    except pluggy.PluginValidationError as e:
        unknown = [c.name for c in manager.get_hookcallers(plugin) or [] if not c.has_spec()]
        for name in unknown:
            _fail(record, f"there is no hook {name}", did_you_mean(name, HOOKS, n=1))
        if not unknown:
            _fail(record, " ".join(str(e).split()), "hooks take no arguments: see dgmcore.hookspecs")
    if record.problems:
        return
    for hook in HOOKS:
        try:
            results = getattr(manager.hook, hook)()
        except (Exception, SystemExit) as e:
            _raised(record, f"{hook} raised {_said(e)}", e)
            continue
        for result in results:
            _take(hook, result, record)


def _take(hook: str, result: Any, record: PluginRecord) -> None:
    """Adds what a hook returned to a record, or says what is wrong with it."""
    kind = hook.removeprefix("dgm_")
    if kind not in KINDS:
        for folder in result if isinstance(result, (list, tuple)) else [result]:
            folder = os.fspath(folder) if isinstance(folder, os.PathLike) else folder
            if isinstance(folder, str) and os.path.isabs(folder) and os.path.isdir(folder):
                record.provides.registries.append(folder)
            else:
                what = f"{hook}: {folder!r} is not the absolute path of a folder"
                _fail(record, what, "use Path(__file__).parent")
    elif not isinstance(result, (list, tuple)):
        _fail(record, f"{hook} returned {type(result).__name__}, not a list", "return a list of dicts")
    else:
        needed, optional = hook_keys(KINDS[kind])
        known: dict[str, Provided] = getattr(record.provides, kind)
        for item in result:
            try:
                thing = checked(KINDS[kind], item, record.name)
            except ValueError as e:
                keys = f"keys: {', '.join(needed)}; optional: {', '.join(optional) or 'none'}"
                _fail(record, f"{hook}: {e}", keys)
                continue
            if item[needed[0]] in known:
                _fail(record, f"{hook}: {item[needed[0]]} is there twice", "give each a name of its own")
            else:
                known[item[needed[0]]] = thing


def _describe_class(architecture: Architecture) -> None:
    """Adds what the class of an architecture says: capabilities, likelihood, options of sampling."""
    cls = import_string(architecture.import_)
    likelihood = getattr(cls, "likelihood", None)
    architecture.capabilities = capabilities(cls)
    architecture.likelihood = str(likelihood) if isinstance(likelihood, Likelihood) else None
    for field in msgspec.structs.fields(cls.Sampling) if getattr(cls, "Sampling", None) else ():
        default = field.default if field.default is not msgspec.NODEFAULT else None
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        architecture.sampling[field.encode_name] = Option(said(field.type), msgspec.to_builtins(default))


# --- errors -----------------------------------------------------------------------------------------


def _fail(record: PluginRecord, what: str, hint: str) -> None:
    record.problems.append(Problem(printable(what, SHOWN), hint))


def _raised(record: PluginRecord, what: str, error: BaseException) -> None:
    """Notes an exception, and the files that it went through."""
    trace = printable("".join(traceback.format_exception(error))[-8000:])
    record.files += [f.filename for f in traceback.extract_tb(error.__traceback__) if os.path.isfile(f.filename)]
    hint = HINT
    if isinstance(error, ModuleNotFoundError) and error.name:
        hint = f"install what provides {printable(error.name, SHOWN).split('.')[0]}, or reinstall the plugin"
    passing = isinstance(error, MemoryError) or getattr(error, "errno", None) in MACHINE
    record.problems.append(Problem(printable(what, SHOWN), hint, trace, passing=passing))


def _said(error: BaseException) -> str:
    """Says an exception in one line, with the place in the plugin where it was raised."""
    text = " ".join(str(error).split())
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text}{where}" if text else f"{type(error).__name__}{where}"


def _files_of(record: PluginRecord) -> set[str]:
    """Returns what a record was made from; for a broken plugin also what may mend it: its author, an installation."""
    files = {*module_files(record.source), *search_path()} if record.problems else set(module_files(record.source)[:1])
    imports = [a.import_ for a in record.provides.architectures.values()]
    modules = {string.partition(":")[0] for string in [record.source.value, *imports]}
    if record.source.kind == "builtin":  # the rest of the core changes with its version
        modules |= {f"dgmcore.{name}" for name in ("hookspecs", "interfaces", "plugins.describe", "plugins.records")}
    else:
        packages = {m.split(".")[0] for m in modules} - {USER_PACKAGE, "dgmcore"}
        modules |= {m for m in list(sys.modules) if m.split(".")[0] in packages}
    paths = {getattr(sys.modules.get(m), "__file__", None) for m in modules}
    return files | {p for p in paths if p and os.path.isfile(p)}
