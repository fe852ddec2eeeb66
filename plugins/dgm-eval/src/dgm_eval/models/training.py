r"""How networks for features are trained: by labels, and without them.

References:
    A Simple Framework for Contrastive Learning of Visual Representations (Chen et al., 2020)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import torch
import torch.nn.functional as F
from msgspec import Meta
from torch import Tensor

from dgmcore.config import Config, Fraction, NonNegative, Positive
from dgmcore.training.phase import Phase, Step

from .corruptions import corrupt, jitter, shifted

if TYPE_CHECKING:
    pass

__all__ = ["Classify", "Corruptions", "contrastive"]


class Classify(Phase):
    """Cross-entropy, on images that are moved a little at random."""

    class Options(Config):
        shift: Annotated[int, Meta(ge=0, le=1_024)] = 0  # images are moved by up to so many pixels each way
        label_smoothing: Fraction = 0.0

    def step(self, step: Step) -> None:
        x = step.batch()
        y = step.labels()
        if self.options.shift:
            side = 2 * self.options.shift + 1
            x = shifted(x, step.noise(len(x)).integers(side, 2).to(x.device), self.options.shift)
        logits = self.model.logits(x)
        step.minimize(F.cross_entropy(logits, y, label_smoothing=self.options.label_smoothing))
        step.log(accuracy=(logits.detach().argmax(1) == y).float().mean())


class Corruptions(Phase):
    """Names corruptions and their strength, and tells images from each other."""

    class Options(Config):
        temperature: Positive = 0.2
        contrast: NonNegative = 0.5  # weight of the second task

    def step(self, step: Step) -> None:
        model, options = self.model, self.options
        x = step.batch()
        noise = step.noise(len(x))
        plain = jitter(x, noise)
        spoilt, kind, strength = corrupt(jitter(x, noise), noise)
        both = model.features(torch.cat([plain, spoilt]))
        features = both[len(x) :]

        named = F.cross_entropy(model.kind(features), kind)
        guess = model.strength(features).gather(1, kind[:, None])[:, 0].sigmoid()
        spoils = (kind != 0).float()
        measured = ((guess - strength).square() * spoils).sum() / spoils.sum().clamp(min=1)
        alike = contrastive(*model.projection(both).chunk(2), options.temperature)
        step.minimize(named + 10 * measured + options.contrast * alike)
        step.log(kind=named.detach(), strength=measured.detach(), contrast=alike.detach())
        step.log(accuracy=(model.kind(features.detach()).argmax(1) == kind).float().mean())


def contrastive(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    r"""The NT-Xent loss of two views, `(n, d)` each: view i of one set belongs to view i of the other.

    .. math:: -\frac1{2n} \sum_i \log \frac{\exp(z_i \cdot z_{i'} / \tau)}{\sum_{k \ne i} \exp(z_i \cdot z_k / \tau)}
    """

    z = F.normalize(torch.cat([a, b]), dim=1)
    n = len(a)
    likeness = z @ z.T / temperature
    likeness = likeness.masked_fill(torch.eye(2 * n, dtype=torch.bool, device=z.device), -torch.inf)
    partner = torch.arange(2 * n, device=z.device).roll(n)
    return F.cross_entropy(likeness, partner)
