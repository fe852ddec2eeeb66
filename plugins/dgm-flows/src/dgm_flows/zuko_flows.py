r"""Autoregressive, spline and additive flows, through zuko [1].

References:
    [1] Zuko: Normalizing flows in PyTorch (Rozet et al., 2022), https://github.com/probabilists/zuko
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import msgspec
import torch
import zuko
from torch import Tensor, nn
from torch.distributions import Transform

from dgmcore.config import Config, Depth, Widths
from dgmcore.model import Model

from .flow import Dim, Flow

__all__ = ["IAF", "MAF", "NICE", "NSF"]


class ZukoFlow(Flow):
    """A flow of vectors whose data-to-noise map is a zuko transformation of standardised data.

    Training starts by taking the mean and standard deviation of a batch, which are fixed from then on.

    Arguments:
        config: `dim`, the number of `transforms`, and the widths of their networks' `hidden` layers.
    """

    class Config(Config):
        dim: Dim = 2
        transforms: Depth = 5
        hidden: Widths = (64, 64)

    example: ClassVar[Mapping[str, Any]] = {"transforms": 2, "hidden": [8]}

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        self.event_shape = (self.config.dim,)
        self.register_buffer("mean", torch.zeros(self.config.dim))
        self.register_buffer("std", torch.ones(self.config.dim))
        self.flow = self.build()

    def build(self) -> nn.Module:
        """Returns zuko's lazy transformation, whose call gives a map from data to noise."""

        raise NotImplementedError

    def bijection(self) -> Transform:
        """Returns the map from standardised data to noise."""

        return self.flow()

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        self.mean.copy_(x.mean(0))
        self.std.copy_(x.std(0) + 1e-6)

    def transform(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z, ladj = self.bijection().call_and_ladj((x - self.mean) / self.std)
        return z, ladj - self.std.log().sum()

    def decode(self, z: Tensor) -> Tensor:
        return self.mean + self.std * self.bijection().inv(z)

    def _settings(self) -> dict[str, Any]:
        c = self.config
        return {
            "features": c.dim,
            "transforms": c.transforms,
            "hidden_features": list(c.hidden),
            "activation": nn.ELU,
        }


class MAF(ZukoFlow):
    r"""A masked autoregressive flow: one pass for a density, `dim` passes for a sample [1].

    References:
        [1] Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017),
        https://arxiv.org/abs/1705.07057
    """

    def build(self) -> nn.Module:
        return zuko.flows.MAF(**self._settings()).transform


class IAF(MAF):
    r"""An inverse autoregressive flow, MAF the other way round: one pass for a sample, `dim` passes for a density [1].

    References:
        [1] Improving Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016),
        https://arxiv.org/abs/1606.04934
    """

    def transform(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # the transformation runs from noise to data: its own log-determinant needs no inverse's inverse
        to_data = self.bijection()
        z = to_data.inv((x - self.mean) / self.std)
        return z, -to_data.call_and_ladj(z)[1] - self.std.log().sum()

    def decode(self, z: Tensor) -> Tensor:
        return self.mean + self.std * self.bijection()(z)


class NSF(ZukoFlow):
    r"""A neural spline flow: autoregressive monotone rational-quadratic splines [1].

    References:
        [1] Neural Spline Flows (Durkan et al., 2019), https://arxiv.org/abs/1906.04032
    """

    class Config(ZukoFlow.Config):
        bins: Annotated[int, msgspec.Meta(ge=2, le=1024)] = 8

    def build(self) -> nn.Module:
        return zuko.flows.NSF(**self._settings(), bins=self.config.bins).transform


class NICE(ZukoFlow):
    r"""Additive couplings, which keep volumes, and one diagonal scaling [1].

    References:
        [1] NICE: Non-linear Independent Components Estimation (Dinh et al., 2014),
        https://arxiv.org/abs/1410.8516
    """

    def build(self) -> nn.Module:
        c = self.config
        couplings = [
            zuko.flows.coupling.GeneralCouplingTransform(
                features=c.dim,
                mask=torch.arange(c.dim) % 2 == i % 2,
                univariate=zuko.transforms.AdditiveTransform,
                shapes=[()],
                hidden_features=list(c.hidden),
                activation=nn.ELU,
            )
            for i in range(c.transforms)
        ]
        scaling = zuko.lazy.UnconditionalTransform(_Scaling, log_scale=torch.zeros(c.dim))
        return zuko.lazy.LazyComposedTransform(*couplings, scaling)


def _Scaling(log_scale: Tensor) -> Transform:
    transform = zuko.transforms.MonotonicAffineTransform(torch.zeros_like(log_scale), log_scale, slope=1e-6)
    return zuko.transforms.DependentTransform(transform, 1)
