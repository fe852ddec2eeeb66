"""What commands say: data on stdout, talk on stderr.

A reader that has left, or a terminal that lacks a character, ends no command: see :func:`prepare`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
import time
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    import msgspec
    from rich.console import Console

#: The least width of a table's column whose cells take several lines.
WRAPPED = 24
#: How long work takes before a notebook's cell shows how far it is, and between two such displays.
CELL_SECONDS = 0.5

# --- streams ----------------------------------------------------------------------------------------


def prepare() -> None:
    """Makes the standard streams safe: what one can't encode is escaped, and one that is closed takes everything.

    A descriptor that is closed would be given to the next file that is opened.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            with suppress(OSError):
                os.fstat(number)
                continue  # it is open, and Python chose not to use it
            handle = os.open(os.devnull, os.O_RDWR)
            if handle != number:
                os.dup2(handle, number)
                os.close(handle)
            setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115
        elif number > 0 and hasattr(stream, "reconfigure"):
            # bytes of a path that are no text go out as they came, where the rest is UTF-8
            unicode = (stream.encoding or "").lower().replace("-", "") == "utf8"
            stream.reconfigure(errors="surrogateescape" if unicode else "backslashreplace")


def encodes(text: str, stream: TextIO) -> bool:
    """Whether a stream has the characters of a text."""
    try:
        text.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def coloured(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a stream takes colours and bold: it is a terminal, and nobody asked for none (https://no-color.org)."""
    return stream.isatty() and not (environment.get("NO_COLOR") or _dumb(environment))


def _dumb(environment: Mapping[str, str]) -> bool:
    """Whether a terminal moves no cursor, as that of what a notebook's cell runs with `!`."""
    return environment.get("TERM", "") in ("", "dumb") or "JPY_PARENT_PID" in environment


def colours(stream: TextIO, environment: Mapping[str, str] = os.environ) -> str:
    """Returns what colours a stream shows: `truecolor`, `256`, or `none`.

    See https://github.com/termstandard/colors.
    """
    term = environment.get("TERM", "")
    if not coloured(stream, environment):
        return "none"
    if environment.get("COLORTERM", "").lower() in ("truecolor", "24bit") or term.endswith("-direct"):
        return "truecolor"
    return "256" if "256color" in term else "none"


def _rich(stream: TextIO) -> Console:
    """A console of rich's for a stream, with colours only where :func:`coloured` says so."""
    from rich.console import Console

    return Console(file=stream, color_system="auto" if coloured(stream) else None)


# --- text -------------------------------------------------------------------------------------------


def printable(text: object, limit: int | None = None) -> str:
    """Returns text from anywhere as it may be shown: what would move a terminal's cursor or colour it is a `?`.

    Arguments:
        text: The text; line ends stay where they are.
        limit: The most characters; then the text is on one line.
    """
    text = str(text)
    if limit is not None:
        text = text.replace("\n", " ")
        text = text if len(text) <= limit else f"{text[: limit - 3]}..."
    return text if text.isprintable() else "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def said(kind: Any) -> str:
    """Returns the type of a field as people say it.

    Example:
        >>> from dgmcore.config import Count, Positive, Size
        >>> said(Positive), said(Count | None), said(tuple[Size, ...]), said(typing.Literal["a", "b"])
        ('number > 0', 'whole number >= 1, or none', 'list: whole number >= 1', 'a or b')
    """
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return said(args[0]) + _bounds(args[1])
    if origin in (typing.Union, types.UnionType):
        some = [said(a) for a in args if a is not type(None)]
        return ", or ".join([*some, "none"] if type(None) in args else some)
    if origin is typing.Literal:
        return " or ".join(map(str, args))
    if origin in (tuple, list):
        return f"list: {said(args[0])}"
    plain = {int: "whole number", float: "number", bool: "true or false", str: "text", Any: "anything"}
    return plain.get(kind, getattr(getattr(kind, "__struct_config__", None), "tag", None) or "keys and values")


def _bounds(meta: msgspec.Meta) -> str:
    """The bounds of a number that are bounds in earnest: the largest that is taken at all is none."""
    if meta.ge is not None and meta.le is not None and abs(meta.le) < 65_536 and abs(meta.ge) < 1e6:
        return f" from {meta.ge:g} to {meta.le:g}"
    ends = ((">=", meta.ge, -1e6), (">", meta.gt, -1e6), ("<=", meta.le, 65_536), ("<", meta.lt, 65_536))
    return "".join(f" {sign} {end:g}" for sign, end, far in ends if end is not None and abs(end) < abs(far))


def emit_json(data: Any) -> None:
    """Prints data as JSON on stdout; numbers that JSON does not have become null, and no character is raw that
    would move a terminal's cursor."""
    finite = _finite(data)
    text = json.dumps(finite, indent=2, ensure_ascii=False, allow_nan=False)
    if not encodes(text, sys.stdout):  # an escape is the same
        text = json.dumps(finite, indent=2, allow_nan=False)
    print("\n".join(line if line.isprintable() else _escaped(line) for line in text.split("\n")))


def _escaped(line: str) -> str:
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)


def _finite(data: Any) -> Any:
    if isinstance(data, float):
        return data if data - data == 0 else None
    if isinstance(data, dict):
        return {str(k): _finite(v) for k, v in data.items()}
    if isinstance(data, (list, tuple)):
        return [_finite(v) for v in data]
    return data


def say(text: str) -> None:
    """Prints a line on stderr, if it can be written to: talk ends no command."""
    with suppress(OSError, ValueError):
        print(printable(text), file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """Prints a warning on stderr, on one line: a text from outside says nothing in our name."""
    say(f"warning: {' '.join(text.split())}")


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    right: Sequence[str] = (),
    wrap: str | None = None,
    styles: Sequence[str | None] | None = None,
    drop: Sequence[str] = (),
) -> None:
    """Prints a table on stdout: a rich one on a terminal, aligned text where the output is piped.

    Nothing is cut off: on a narrow terminal columns are left out, and the cells of one take several lines.

    Arguments:
        columns: The heads.
        rows: The cells; None is a dash.
        right: The columns that are aligned to the right.
        wrap: The column whose cells take several lines where the terminal is narrow.
        styles: A rich style for each row.
        drop: The columns that are left out where the terminal is narrow, the first to go first.
    """
    cells = [["-" if c is None else printable(c).replace("\n", " ") for c in row] for row in rows]
    if sys.stdout.isatty():
        kept, least = _fitting(columns, cells, wrap, drop)
        cells = [[row[i] for i in kept] for row in cells]
        _rich_table([columns[i] for i in kept], cells, right, wrap, styles, least)
        return
    widths = [max(len(line[i]) for line in [columns, *cells]) for i in range(len(columns))]
    for line in [list(columns), *cells]:
        padded = [c.rjust(w) if name in right else c.ljust(w) for c, w, name in zip(line, widths, columns, strict=True)]
        print("  ".join(padded).rstrip())


def _fitting(
    columns: Sequence[str], cells: list[list[str]], wrap: str | None, drop: Sequence[str]
) -> tuple[list[int], int]:
    """Returns which columns are shown on this terminal, and how many characters wide they are at least."""
    room = shutil.get_terminal_size().columns
    width = {name: max(len(line[i]) for line in [columns, *cells]) for i, name in enumerate(columns)}
    if wrap is not None:
        width[wrap] = min(width[wrap], WRAPPED)
    shown = list(columns)

    def needed() -> int:
        return sum(width[c] for c in shown) + 3 * (len(shown) - 1)

    for name in drop:
        if needed() > room:
            shown.remove(name)
    return [columns.index(name) for name in shown], needed()


def _rich_table(
    columns: Sequence[str],
    cells: list[list[str]],
    right: Sequence[str],
    wrap: str | None,
    styles: Sequence[str | None] | None,
    least: int,
) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import ConsoleDimensions
    from rich.table import Table
    from rich.text import Text

    out = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    for name in columns:
        justify: Any = "right" if name in right else "left"
        out.add_column(name, justify=justify, no_wrap=name != wrap, overflow="fold")
    for i, row in enumerate(cells):
        out.add_row(*(Text(c) for c in row), style=styles[i] if styles else None)
    console = _rich(sys.stdout)
    width, height = shutil.get_terminal_size()  # dumb terminals are 80 wide for rich
    console.size = ConsoleDimensions(max(width, least), height)
    console.print(out)


def heading(title: str, text: str = "") -> None:
    """Prints a heading on stdout, in bold on a terminal."""
    title = printable(title)
    line = wrapped(f"{title}{': ' if text else ''}{printable(' '.join(text.split()))}", "  ")
    print(line.replace(title, f"\033[1m{title}\033[0m", 1) if coloured(sys.stdout) else line)


def wrapped(text: str, indent: str) -> str:
    """Returns text in lines of the terminal, if stdout is one, else on one line; no word is cut."""
    if not sys.stdout.isatty():
        return text.replace("\n", " ")
    width = shutil.get_terminal_size().columns
    return textwrap.fill(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def fields(items: Iterable[tuple[str, str | None]]) -> None:
    """Prints aligned lines `key  value` on stdout, wrapped to the terminal; empty values are left out."""
    shown = [(printable(key).replace("\n", " "), printable(value)) for key, value in items if value]
    indent = max((len(key) for key, _ in shown), default=0) + 4
    width = max(shutil.get_terminal_size((100, 24)).columns - indent, 30)
    for key, value in shown:
        lines = [w for line in value.split("\n") for w in textwrap.wrap(line, width, break_on_hyphens=False) or [""]]
        for i, line in enumerate(lines):
            print(f"  {key if i == 0 else '':<{indent - 4}}  {line}")


def count(n: int | None) -> str | None:
    """Returns a number of parameters in at most five characters."""
    if n is None or n < 1000:
        return None if n is None else f"{n}"
    amount, unit = _scaled(n, ("", "k", "M", "G"))
    return f"{amount:.3g}{unit}"


def size(n: float | None) -> str | None:
    """Returns a number of bytes as people write it."""
    return None if n is None else _size(n)


def _size(n: float) -> str:
    amount, unit = _scaled(n, ("B", "kB", "MB", "GB"))
    return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"


def _scaled(n: float, units: Sequence[str]) -> tuple[float, str]:
    """Returns a number in the first of the units, each a thousand of the one before, that makes it small."""
    power = next((k for k in range(len(units) - 1) if abs(n) < 1000 ** (k + 1)), len(units) - 1)
    return n / 1000**power, units[power]


def in_notebook() -> bool:
    """Whether talk goes to a cell of a notebook: there displays can change, but no cursor moves."""
    return type(sys.stderr).__module__ == "ipykernel.iostream"


@contextmanager
def progress(
    label: str, total: float | None = None, unit: str = "", cell: bool = False
) -> Iterator[Callable[..., None]]:
    """Shows the progress of long work on stderr, if that is a terminal or a notebook.

    Yields a function `advance(k=1, **fields)`; `fields` are shown beside the bar, such as a loss.
    `unit="bytes"` shows sizes, and `cell` is for calls in Python: these show it in notebooks only.

    Example:
        >>> with progress("sampling", total=3, unit="samples") as advance:
        ...     for _ in range(3):
        ...         advance()
    """
    if in_notebook():
        with _in_cell(label, total, unit) as advance:
            yield advance
        return
    if cell or _dumb(os.environ) or not sys.stderr.isatty():
        yield lambda k=1, **fields: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[done]}"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn("{task.fields[extra]}", style="dim"),
    ]
    with Progress(*columns, console=_rich(sys.stderr), transient=False) as bar:
        task = bar.add_task(label, total=total, done="", rate="", extra="")

        def advance(k: float = 1, **fields: Any) -> None:
            state = bar.tasks[0]
            now = state.completed + k
            speed = state.speed or (now / state.elapsed if state.elapsed else 0)
            bar.update(
                task,
                advance=k,
                done=_count(now, total, unit),
                rate=f"{_amount(speed, unit)}/s" if speed else "",
                extra=_beside(fields) or state.fields["extra"],
            )

        yield advance


