"""How masked nets of several orders are trained."""

from __future__ import annotations

from torch import Tensor

from dgmcore.noise import Noise
from dgmcore.training import Phase, Step

__all__ = ["OrderAgnostic"]


class OrderAgnostic(Phase):
    r"""Maximises :math:`\log p_m(x)` of one order m in each step, of the orders in turns [1, section 4.2].

    What is validated is the mixture of all orders.

    References:
        [1] MADE (Germain et al., 2015), https://arxiv.org/abs/1502.03509
    """

    def step(self, step: Step) -> None:
        chain = step.index % len(self.model.orders)
        step.minimize(-self.model.log_conditionals(step.batch(), chain).sum(1).mean())

    def validate(self, x: Tensor, noise: Noise) -> Tensor:
        return -self.model.log_prob(x)
