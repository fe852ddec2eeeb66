r"""Classes: labels as options of sampling and scoring, and classifier-free guidance.

References:
    Classifier-Free Diffusion Guidance (Ho and Salimans, 2022)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
import torch
from torch import Tensor, nn

from dgmcore import Config, Model
from dgmcore.config import Shape
from dgmcore.errors import OptionError
from dgmcore.noise import IndexedNoise, Noise

from .networks import MLP, UNet, build_network, evaluate, of_pictures, with_network
from .odes import sign_probes

__all__ = ["Classes", "Guidance", "Label", "Timed", "dropped", "guided", "labels_of"]

#: One class for all samples, or classes that are repeated over them; None: no class.
_Class = Annotated[int, msgspec.Meta(ge=0, le=99_999)]
Label = _Class | list[_Class] | None
#: The number of classes of a config; 0: without classes.
Classes = Annotated[int, msgspec.Meta(ge=0, le=100_000)]
#: The weight of guidance: 0 sees no label, above 1 there is more of the class than in the data.
Guidance = Annotated[float, msgspec.Meta(ge=0, le=100)]


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
    chosen = [label] if isinstance(label, int) else label
    unknown = [k for k in chosen if not 0 <= k < classes]
    if unknown or not chosen:
        what = f"there is no class {unknown[0]}" if unknown else "the list of labels is empty"
        raise OptionError(what, f"the classes are 0 to {classes - 1}: --set label=0, or --set 'label=[0, 1]'")
    place = (noise.start + torch.arange(noise.n, device=noise.device)) % len(chosen)
    return torch.tensor(chosen, device=noise.device)[place]


def guided(network: nn.Module, x: Tensor, t: Tensor, labels: Tensor | None, guidance: float, classes: int) -> Tensor:
    r"""Returns :math:`f(x, t, \varnothing) + w\,(f(x, t, y) - f(x, t, \varnothing))`, `(n, *event_shape)`.

    With `guidance` w = 0 no label is seen and with w = 1 the label's own prediction is taken, at one pass each;
    else a pass has both. In the paper's notation w is 1 more.

    Arguments:
        network: What :func:`dgm_diffusion.networks.build_network` made for so many `classes`.
        x: Points, `(n, *event_shape)`.
        t: Times in 0..1000, `(n,)`, or one for all, `()`.
        labels: Their labels, `(n,)`, or None: none.
        guidance: The weight w.
        classes: The number of classes; 0: the network takes no labels.
    """

    if not classes:
        return evaluate(network, x, t)
    null = torch.full((x.shape[0],), classes, device=x.device)
    if labels is None or guidance == 0:
        return evaluate(network, x, t, null)
    if guidance == 1:
        return evaluate(network, x, t, labels)
    times = t if t.ndim == 0 else t.repeat(2)
    both = evaluate(network, torch.cat([x, x]), times, torch.cat([labels, null]))
    with_label, without = both.chunk(2)
    return without + guidance * (with_label - without)


def dropped(labels: Tensor, share: float, classes: int, noise: Noise) -> Tensor:
    """Returns labels of which a random share, by `noise`, is replaced by none: a network learns both at once."""

    return torch.where(noise.uniform() < share, torch.full_like(labels, classes), labels)


class Timed(Model):
    """Base of models whose network sees a point, a time and perhaps a class, and whose flow goes from noise to data.

    A subclass gives `trajectory`, and `decode` from noise to data unless it overrides `push`.
    """

    class Config(Config):
        event_shape: Shape = (2,)
        network: MLP | UNet | None = None  # None: a perceptron for points, a small U-Net for images
        classes: Classes = 0

    example = {"network": {"kind": "mlp", "width": 16, "depth": 1}}

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        self.config = with_network(self.config)
        self.event_shape = tuple(self.config.event_shape)
        self.network = build_network(self.config.network, self.event_shape, self.config.classes)

    @classmethod
    def starter(cls, shape: tuple[int, ...], levels: int | None = None) -> Mapping[str, Any]:
        return of_pictures(shape, next(iter(cls.phases)))

    @property
    def noise_shapes(self) -> Mapping[str, Any]:
        return {"x": self.event_shape}

    def push(self, eps: Mapping[str, Tensor]) -> Tensor:
        """Maps noise to data by the flow, with the default number of steps."""
        return self.decode(eps["x"])

    def sample(self, noise: Noise, **options: Any) -> Tensor:
        return deque(self.trajectory(noise, **options), maxlen=1).pop()

    def predicted(self, x: Tensor, t: Tensor, labels: Tensor | None = None, guidance: float = 1.0) -> Tensor:
        """Returns the network's output at `x` and times in 0..1000, `(n,)` or `()`; see :func:`guided`."""

        return guided(self.network, x, t, labels, guidance, self.config.classes)

    def labels(self, label: Label, noise: Noise) -> Tensor | None:
        """Returns what an option says of each sample's class; see :func:`labels_of`."""

        return labels_of(label, noise, self.config.classes)

    def scored(self, x: Tensor, noise: Noise | None, o: Any) -> tuple[Tensor | None, list[Tensor]]:
        """Returns the labels and the probes that the options of a density ask for; no noise stands for seed 0."""

        noise = noise or IndexedNoise.like(x, version=self.noise_version)
        return self.labels(o.label, noise), sign_probes(noise, self.event_shape, o.probes)
