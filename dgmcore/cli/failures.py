"""Turns any failure into two lines, `error: what` and `hint: what to do`, and an exit code."""

from __future__ import annotations

import re
import sys

from ..console import printable
from ..errors import DgmError
from ..files.errno_hints import hint_of
from ..suggestions import did_you_mean

__all__ = ["explain", "lines", "report"]

MAX_LINE = 1000  # characters; what comes from a file may be of any length


def report(error: Exception) -> int:
    """Prints the two lines on stderr and returns the exit code."""

    what, hint, code = explain(error)
    print(lines(what, hint), file=sys.stderr)
    return code


def lines(what: str, hint: str) -> str:
    """Returns the two lines, short and without control characters."""
    return f"error: {_line(what)}\nhint: {_line(hint)}"


def explain(error: Exception) -> tuple[str, str, int]:
    """Returns what went wrong, what to do about it, and the exit code."""

    import typer

    if isinstance(error, DgmError):
        return error.what, error.hint, error.exit_code
    if isinstance(error, typer.TyperException):
        return _usage(error)
    if isinstance(error, typer.Abort):
        return "aborted", "nothing was done", 1
    if isinstance(error, MemoryError):
        return "out of memory", "use a smaller --batch-size", 1
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported for this
        return "out of memory on the device", "use a smaller --batch-size, or --device cpu", 1
    if isinstance(error, OSError):
        return _system(error)
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"the package {error.name} is not installed", f"pip install {error.name.split('.')[0]}", 1
    return f"{type(error).__name__}: {error}", "this is a bug: run again with --debug and report the traceback", 1


def _usage(error: Exception) -> tuple[str, str, int]:
    """Explains an error of typer's own, with the nearest command or option."""

    message = error.format_message() if hasattr(error, "format_message") else str(error)
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else getattr(error, "command", "dgm")
    hint = f"see `{path} --help`"
    command = re.search(r"No such command '(?P<name>[^']*)'", message)
    option = re.search(r"No such option:? '?(?P<name>--?[^\s'(]*)", message)
    if command and context is not None:
        message = f"there is no command {command['name']}"
        hint = did_you_mean(command["name"], context.command.list_commands(context), hint)
    elif option:
        message = f"`{path}` has no option {option['name']}"
        known = [o for p in context.command.get_params(context) for o in p.opts] if context is not None else []
        hint = did_you_mean(option["name"], [o for o in known if o.startswith("--")], hint)
        hint = hint if hint.startswith("did") else f"see `{path} --help`"
    return message.rstrip("."), hint, getattr(error, "exit_code", 2)


def _system(error: OSError) -> tuple[str, str, int]:
    name = f"{error.filename}: " if error.filename else ""
    what = f"{name}{error.strerror or error}"
    return what, hint_of(error, "--out", "run again with --debug for the traceback"), 1


def _line(text: str) -> str:
    """Keeps a message on one short line, without control characters."""

    text = " ".join(str(text).split())
    if len(text) > MAX_LINE:
        text = f"{text[: MAX_LINE // 2]} ... {text[-MAX_LINE // 2 :]}"
    return printable(text)
