"""The start and the end of `dgm`: exit codes, Ctrl-C, `--debug`, and streams that can't be written to."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TextIO

from ..console import prepare, say

__all__ = ["USUAL_GC", "main"]

#: How often Python looks for cycles by itself; what runs for hours goes back to it.
USUAL_GC = gc.get_threshold()


def main(args: Sequence[str] | None = None) -> int:
    """Runs `dgm` and returns its exit code: 0 done, 1 failed, 2 wrong usage."""
    # read when torch loads OpenMP: threads that wait for each other sleep instead of spinning, or else two threads on
    # two cores of which one is busy take twenty times as long as one
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if not os.environ.get("HF_DEBUG"):  # what the Hub's client logs is no talk of ours
        os.environ.setdefault("HF_HUB_VERBOSITY", "critical")
    if args is None:  # a process of our own: looking for cycles among what imports leave behind is a tenth of a start
        gc.set_threshold(50_000, 20, 50)
    prepare()
    argv, debug = _without_debug(sys.argv[1:] if args is None else args)
    try:
        return _run(argv, debug)
    finally:
        for stream in (sys.stdout, sys.stderr):
            _settle(stream)
        if args is None:
            gc.freeze()  # the end of the process has no cycles to look for


def _without_debug(args: Sequence[str]) -> tuple[list[str], bool]:
    """Takes `--debug` out, wherever it is, since people add it at the end."""
    argv = [*args]
    head = argv[: argv.index("--")] if "--" in argv else argv
    if "--debug" not in head:
        return argv, False
    argv.remove("--debug")
    return argv, True


def _run(argv: list[str], debug: bool) -> int:
    try:
        from . import app

        code = app.run(argv)
        sys.stdout.flush()
        if code == 130:  # typer has caught Ctrl-C
            say("interrupted")
        return code
    except KeyboardInterrupt:
        if debug:
            raise
        say("interrupted")
        return 130
    except BrokenPipeError:  # the reader of our output has left: `dgm list | head -1`
        return 1
    except Exception as e:
        if debug:
            raise
        from .failures import report

        return report(e, argv)


def _settle(stream: TextIO) -> None:
    """Flushes a stream; what it can't write is dropped, of which Python would complain at its end."""
    try:
        stream.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
