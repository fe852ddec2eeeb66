r"""Classes: labels as options of sampling and scoring, and classifier-free guidance.

References:
    Classifier-Free Diffusion Guidance (Ho and Salimans, 2022)
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dgmcore.errors import OptionError
from dgmcore.noise import Noise

__all__ = ["Label", "dropped", "guided", "labels_of"]

#: One class for all samples, or classes that are repeated over them; None: no class.
Label = int | tuple[int, ...] | None


def labels_of(label: Label, noise: Noise, classes: int) -> Tensor | None:
    """Returns the labels of the samples that `noise` is for, int64 `(n,)`: sample `i` has number `i` of the list.

    Arguments:
        label: The option.
        noise: The samples' noise, which knows the number of the first.
        classes: How many classes the model knows.

    Raises:
        OptionError: If the model knows no classes, or not this one.
    """

    if label is None:
        return None
    if not classes:
        raise OptionError("this model knows no classes, so it takes no label", "leave out the option label")
    chosen = label if isinstance(label, tuple) else (label,)
    unknown = [k for k in chosen if not 0 <= k < classes]
    if unknown or not chosen:
        what = f"there is no class {unknown[0]}" if unknown else "the list of labels is empty"
        raise OptionError(what, f"the classes are 0 to {classes - 1}: --set label=0, or --set 'label=[0, 1]'")
    first = getattr(noise, "start", 0)
    place = (first + torch.arange(noise.n, device=noise.device)) % len(chosen)
    return torch.tensor(chosen, device=noise.device)[place]


def guided(
    predict: Callable[[Tensor, Tensor], Tensor], x: Tensor, labels: Tensor | None, guidance: float, classes: int
) -> Tensor:
    r"""Returns :math:`f(x, \varnothing) + w\,(f(x, y) - f(x, \varnothing))`, `(n, *event_shape)`.

    With `guidance` w = 0 no label is seen and with w = 1 the label's own prediction is taken, at one pass each.
    In the paper's notation w is 1 more.

    Arguments:
        predict: Maps points `(m, *event_shape)` and labels `(m,)` to predictions; label `classes` means none.
        x: Points, `(n, *event_shape)`.
        labels: Their labels, `(n,)`, or None: none.
        guidance: The weight w.
        classes: The number of classes.
    """

    null = torch.full((len(x),), classes, device=x.device)
    if labels is None or guidance == 0:
        return predict(x, null)
    if guidance == 1:
        return predict(x, labels)
    with_label, without = predict(torch.cat([x, x]), torch.cat([labels, null])).chunk(2)
    return without + guidance * (with_label - without)


def dropped(labels: Tensor, share: float, classes: int, noise: Noise) -> Tensor:
    """Returns labels of which a random share, by `noise`, is replaced by none: a network learns both at once."""

    return torch.where(noise.uniform() < share, torch.full_like(labels, classes), labels)
