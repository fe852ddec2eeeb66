"""What is not finite never leaves: the one place that decides so, for samples, scores, metrics and records."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .errors import NotFiniteError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

__all__ = ["require_finite"]


def require_finite(x: Tensor | np.ndarray | float, what: str, hint: str) -> None:
    """Refuses NaN and infinity.

    Arguments:
        x: A number, or an array or tensor of numbers.
        what: What they are, such as `samples 0 to 15`.
        hint: What to do about it, one line.

    Raises:
        NotFiniteError: If one of them is not finite; it says how many of how many.

    Example:
        >>> require_finite(float("nan"), "the mean", "leave out the data that are far away")
        Traceback (most recent call last):
        dgmcore.errors.NotFiniteError: the mean is nan (leave out the data that are far away)
    """

    if isinstance(x, (int, float)):
        if not math.isfinite(x):
            raise NotFiniteError(f"{what} is {x}", hint)
        return
    import numpy as np

    finite = np.isfinite(x) if isinstance(x, np.ndarray) else x.isfinite()
    wrong = math.prod(x.shape) - int(finite.sum())
    if wrong:
        raise NotFiniteError(f"{wrong:,} of {math.prod(x.shape):,} values of {what} are not finite", hint)
