"""Records as `dgm eval` prints them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from dgmcore import console
from dgmcore.entry import Metric

from .ratios import Ratio

__all__ = ["print_json", "print_table"]


def print_json(name: str, records: Sequence[Metric], other: str | None, found: Sequence[Ratio]) -> None:
    """Prints records as JSON, with the ratios to another entry's if there is one."""

    rows: list[dict[str, Any]] = [{"model": name, **msgspec.to_builtins(record)} for record in records]
    if other is not None:
        rows = [
            {**row, "compare": other, "ratio": ratio.value, "verdict": ratio.verdict}
            for row, ratio in zip(rows, found, strict=True)
        ]
    console.emit_json(rows)


def print_table(records: Sequence[Metric], other: str | None, found: Sequence[Ratio]) -> None:
    """Prints a line for each record."""

    columns = ["metric", "value", "95 %", "floor", "n", "real", "against", "features", "unit"]
    rows = [_cells(record) for record in records]
    if other is not None:
        columns.insert(2, f"of {other}'s")
        for row, ratio in zip(rows, found, strict=True):
            row.insert(2, None if ratio.value is None else f"{ratio.value:.3f}, {ratio.verdict}")
    console.table(
        columns, rows, right=["value", "floor", "n", "real"], wrap="unit", drop=["against", "features", "real", "floor"]
    )


def _cells(record: Metric) -> list[Any]:
    sign = "±" if console.encodes("±", sys.stdout) else "+-"
    value = f"{record.value:.4g}" + (f" {sign} {record.std:.2g}" if record.std else "")
    interval = None if record.interval is None else "{:.4g} to {:.4g}".format(*record.interval)
    floor = None if record.floor is None else f"{record.floor:.4g}"
    return [record.name, value, interval, floor, record.n, record.n_real, record.against, record.features, record.unit]
