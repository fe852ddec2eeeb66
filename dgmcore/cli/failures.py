"""Turns any failure into two lines, `error: what` and `hint: what to do`, and an exit code."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import typer

from ..calls.listing import info
from ..console import printable, say
from ..errors import DgmError
from ..suggestions import did_you_mean, hint_of, nearest

__all__ = ["Explanation", "explain", "lines", "report"]

MAX_LINE = 1000  # characters; what comes from a file may be of any length
_HOW_MANY = re.compile(r"(n|num|number|count)?_?(of_)?(samples|images|pictures|points)?")  # `--n`, as others call it

#: Commands, as others call them.
_COMMANDS = {
    **dict.fromkeys(("generate", "draw", "plot"), "sample"),
    **dict.fromkeys(("download", "fetch", "get"), "pull"),
    **dict.fromkeys(("show", "describe", "inspect"), "info"),
    **dict.fromkeys(("models", "search", "ls"), "list"),
    **dict.fromkeys(("measure", "metrics", "benchmark"), "eval"),
    **dict.fromkeys(("uninstall", "remove", "delete"), "rm"),
    "fit": "train",
    "upload": "push",
    "likelihood": "score",
    "encode": "reconstruct",
    "ui": "serve",
}


class Explanation(NamedTuple):
    """What went wrong, what to do about it, and the exit code."""

    what: str
    hint: str
    code: int = 1


def report(error: Exception, args: Sequence[str] = ()) -> int:
    """Prints the two lines on stderr and returns the exit code; `args` are those of `dgm`."""
    what, hint, code = explain(error, args)
    say(lines(what, hint))
    return code


def lines(what: str, hint: str) -> str:
    """Returns the two lines, short and without control characters."""
    return f"error: {_line(what)}\nhint: {_line(hint)}"


def explain(error: Exception, args: Sequence[str] = ()) -> Explanation:
    """Returns what is to be said of an error."""
    for kind, explanation in _explanations(args):
        if isinstance(error, kind):
            return explanation(error)
    return Explanation(
        f"{type(error).__name__}: {error}", "this is a bug: run again with --debug and report the traceback"
    )


def _explanations(args: Sequence[str]) -> Iterator[tuple[type[BaseException], Callable[[Any], Explanation]]]:
    """Yields kinds of errors, with what says something of each: the first that fits does."""
    yield DgmError, lambda e: Explanation(e.what, e.hint, e.exit_code)
    yield typer.TyperException, lambda e: _usage(e, args)
    yield typer.Abort, lambda e: Explanation("aborted", "nothing was done")
    yield MemoryError, lambda e: Explanation("out of memory", "use a smaller --batch-size")
    if "torch" in sys.modules:  # else nobody can have raised its error
        kind = sys.modules["torch"].OutOfMemoryError
        hint = "use a smaller --batch-size, or --device cpu"
        yield kind, lambda e: Explanation("out of memory on the device", hint)
    yield OSError, _system
    yield ModuleNotFoundError, _package


# --- of the system ----------------------------------------------------------------------------------


def _system(error: OSError) -> Explanation:
    name = f"{error.filename}: " if error.filename else ""
    hint = hint_of(error, "--out", "run again with --debug for the traceback")
    return Explanation(f"{name}{error.strerror or error}", hint)


def _package(error: ModuleNotFoundError) -> Explanation:
    name = error.name or "that it needs"
    return Explanation(f"the package {name} is not installed", f"pip install {name.split('.')[0]}")


# --- of usage ---------------------------------------------------------------------------------------


def _usage(error: Any, args: Sequence[str]) -> Explanation:
    """Explains an error of typer's own, with the nearest command or option."""
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else " ".join(["dgm", *_command(args)])
    hint = f"see `{path} --help`"
    command = re.search(r"No such command '(?P<name>[^']*)'", message)
    option = re.search(r"No such option:? '?(?P<name>--?[^\s'(]*)", message)
    if command and context is not None:
        message = f"there is no command {command['name']}"
        meant = _COMMANDS.get(command["name"])
        known = context.command.list_commands(context)
        hint = f"did you mean {meant}?" if meant else did_you_mean(command["name"], known, hint)
    elif option:
        message = f"`{path}` has no option {option['name']}"
        hint = _option_hint(option["name"], context, args) or hint
    elif "unexpected extra argument" in message and (pair := re.search(r"--set ([\w.]+) ([^ =]+)", " ".join(args))):
        hint = f"key and value are one word: --set {pair[1]}={pair[2]}"
    return Explanation(message.rstrip("."), hint, getattr(error, "exit_code", 2))


def _command(args: Sequence[str]) -> Sequence[str]:
    return args[:1] if args and not args[0].startswith("-") else ()


def _option_hint(name: str, context: Any, args: Sequence[str]) -> str | None:
    """Returns how to set an option of the model, or which option of the command is near; None if neither."""
    if context is None:
        return None
    known = [o for p in context.command.get_params(context) for o in p.opts if o.startswith("--")]
    key = name.lstrip("-").replace("-", "_")
    if "--n" in known and _HOW_MANY.fullmatch(key):
        return "did you mean --n?"
    if "--set" in known and key in _options_of_models(args):
        return f"it is an option of the model: --set {key}={_value(name, args)}"
    near = nearest(name.lstrip("-"), [option[2:] for option in known])
    near = near or [option[2:] for option in known if option[2:] in key.split("_")]
    if near:
        return f"did you mean {' or '.join(f'--{option}' for option in near)}?"
    return f"see `{context.command_path} --help`, and set options of the model with --set" if "--set" in known else None


def _options_of_models(args: Sequence[str]) -> set[str]:
    """The sampling options of the models that are among the arguments."""
    found: set[str] = set()
    for word in args[1:]:
        if not word.startswith("-"):
            try:
                found |= set(info(word)["options"])
            except DgmError:
                continue
    return found


def _value(name: str, args: Sequence[str]) -> str:
    """What stands behind an option, or `VALUE`."""
    for i, word in enumerate(args):
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
        if word == name and i + 1 < len(args) and not args[i + 1].startswith("--"):
            return args[i + 1]
    return "VALUE"


def _line(text: str) -> str:
    """Keeps a message on one short line, without control characters."""
    text = " ".join(str(text).split())
    if len(text) > MAX_LINE:
        text = f"{text[: MAX_LINE // 2]} ... {text[-MAX_LINE // 2 :]}"
    return printable(text)
