r"""Observations, as critics: :math:`\log p(y \mid x)`.

References:
    [1] Inverse Problem Theory and Methods for Model Parameter Estimation (Tarantola, 2005)
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from dgmcore.errors import UsageError
from dgmcore.model import Model
from dgmcore.sampling.pictures import kind_of

from . import operators
from .operators import Operator

__all__ = ["Label", "Nothing", "Observation"]

_FARTHEST = 1e12  # sigma that what is given may be away from 0


class Nothing(Model):
    """The critic that has nothing to say."""

    def score(self, x: Tensor) -> Tensor:
        return 0.0 * x.flatten(1).sum(1)  # with a gradient, as chains want it


class Observation(Model):
    r"""What was seen of a datum, :math:`y = A x + \sigma n` with standard normal n:

    .. math:: \log p(y \mid x) = -\frac{|A x - y|^2}{2 \sigma^2} - \frac{m}{2} \log(2 \pi \sigma^2)

    A critic: any generator can be tilted by it.

    Arguments:
        y: What was seen, of the operator's shape, in the units of the model's data.
        operator: A; a text such as `"downsample:4"`, a function of `(n, *event_shape)`, or None for the whole datum.
        mask: What is known of it, bool, of the shape of a datum or of one plane; in place of an operator.
        sigma: The noise's standard deviation, in the units of the model's data.
        what: What it is called in records.

    Example:
        >>> seen = Observation(torch.tensor([0.5]), lambda x: x[:, :1], sigma=0.1)
        >>> seen.score(torch.tensor([[0.5, 3.0], [0.6, 3.0]])).diff().round(decimals=3)
        tensor([-0.5000])
    """

    event_shape: tuple[int, ...] | None = None  # type: ignore[assignment]

    def __init__(
        self,
        y: Any,
        operator: str | Operator | None = None,
        *,
        mask: Any = None,
        sigma: float = 0.1,
        what: str = "",
    ):
        super().__init__()
        if not (isinstance(sigma, int | float) and 0 < sigma < math.inf):
            raise UsageError(f"sigma can't be {sigma!r:.40}", "give the noise's deviation, above 0")
        if mask is not None and operator is not None:
            raise UsageError("an observation has a mask or an operator, not both", "leave out one of them")
        self.sigma, self.operator, self.what = float(sigma), operator, what or "an observation"
        self._gain: float | None = None
        values = _numbers(y, self.what)
        self.known: tuple[Tensor, Tensor] | None = None  # of a masked datum: the datum, and where it is known
        if mask is not None:
            known = _checked_mask(torch.as_tensor(mask), tuple(values.shape))
            self.known = values, known
            self.operator, values = operators.masked(known), operators.masked(known)(values[None])[0]
        if not values.numel() or not values.isfinite().all():
            raise UsageError(f"{self.what} is not finite, or empty", "give finite numbers")
        if float(values.abs().max()) > _FARTHEST * self.sigma:  # whose squares are not finite in float32
            raise UsageError(f"{self.what} is far from all that can be seen", "correct it, or give a larger sigma")
        self.register_buffer("y", values.float(), persistent=False)

    def fit(self, model: Model) -> Observation:
        """Checks that it is of a model's data, and builds its operator for them.

        Raises:
            UsageError: If the shapes don't fit.
        """

        shape = tuple(model.event_shape)
        if isinstance(self.operator, str):
            self.operator = operators.build(self.operator, shape)
        probe = torch.zeros(1, *shape, device=model.device, dtype=model.dtype)
        try:
            out = tuple(self.seen(probe).shape[1:])
        except (RuntimeError, IndexError, ValueError) as e:
            said = (str(e).splitlines() or ["?"])[0][:120]
            raise UsageError(
                f"the operator does not fit data of shape {list(shape)}: {said}", "give one that does"
            ) from None
        if out != tuple(self.y.shape):
            raise UsageError(
                f"{self.what} has the shape {list(self.y.shape)}, what the model's data show has {list(out)}",
                "give an observation of that shape",
            )
        self.to(model.device, model.dtype)
        return self

    def seen(self, x: Tensor) -> Tensor:
        """Returns A x, `(n, *y.shape)`."""

        if isinstance(self.operator, str):
            raise UsageError("the operator is not yet of a model's data", "call fit(model) first, or dgmcore.given")
        return x if self.operator is None else self.operator(x)

    def score(self, x: Tensor, misfit: float = 0.0) -> Tensor:
        r"""Returns :math:`\log p(y \mid x)`, `(n,)`, of data that are off by noise of deviation `misfit` themselves.

        That noise is seen through the operator; its variance there is taken as the mean over what is seen.
        """

        total = self.sigma**2 + (misfit**2 * self.gain(x) if misfit else 0.0)
        squares = (self.seen(x) - self.y.to(x)).flatten(1).square().sum(1)
        return -squares / (2 * total) - self.y.numel() / 2 * math.log(2 * math.pi * total)

    def gain(self, like: Tensor) -> float:
        r"""Returns the variance of a seen value where all values of a datum vary by 1: the mean diagonal of A A^T."""

        if self._gain is None:
            generator = torch.Generator().manual_seed(0)
            signs = torch.randint(0, 2, (64, *like.shape[1:]), generator=generator).to(like) * 2 - 1
            with torch.no_grad():
                self._gain = float(self.seen(signs).square().mean())
        return self._gain

    def misfit(self, x: Tensor) -> Tensor:
        """Returns the root mean square of A x - y, `(n,)`, which is about sigma where all is well."""

        return (self.seen(x) - self.y.to(x)).flatten(1).square().mean(1).sqrt()


def _numbers(y: Any, what: str) -> Tensor:
    """Returns what was seen as float64: neither halves of complex numbers nor dates, which would become numbers."""
    try:
        values = torch.as_tensor(y)
    except (TypeError, ValueError, RuntimeError):
        values = torch.zeros(0, dtype=torch.complex64)
    if values.is_complex() or values.layout != torch.strided or values.is_meta:
        raise UsageError(f"{what} is no array of numbers", "give real numbers, or a dense tensor of them")
    return values.to(torch.float64)


def _checked_mask(known: Tensor, shape: tuple[int, ...]) -> Tensor:
    if known.dtype is not torch.bool:
        raise UsageError(
            f"the mask has numbers of type {known.dtype}", "give a mask of type bool, true where it is known"
        )
    try:
        full = known.expand(shape)
    except RuntimeError:
        raise UsageError(
            f"the mask has the shape {list(known.shape)}, the datum {list(shape)}", "give one of that shape"
        ) from None
    if not full.any():
        raise UsageError("the mask hides everything", "leave something known, or sample without --given")
    if full.all():
        raise UsageError("the mask hides nothing", "leave something unknown, or use dgm reconstruct")
    return full


class Label(Model):
    r"""What class a datum is of: :math:`w \log p(k \mid x)` by a classifier.

    Classifiers that were trained with smoothed labels are never sure: the weight w sharpens them, as the scale of
    classifier guidance does (Diffusion Models Beat GANs on Image Synthesis, Dhariwal & Nichol, 2021).

    Of an image p is the least over views that keep its class: the image, moved by a pixel to either side, and turned
    either way by the `turns` of the classifier's config. What only one of them shows is often an image that fools it.

    Arguments:
        label: The class k.
        classifier: A model with `logits`, `(n, classes)`.
        limits: The range of the data that are judged, if they are bounded.
        weight: w.
        what: What it is called in records.

    Raises:
        UsageError: If the classifier knows no such class.
    """

    def __init__(
        self,
        label: int,
        classifier: Model,
        limits: tuple[float, float] | None = None,
        weight: float = 30.0,
        what: str = "",
    ):
        super().__init__()
        name = classifier.entry.name if classifier.entry is not None else type(classifier).__name__
        if not hasattr(classifier, "logits"):
            raise UsageError(f"{name} is no classifier", "name one after the class, such as label=3@lenet-fashion")
        self._hidden = (classifier.requires_grad_(False).eval(),)  # an entry of its own: none of this model's weights
        self.event_shape = tuple(classifier.event_shape)
        self.weight = weight
        self.label, self.limits, self.what = label, limits, what or f"label={label}@{name}"
        with torch.no_grad():
            zeros = torch.zeros(2, *self.event_shape, device=classifier.device, dtype=classifier.dtype)
            classes = self.logits(zeros).shape[1]
        if not 0 <= label < classes:
            raise UsageError(f"{name} knows no class {label}", f"its classes are 0 to {classes - 1}")

    def fit(self, model: Model) -> Label:
        """Checks that it judges a model's data; raises a :class:`UsageError` if not."""

        if tuple(model.event_shape) != self.event_shape:
            raise UsageError(
                f"the classifier judges {list(self.event_shape)}, the model draws {list(model.event_shape)}",
                "name a classifier of the same data after the class, such as label=3@lenet-fashion",
            )
        self._hidden[0].to(model.device, model.dtype)
        return self

    def logits(self, x: Tensor) -> Tensor:
        """Returns the classifier's logits, `(n, classes)`."""

        found: Tensor = self._hidden[0].logits(self.carried(x))  # type: ignore[operator]
        return found

    def carried(self, x: Tensor) -> Tensor:
        """Returns data in the range of the classifier's."""

        classifier = self._hidden[0]
        wanted = classifier.entry.data.range if classifier.entry is not None else classifier.data_range
        if wanted is not None and self.limits is not None and tuple(wanted) != tuple(self.limits):
            low, high = self.limits
            x = (x - low) * ((wanted[1] - wanted[0]) / (high - low)) + wanted[0]
        return x

    def score(self, x: Tensor) -> Tensor:
        """Returns w log p(k | x), `(n,)`, by the view of which the classifier is least sure."""

        told = [self.logits(view).log_softmax(1)[:, self.label] for view in self._views(x)]
        return self.weight * torch.stack(told).amin(0)

    def _views(self, x: Tensor) -> list[Tensor]:
        """Returns data, and images also as they keep their class."""

        if kind_of(tuple(x.shape[1:])) != "image":
            return [x]
        turns = getattr(self._hidden[0].config, "turns", 0.0)
        wide = torch.nn.functional.pad(x, (1, 1, 0, 0), mode="replicate")
        turned = [_turned(x, angle) for angle in (-turns, turns)] if turns else []
        return [x, wide[..., :-2], wide[..., 2:], *turned]


def _turned(x: Tensor, angle: float) -> Tensor:
    """Returns images turned by an angle in degrees, their borders continued."""

    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    matrix = x.new_tensor([[cos, -sin, 0.0], [sin, cos, 0.0]]).expand(len(x), 2, 3)
    grid = torch.nn.functional.affine_grid(matrix, list(x.shape), align_corners=False)
    return torch.nn.functional.grid_sample(x, grid, padding_mode="border", align_corners=False)
