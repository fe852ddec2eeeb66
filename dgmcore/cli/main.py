"""The start and the end of `dgm`: exit codes, Ctrl-C, `--debug`."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

__all__ = ["USUAL_GC", "main"]

#: How often Python looks for cycles by itself; what runs for hours goes back to it.
USUAL_GC = gc.get_threshold()


def main(args: Sequence[str] | None = None) -> int:
    """Runs `dgm` and returns its exit code: 0 done, 1 failed, 2 wrong usage."""

    # read when torch loads OpenMP: threads that wait for each other sleep instead of spinning, or else two threads on
    # two cores of which one is busy take twenty times as long as one
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if args is None:  # a process of our own: looking for cycles among what imports leave behind is a tenth of a start
        gc.set_threshold(50_000, 20, 50)
    argv = [*(sys.argv[1:] if args is None else args)]  # `list` is a module of this package
    debug = False
    head = argv[: argv.index("--")] if "--" in argv else argv
    if "--debug" in head:  # anywhere, since that is where people add it
        debug = True
        argv.remove("--debug")
    try:
        from . import app

        code = app.run(argv)
        sys.stdout.flush()
        if args is None:
            gc.freeze()  # nor has the end of the process any to look for
        if code == 130:  # typer has caught Ctrl-C
            print("interrupted", file=sys.stderr)
        return code
    except KeyboardInterrupt:
        if debug:
            raise
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has left: `dgm list | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as e:
        if debug:
            raise
        from .failures import report

        return report(e)
