"""Scatter plots as vector graphics, by matplotlib."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np

from dgmcore.errors import UsageError
from dgmcore.sampling import provenance
from dgmcore.sampling.pictures.scatter import Window, coloured, ticks

__all__ = ["write_figure"]

#: What says when a file was made: equal samples make equal files. And where its record is.
_UNDATED = {".pdf": ("CreationDate", "Subject"), ".svg": ("Date", "Description")}


def write_figure(
    file: BinaryIO,
    suffix: str,
    points: np.ndarray,
    window: Window,
    density: np.ndarray | None = None,
    ways: np.ndarray | None = None,
) -> None:
    """Writes points with axes over a density, as `.pdf` or `.svg`.

    Arguments:
        file: Where to.
        suffix: Of its name.
        points: The samples, `(n, 2)`.
        window: The square of the plane that is shown.
        density: The density on it, divided by its maximum, `(grid, grid)`, rows from the top.
        ways: Lines `(rows, steps, 2)` below the points.

    Raises:
        UsageError: If matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError(f"{suffix} needs matplotlib", "pip install 'dgmcore[plots]', or choose .png") from None
    with rc_context({"svg.hashsalt": "dgmcore", "svg.fonttype": "none", "pdf.fonttype": 42}):
        figure = Figure(figsize=(5, 5), layout="constrained")
        axes: Any = figure.add_subplot()
        sides = (window.x, window.x + window.side, window.y, window.y + window.side)
        if density is not None:
            axes.imshow(np.rint(coloured(density)).astype(np.uint8), extent=sides, interpolation="bilinear")
        for way in () if ways is None else ways:
            axes.plot(*way.T, color="0.35", linewidth=0.8, zorder=1)
        shown = points[np.isfinite(points).all(1)]
        area = max(1.0, min(16.0, 4000 / max(len(shown), 1)))  # of a disc, in square points
        axes.scatter(*shown.T, s=area, color="#e25822", linewidths=0, zorder=2)
        axes.axis(sides)
        axes.set(aspect="equal", xticks=ticks(*sides[:2]), yticks=ticks(*sides[2:]))
        axes.tick_params(labelsize=8)
        keys = _UNDATED.get(suffix.lower())
        about = {keys[0]: None, keys[1]: provenance.text() or None} if keys else None
        figure.savefig(file, format=suffix[1:].lower(), metadata=about)
