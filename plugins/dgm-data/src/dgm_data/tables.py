"""Tables of numbers as text, as people write them."""

from __future__ import annotations

import csv
from array import array as numbers
from pathlib import Path

import numpy as np

from dgmcore.data.arrays import LARGEST, first_line
from dgmcore.errors import DataError

__all__ = ["read_csv"]

#: How tables say that a number is missing.
_MISSING = {"", "na", "n/a", "nan", "null", "none", "nil", "?", "-"}


def read_csv(path: Path) -> np.ndarray:
    """Reads numbers in columns, with or without a line of names before them.

    A first column without a name or called `index` that counts the rows from 0, as tables are often written, is left
    out.
    """
    values, width, names = numbers("f"), 0, None
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            for cells in filter(None, csv.reader(file)):
                row = _numbers(cells)
                if row is None and not width and names is None and not _lacks(cells):
                    names = cells
                    continue
                shown = ",".join(cells)[:60]
                if row is None:
                    raise DataError(f"{path}: a line has no number: {shown}", "correct or remove the line")
                if width and len(row) != width:
                    raise DataError(
                        f"{path}: a line has {len(row)} numbers, the first {width}: {shown}", "correct the line"
                    )
                if not all(-LARGEST <= x <= LARGEST for x in row):
                    raise DataError(f"{path}: a line is not finite, as float32: {shown}", "remove the line")
                width = len(row)
                values.extend(row)
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise DataError(f"{path} can't be read: {first_line(e)}", "give numbers separated by commas") from None
    if not values:
        raise DataError(f"{path} is empty", "give numbers separated by commas")
    table = np.array(values, np.float32).reshape(-1, width)
    if names and names[0].strip().lower() in ("", "index") and width > 1 and _counts(table[:, 0]):
        return table[:, 1:]
    return table


def _numbers(cells: list[str]) -> list[float] | None:
    """Returns the numbers of a line, or None if a cell is none."""
    try:
        return None if any("_" in cell for cell in cells) else [float(cell) for cell in cells]  # 1_0 is Python's 10
    except ValueError:
        return None


def _lacks(cells: list[str]) -> bool:
    """Whether a line without names is one of data in which something is missing."""
    return any(_numbers([cell]) for cell in cells) or all(cell.strip().lower() in _MISSING for cell in cells)


def _counts(column: np.ndarray) -> bool:
    return np.array_equal(column, np.arange(len(column), dtype=np.float32))
