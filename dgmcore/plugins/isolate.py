"""Runs plugins in a process of their own, which keeps their crashes, their prints and their threads apart.

The process imports nothing from the current folder, and what it started ends with it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import msgspec

from .imports import HOME, search_path
from .records import PluginRecord, Problem, Source
from .sources import module_files

PLUGIN_SECONDS = 120.0  # a plugin that takes longer to import is broken
HINT = "mend or uninstall it; `dgm doctor` tries again, `DGM_PLUGINS=...` without it does not wait for it"


def python(code: str) -> tuple[list[str], dict[str, str]]:
    """Returns the arguments and the environment of a Python that runs `code`, and finds what this one can import."""
    return [sys.executable, "-P", "-c", code], {**os.environ, "PYTHONPATH": os.pathsep.join(search_path())}


def load(sources: list[Source]) -> Iterator[PluginRecord]:
    """Yields the record of each source.

    A plugin that exits, crashes or hangs is broken, and the next ones are loaded by a new process. Where the process
    itself fails no plugin is blamed, and nothing is remembered.
    """
    waiting = list(sources)
    while waiting:
        lines, problem = _run(waiting)
        if not lines:  # it did not come so far as to load anything
            problem = Problem(f"plugins can't be loaded: {problem.what}", "see `dgm doctor`", passing=True)
            yield from (PluginRecord(source, problems=[problem]) for source in waiting)
            return
        found = answers(lines[1:], waiting)
        yield from found
        waiting = waiting[len(found) :]
        if waiting:
            source, late = waiting.pop(0), any(line.startswith(b"Timeout (") for line in lines)
            what = f"nothing happened for {PLUGIN_SECONDS:g} seconds" if late else problem.what
            why = msgspec.structs.replace(problem, what=f"{what} while {source.value} was imported")
            files = [*module_files(source), *([] if late else search_path())]  # what is missing may be installed
            yield PluginRecord(source, problems=[why], files=files)


def answers(lines: list[bytes], sources: list[Source]) -> list[PluginRecord]:
    """Returns the records that lines hold, up to the first that is none of its source."""
    found: list[PluginRecord] = []
    with suppress(ValueError, RecursionError):
        for line, source in zip(lines, sources, strict=False):
            record = msgspec.json.decode(line, type=PluginRecord)
            if record.source != source:
                break
            found.append(record)
    return found


def _run(sources: list[Source]) -> tuple[list[bytes], Problem]:
    """Lets a process load plugins (:func:`.describe.serve`); returns the lines that it said, and how it ended."""
    command, environment = python(f"from dgmcore.plugins.describe import serve; serve({PLUGIN_SECONDS})")
    how: Any = {"stdin": subprocess.PIPE, "stderr": subprocess.DEVNULL, "cwd": HOME, "start_new_session": True}
    try:
        with tempfile.TemporaryFile() as out:  # a pipe would stay open for as long as anybody holds its end
            with subprocess.Popen(command, stdout=out, env={**environment, "DGM_INDEXING": "1"}, **how) as process:
                try:
                    with suppress(subprocess.TimeoutExpired):  # it watches itself, but a plugin can stop all of it
                        process.communicate(msgspec.json.encode(sources), PLUGIN_SECONDS * (len(sources) + 1))
                finally:
                    late = process.poll() is None
                    with suppress(OSError):  # also what it started
                        os.killpg(process.pid, signal.SIGKILL) if hasattr(os, "killpg") else process.kill()
            out.seek(0)
            code = process.returncode
            what = f"the interpreter ended with {f'signal {-code}' if code < 0 else f'exit code {code}'}"
            ended = not late and code in (-9, -15, -24)  # by the system or by somebody: SIGKILL, -TERM, -XCPU
            return out.read().splitlines() + [b"Timeout ("] * late, Problem(what, HINT, passing=ended)
    except OSError as e:
        return [], Problem(f"no process can be started: {e.strerror or e}", HINT)
