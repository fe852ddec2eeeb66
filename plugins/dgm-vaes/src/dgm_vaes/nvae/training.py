r"""The training of NVAE."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgmcore.config import Config, Fraction, NonNegative, Positive
from dgmcore.noise import Noise
from dgmcore.training.phase import Phase, Step

from .layers import Conv2d
from .model import NVAE

__all__ = ["HierarchicalELBO", "SpectralNorms", "balance"]


def balance(kl: Tensor, scales: list[int]) -> Tensor:
    r"""Returns the factors `(groups,)`, of mean 1, that keep groups in use while the KL term is warmed up.

    A group weighs :math:`(E|KL_i| + 0.01) / \alpha_i`, where :math:`\alpha_i` is its scale's number of pixels over
    its number of groups: a group that carries less is punished less (NVAE, appendix A).

    Arguments:
        kl: The KL divergences, `(groups, n)`, the coarsest first.
        scales: The scale of every group, 0 the finest.
    """

    alpha = kl.new_tensor([4.0 ** (max(scales) - s) / scales.count(s) for s in scales])
    weight = (kl.detach().abs().mean(1) + 0.01) / (alpha / alpha.min())
    return weight / weight.mean()


class SpectralNorms:
    """The largest singular values of all convolutions of a net, by power iteration, batched by shape.

    Every weight (the normalised one of weight-normalised layers) is a matrix `(out, rest)`. The vectors of the
    iteration are kept from step to step: 40 iterations the first time, 4 afterwards.
    """

    def __init__(self, model: nn.Module):
        shapes: dict[tuple[int, int], list[nn.Conv2d]] = {}
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d):
                shapes.setdefault((layer.weight.shape[0], layer.weight[0].numel()), []).append(layer)
        self.layers = shapes
        self.vectors: dict[str, Tensor] = {}

    def sum(self) -> Tensor:
        """Returns the sum of the norms, differentiable in the weights."""
        total = []
        for (rows, columns), layers in self.layers.items():
            w = torch.stack([(x.normalized_weight() if isinstance(x, Conv2d) else x.weight).flatten(1) for x in layers])
            name, first = f"{rows}x{columns}", f"{rows}x{columns}" not in self.vectors
            with torch.no_grad():
                # ones: any start that is not orthogonal to the leading vector
                v = w.new_ones(len(layers), columns, 1) if first else self.vectors[name].to(w)
                v = F.normalize(v, dim=1)
                for _ in range(40 if first else 4):
                    u = F.normalize(w @ v, dim=1, eps=1e-3)
                    v = F.normalize(w.mT @ u, dim=1, eps=1e-3)
                u = F.normalize(w @ v, dim=1, eps=1e-3)
                self.vectors[name] = v
            total.append((u * (w @ v)).sum())
        return torch.stack(total).sum()


class HierarchicalELBO(Phase):
    r"""Maximises the ELBO with NVAE's warm-up, balancing and regularisation.

    The KL term's weight grows linearly from step 0 to 1 at the fraction `warmup` of the phase; below 1 the groups'
    terms are balanced. `spectral` times the sum of the convolutions' spectral norms and of the largest scale of every
    batch norm keeps the latents' KL bounded; with `spectral_start` it is annealed, geometrically, along the warm-up.
    """

    class Options(Config):
        warmup: Fraction = 0.3
        constant: Fraction = 1e-4  # the fraction of training before the warm-up starts
        floor: NonNegative = 1e-4  # least weight of the KL term
        balance: bool = True
        spectral: NonNegative = 0.0
        spectral_start: Positive | None = None

    model: NVAE

    def __init__(self, model: NVAE, options: Options):
        super().__init__(model, options)
        self.norms = SpectralNorms(model)
        self.batch_norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]

    def kl_weight(self, progress: float) -> float:
        o = self.options
        if o.warmup <= 0.0:
            return 1.0
        return max(min((progress - o.constant) / o.warmup, 1.0), o.floor)

    def step(self, step: Step) -> None:
        o, x = self.options, step.batch()
        terms = self.model.terms(x, step.noise(x.shape[0]))
        beta = self.kl_weight(step.progress)
        factors = balance(terms.kl, self.model.group_scales) if o.balance and beta < 1.0 else 1.0
        kl = (terms.kl.mean(1) * factors).sum()
        loss = beta * kl - terms.recon.mean()
        if o.spectral:
            weight = o.spectral
            if o.spectral_start is not None:
                weight = math.exp((1.0 - beta) * math.log(o.spectral_start) + beta * math.log(o.spectral))
            norms = self.norms.sum()
            scales = sum((layer.weight.abs().max() for layer in self.batch_norms), norms.new_zeros(()))
            loss = loss + weight * (norms + scales)
            step.log(spectral=norms.detach(), batch_norm=scales.detach())
        step.minimize(loss)
        divergences = terms.kl.detach().mean(1)
        step.log(
            elbo=(terms.recon.detach().mean() - divergences.sum()),
            recon=terms.recon.detach().mean(),
            kl=divergences.sum(),
            beta=beta,
            **{f"kl_{i:02d}": v for i, v in enumerate(divergences)},
        )

    def validate(self, x: Tensor, noise: Noise) -> Tensor:
        return -self.model.terms(x, noise).elbo

    def state(self) -> dict[str, Tensor]:
        return dict(self.norms.vectors)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.norms.vectors = dict(state)