@contextmanager
def _in_cell(label: str, total: float | None, unit: str) -> Iterator[Callable[..., None]]:
    """A line of a notebook's cell that is written anew twice a second."""
    from IPython.display import display

    begin = last = time.monotonic()
    done, extra, line = 0.0, "", None

    def show() -> None:
        nonlocal line, last
        last = time.monotonic()
        bar = "" if not total else f"{min(done / total, 1):.0%}"
        words = [label, bar, _count(done, total, unit), f"{_amount(done / (last - begin), unit)}/s", extra]
        shown = {"text/plain": "  ".join(filter(None, words))}
        if line is None:
            line = display(shown, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            line.update(shown, raw=True)

    def advance(k: float = 1, **fields: Any) -> None:
        nonlocal done, extra
        done, extra = done + k, _beside(fields) or extra
        if time.monotonic() - last > CELL_SECONDS:
            show()

    try:
        yield advance
    finally:
        if line is not None:
            show()


def _beside(fields: Mapping[str, Any]) -> str:
    return "  ".join(f"{n} {v:.4g}" if isinstance(v, float) else f"{n} {v}" for n, v in fields.items())


def _count(now: float, total: float | None, unit: str) -> str:
    if unit == "bytes":
        return _size(now) + (f"/{_size(total)}" if total else "")
    return f"{now:,.0f}" + (f"/{total:,.0f}" if total else "") + (f" {unit}" if unit else "")


def _amount(speed: float, unit: str) -> str:
    return _size(speed) if unit == "bytes" else f"{speed:,.0f}" if speed >= 10 else f"{speed:.2g}"
