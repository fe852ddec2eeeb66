"""Compiles the index (:mod:`dgmcore.plugins.index`): loads plugins, reads entries, settles who owns a name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from ..files.folders import environment_registries, user_cache, user_plugins, user_registry
from ..version import __version__
from . import describe as discovery
from .core_commands import COMMANDS
from .describe import HOOKS, Record, Source, fail
from .index import FORMAT, Index, file_state, metadata_state, sealed, search_path, settled, stale_paths, unsealed

__all__ = ["compile_index", "write_cache"]

PLUGIN_SECONDS = 120.0  # a plugin that takes longer to import is broken, until the next command
KEPT_FILES = 32  # indices of other environments that the cache keeps

_CHILD = """
import json, os, sys
job = json.load(sys.stdin)
sys.path[:] = job["path"]
from dgmcore.plugins.describe import serve
serve(job["sources"])
"""


def compile_index(previous: Index | None, *, anew: bool = False) -> tuple[dict[str, Any], bytes]:
    """Returns the head and the entries of a new index; what is unchanged comes from `previous` and the cache."""

    paths = [[p, *settled([file_state(p)]), metadata_state(p)] for p in search_path()]
    folder_state = file_state(str(user_plugins()))
    unchanged = previous is not None and not stale_paths(previous.head) and folder_state in previous.head["files"]
    sources = previous.head["sources"] if previous is not None and unchanged else discovery.discover()
    installed = json.dumps([digest for *_, digest in paths])
    records = _records(sources, installed, anew)
    files = [folder_state, *(state for r in records for state in r.pop("states"))]
    _settle_names(records)

    from .entries import Catalog

    catalog = Catalog(previous)
    for i, folder in enumerate(environment_registries()):
        catalog.add("environment", folder, rank=i)
    catalog.add("user", user_registry(), rank=1000)
    for record in records:
        for folder in record["registries"]:
            catalog.add(record["name"], folder, rank=2000, plugin=record)
    rows, entries, invalid = catalog.compiled(records)
    head = {
        "version": __version__,
        "paths": paths,
        "files": settled(files + catalog.files),
        "sources": sources,
        "plugins": records,
        "rows": rows,
        "invalid": invalid,
        "retry": any(record["retry"] for record in records),
    }
    return head, entries


# --- plugins ----------------------------------------------------------------------------------------


def _records(sources: list[Source], installed: str, anew: bool) -> list[Record]:
    """Returns a record of each source, from the cache where its files are unchanged, else by loading it."""

    chosen = discovery.limit()
    taken: dict[str, Source] = {}
    records: list[Record | None] = []
    wanted: list[int] = []
    for i, source in enumerate(sources):
        names = {source["name"], source["distribution"]}
        if source["kind"] != "builtin" and chosen is not None and not chosen & names:
            record = discovery.blank(source)
            fail(record, "not named in DGM_PLUGINS", f"DGM_PLUGINS=...,{source['name']} loads it", status="blocked")
        elif source["name"] in taken:
            record = discovery.blank(source)
            other = taken[source["name"]]["distribution"] or taken[source["name"]]["location"]
            fail(record, f"the plugin name {source['name']} is taken by {other}", "give the entry point another name")
        else:
            taken[source["name"]] = source
            record = None if anew else _cached(source, installed)
            if record is None:
                wanted.append(i)
        records.append(record)
    for i, record in zip(wanted, _load([sources[i] for i in wanted]), strict=True):
        record["states"] = settled([file_state(f) for f in record.pop("files")])
        if not record["retry"]:
            _store(record, installed)
        records[i] = record
    for record in records:
        record.setdefault("states", [])
    return records


def _cache_path(source: Source) -> str:
    from hashlib import blake2b

    identity = json.dumps([FORMAT, __version__, sys.version, discovery.core_state(), source])
    return str(user_cache() / "plugins" / f"{blake2b(identity.encode(), digest_size=12).hexdigest()}.json")


def _cached(source: Source, installed: str) -> Record | None:
    """Returns the stored record of a plugin whose files are as they were.

    One with an error also depends on everything else that is installed, such as what it failed to import.
    """

    try:
        with open(_cache_path(source), "rb") as file:
            stored = json.loads(unsealed(file.read()))
        record = stored["record"]
        fresh = all(file_state(s[0]) == s for s in record["states"]) and set(discovery.blank(source)) - {
            "files"
        } <= set(record)
        fresh = fresh and (record["status"] == "ok" or stored["installed"] == installed)
        return record if fresh else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _store(record: Record, installed: str) -> None:
    source = {key: record[key] for key in discovery.SOURCE_KEYS}
    content = json.dumps({"installed": installed, "record": record}).encode()
    write_cache(_cache_path(source), sealed(content))


def _load(sources: list[Source]) -> Iterator[Record]:
    """Yields the record of each source, loaded in another process.

    That process survives what a `try` can't: a plugin that exits, crashes or hangs is broken and the next
    ones are loaded by a new process.
    """

    if not sources:
        return
    if sys.stderr.isatty():
        print("reading plugins (after an install or an edit) ...", file=sys.stderr, flush=True)
    done = 0
    while done < len(sources):
        said, problem = 0, "can't be started"
        for record in (reader := _Child(sources[done:])).records():
            yield record
            said += 1
        done, problem = done + said, reader.problem
        if done < len(sources):
            if problem is None:  # no process could be started: load it in this one
                yield discovery.describe(sources[done])
            else:
                record = discovery.blank(sources[done]) | {"retry": reader.passing}
                record["files"] = discovery.files_of_module(sources[done])
                hint = "the next command tries again; `DGM_PLUGINS=...` without it does not wait for it"
                hint = hint if reader.passing else "update or uninstall the plugin"
                fail(record, f"{problem} while {sources[done]['value']} was imported", hint)
                yield record
            done += 1


class _Child:
    """A process that loads plugins and writes their records, one a line.

    Attributes:
        problem: Why it ended; None if it could not be started.
        passing: Whether that may be the fault of a busy machine: it took too long, or was killed.
    """

    def __init__(self, sources: list[Source]):
        self.sources = sources
        self.problem: str | None = None
        self.passing = False

    def records(self) -> Iterator[Record]:
        job = json.dumps({"path": search_path(), "sources": self.sources})
        environment = {**os.environ, "DGM_INDEXING": "1"}
        try:
            process = subprocess.Popen(
                [sys.executable, "-c", _CHILD],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
            )
        except (OSError, ValueError):
            return
        assert process.stdin is not None and process.stdout is not None
        with process:
            try:
                with suppress(OSError):
                    process.stdin.write(job.encode())
                    process.stdin.close()
                for source in self.sources:
                    line = self._line(process, process.stdout.readline)
                    if not line:
                        break
                    record = _record_of(line, source)
                    if record is None:
                        self.problem = "something else was said in its name"
                        return
                    yield record
                code = process.wait()
                said = f"signal {-code}" if code < 0 else f"exit code {code}"
                self.passing = self.passing or code == -9  # the system's way to free memory
                self.problem = self.problem or f"the interpreter ended with {said}"
            finally:
                process.kill()

    def _line(self, process: subprocess.Popen[bytes], read: Callable[[], bytes]) -> bytes:
        """Reads a line; a process that says nothing for too long is ended."""

        def end() -> None:
            self.problem = f"nothing happened for {PLUGIN_SECONDS:g} seconds"
            self.passing = True
            process.kill()

        timer = threading.Timer(PLUGIN_SECONDS, end)
        timer.daemon = True
        timer.start()
        try:
            return read()
        finally:
            timer.cancel()


def _record_of(line: bytes, source: Source) -> Record | None:
    """Returns the record of a source that the process wrote, or None if it is none."""

    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    blank = discovery.blank(source)
    right = isinstance(record, dict) and all(isinstance(record.get(k), type(v)) for k, v in blank.items())
    return record if right and all(record[key] == source[key] for key in source) else None


def _settle_names(records: list[Record]) -> None:
    """Gives each name to the first plugin that claims it; the claim of a later one is its error."""

    owners: dict[tuple[str, str], str] = {("commands", name): "dgm itself" for name in COMMANDS}
    for record in records:
        for kind, *_ in HOOKS.values():
            for name in list(record[kind]):
                owner = owners.setdefault((kind, name), record["name"])
                if owner != record["name"]:
                    del record[kind][name]
                    owner = owner if owner == "dgm itself" else f"plugin {owner}"
                    what = f"{kind.removesuffix('s')} {name} is already provided by {owner}"
                    fail(record, what, "rename it in this plugin, or load one of the two: DGM_PLUGINS=...")


# --- the cache --------------------------------------------------------------------------------------


def write_cache(path: str, content: bytes) -> bool:
    """Writes a file of the cache atomically; tells whether that was possible."""

    folder = os.path.dirname(path)
    try:
        os.makedirs(folder, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        _prune(folder)
        return True
    except OSError:
        return False


def _prune(folder: str) -> None:
    """Removes the oldest files, and what a killed process left."""

    with suppress(OSError), os.scandir(folder) as items:
        files = sorted((i for i in items if i.is_file()), key=lambda i: i.stat().st_mtime, reverse=True)
        import time

        old = [i for i in files if i.name.startswith(".new-") and i.stat().st_mtime < time.time() - 3600]
        kept = KEPT_FILES if os.path.basename(folder) == "index" else 8 * KEPT_FILES
        for item in [*old, *[i for i in files if not i.name.startswith(".new-")][kept:]]:
            with suppress(OSError):
                os.unlink(item.path)
