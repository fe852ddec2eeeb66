"""Loads plugins, each in a `try`, and describes what they say: the work of a process of its own.

The process is started by :mod:`dgmcore.plugins.isolate` when the index is compiled.
"""

from __future__ import annotations

import errno
import faulthandler
import os
import sys
import traceback
from typing import Any

import msgspec

from .. import hookspecs
from ..config import default_of
from ..console import printable, said
from ..interfaces import Likelihood, capabilities
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
    with os.fdopen(os.dup(1), "wb", buffering=0) as out:
        os.dup2(nowhere, 0)
        os.dup2(nowhere, 1)  # what plugins print is not ours
        out.write(b"ready\n")  # from now on what fails is a plugin
        for source in sources:
            faulthandler.dump_traceback_later(seconds, exit=True, file=out)
            out.write(msgspec.json.encode(describe(source)) + b"\n")
        os._exit(0)  # threads of a plugin don't keep us


def describe(source: Source) -> PluginRecord:
    """Loads a plugin and returns everything that it says; what is wrong with it is in `problems`."""
    record = PluginRecord(source)
    try:
        name = source.value.partition("[")[0].replace(" ", "")  # a module, or an object in one
        plugin = import_string(name) if ":" in name else import_module(name)
        if wrong := hookspecs.incompatible(plugin, source.value):
            record.problems.append(Problem(printable(wrong[0], SHOWN), wrong[1], status="incompatible"))
        else:
            _call_hooks(plugin, record)
    except (Exception, SystemExit) as e:
        _raised(record, "", e, f", while {source.value} was imported")
    for architecture in record.provides.architectures.values():
        try:
            _describe_class(architecture)
        except (Exception, SystemExit) as e:
            _raised(record, f"architecture {architecture.name}: ", e)
    record.files = sorted({*record.files, *_files_of(record)})
    return record


def _call_hooks(plugin: Any, record: PluginRecord) -> None:
    """Calls every hook of a plugin, if all that look like hooks are some."""
    caller, wrong = hookspecs.hooks_of(plugin, record.source.value)
    for what, hint in wrong:
        _fail(record, what, hint)
    for hook in HOOKS if not wrong else ():
        try:
            results = getattr(caller, hook)()
        except (Exception, SystemExit) as e:
            _raised(record, f"{hook} raised ", e)
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
        default = msgspec.to_builtins(default_of(field))
        architecture.sampling[field.encode_name] = Option(said(field.type), default)


def _fail(record: PluginRecord, what: str, hint: str) -> None:
    record.problems.append(Problem(printable(what, SHOWN), hint))


def _raised(record: PluginRecord, before: str, error: BaseException, after: str = "") -> None:
    """Notes an exception, with the place in the plugin where it was raised, and the files that it went through."""
    trace = printable("".join(traceback.format_exception(error))[-8000:])
    frames, hint = traceback.extract_tb(error.__traceback__), HINT
    record.files += [f.filename for f in frames if os.path.isfile(f.filename)]
    if isinstance(error, ModuleNotFoundError) and error.name:
        hint = f"install what provides {printable(error.name, SHOWN).split('.')[0]}, or reinstall the plugin"
    passing = isinstance(error, MemoryError) or getattr(error, "errno", None) in MACHINE
    text = ": ".join(filter(None, [type(error).__name__, " ".join(str(error).split())]))
    line = f" ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})" if frames else ""
    record.problems.append(Problem(printable(before + text + line + after, SHOWN), hint, trace, passing=passing))


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
