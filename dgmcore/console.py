"""What commands say: data on stdout, talk on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = ["count", "emit_json", "fields", "heading", "printable", "progress", "say", "size", "table", "warn"]


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


def emit_json(data: Any) -> None:
    """Prints data as JSON on stdout; numbers that JSON does not have become null, and no character is raw that
    would move a terminal's cursor."""

    text = json.dumps(_finite(data), indent=2, ensure_ascii=False, allow_nan=False)
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
    """Prints a line on stderr."""
    print(printable(text), file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """Prints a warning on stderr."""
    say(f"warning: {text}")


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    right: Sequence[str] = (),
    wrap: str | None = None,
    styles: Sequence[str | None] | None = None,
) -> None:
    """Prints a table on stdout: a rich one on a terminal, aligned text where the output is piped.

    Arguments:
        columns: The heads.
        rows: The cells; None is a dash.
        right: The columns that are aligned to the right.
        wrap: The column that gives way where the terminal is narrow.
        styles: A rich style for each row.
    """

    cells = [["-" if c is None else printable(c).replace("\n", " ") for c in row] for row in rows]
    if sys.stdout.isatty():
        _rich_table(columns, cells, right, wrap, styles)
        return
    widths = [max(len(line[i]) for line in [columns, *cells]) for i in range(len(columns))]
    for line in [list(columns), *cells]:
        padded = [c.rjust(w) if name in right else c.ljust(w) for c, w, name in zip(line, widths, columns, strict=True)]
        print("  ".join(padded).rstrip())


def _rich_table(
    columns: Sequence[str],
    cells: list[list[str]],
    right: Sequence[str],
    wrap: str | None,
    styles: Sequence[str | None] | None,
) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    out = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    for name in columns:
        out.add_column(
            name,
            justify="right" if name in right else "left",
            no_wrap=name != wrap,
            overflow="fold" if name == wrap else "ellipsis",
        )
    for i, row in enumerate(cells):
        out.add_row(*(Text(c) for c in row), style=styles[i] if styles else None)
    Console().print(out)


def heading(title: str, text: str = "") -> None:
    """Prints a heading on stdout, in bold on a terminal."""

    title = printable(title)
    styled = f"\033[1m{title}\033[0m" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else title
    print(f"{styled}{': ' if text else ''}{printable(text)}")


def fields(items: Iterable[tuple[str, str | None]]) -> None:
    """Prints aligned lines `key  value` on stdout, wrapped to the terminal; empty values are left out."""

    import shutil
    import textwrap

    shown = [(printable(key), printable(value)) for key, value in items if value]
    indent = max((len(key) for key, _ in shown), default=0) + 4
    width = max(shutil.get_terminal_size((100, 24)).columns - indent, 30)
    for key, value in shown:
        lines = [w for line in value.split("\n") for w in textwrap.wrap(line, width, break_on_hyphens=False) or [""]]
        for i, line in enumerate(lines):
            print(f"  {key if i == 0 else '':<{indent - 4}}  {line}")


def count(n: int | None) -> str | None:
    """Returns a number of parameters in at most five characters."""

    if n is None:
        return None
    for unit in ("", "k", "M", "G"):
        if n < 1000 or unit == "G":
            return f"{n}" if unit == "" else f"{n:.3g}{unit}"
        n /= 1000
    return None


def size(n: float | None) -> str | None:
    """Returns a number of bytes as people write it."""

    if n is None:
        return None
    for unit in ("B", "kB", "MB", "GB"):
        if abs(n) < 1000 or unit == "GB":
            return f"{n:.0f} {unit}" if unit == "B" or n >= 100 else f"{n:.1f} {unit}"
        n /= 1000
    return None


@contextmanager
def progress(label: str, total: float | None = None, unit: str = "") -> Iterator[Callable[..., None]]:
    """Shows the progress of long work on stderr, if that is a terminal.

    Yields a function `advance(k=1, **fields)`; `fields` are shown beside the bar, such as a loss.
    `unit="bytes"` shows sizes.

    Example:
        >>> with progress("sampling", total=3, unit="samples") as advance:
        ...     for _ in range(3):
        ...         advance()
    """

    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield lambda k=1, **fields: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[done]}"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn("{task.fields[extra]}", style="dim"),
    ]
    with Progress(*columns, console=Console(stderr=True), transient=False) as bar:
        task = bar.add_task(label, total=total, done="", rate="", extra="")

        def advance(k: float = 1, **fields: Any) -> None:
            state = bar.tasks[0]
            now = state.completed + k
            speed = state.speed or (now / state.elapsed if state.elapsed else 0)
            extra = "  ".join(f"{n} {v:.4g}" if isinstance(v, float) else f"{n} {v}" for n, v in fields.items())
            bar.update(
                task,
                advance=k,
                done=_count(now, total, unit),
                rate=f"{_amount(speed, unit)}/s" if speed else "",
                extra=extra or state.fields["extra"],
            )

        yield advance


def _count(now: float, total: float | None, unit: str) -> str:
    if unit == "bytes":
        return size(now) + (f"/{size(total)}" if total else "")
    return f"{now:,.0f}" + (f"/{total:,.0f}" if total else "") + (f" {unit}" if unit else "")


def _amount(speed: float, unit: str) -> str:
    return size(speed) if unit == "bytes" else f"{speed:,.0f}" if speed >= 10 else f"{speed:.2g}"
