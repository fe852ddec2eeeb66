"""`dgm doctor`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ... import console as output
from ..installation import examine


def command(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check this installation and say what is wrong with it: exit code 1 if something is."""
    found = []
    for finding in examine():
        found.append(finding)
        if not json:
            _print(*finding)
    failed, warned = (sum(f.status == status for f in found) for status in ("fail", "warn"))
    if json:
        output.emit_json([f._asdict() for f in found])
    elif failed:
        print(f"\n{failed} thing{'s' * (failed > 1)} to mend.")
    else:
        print(f"\nNothing is broken. Warnings: {warned}." if warned else "\nAll is well.")
    if failed:
        raise typer.Exit(1)


def _print(status: str, subject: str, text: str, hint: str) -> None:
    lines = output.wrapped(output.printable(f"{status:<4}  {subject}: {text}"), " " * 8)
    if output.coloured(sys.stdout):
        colour = {"ok": 32, "warn": 33, "fail": 31}[status]
        lines = f"\033[{colour}m{status}\033[0m{lines.removeprefix(status)}"
    print(lines)
    if hint and status != "ok":
        print(output.wrapped(output.printable(f"      {hint}"), " " * 8))
    sys.stdout.flush()
