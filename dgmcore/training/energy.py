r"""What the training of energies shares: the contrastive loss, its regularisers, clipping and replay buffers.

For :math:`p_\theta(x) \propto q(x) \exp(s_\theta(x))` the gradient of the negative log-likelihood is that of
:math:`E_{p_\theta}[s_\theta] - E_{data}[s_\theta]` (thesis, eq. 2.38 and 4.17), where the second expectation is
over negatives that a Markov chain draws.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import Config
from ..noise import Noise
from .phase import Phase, Step

__all__ = ["ContrastivePhase", "ReplayBuffer", "SpectralNorms", "clip_by_adam"]


class SpectralNorms:
    r"""The sum of the spectral norms of a network's convolutions, seen as matrices `(C_out, rest)`.

    Power iteration, a few a step and more the first time, is done for all matrices of one shape at once.
    Weight-normalised convolutions count with their normalised weight (their method `normalized_weight`).
    Networks without convolutions are regularised in their linear layers.

    Arguments:
        module: The network.
        iterations: Iterations a call.
        first: Iterations of the first call.
    """

    def __init__(self, module: nn.Module, iterations: int = 4, first: int = 40):
        self.iterations, self.first = iterations, first
        layers = [m for m in module.modules() if isinstance(m, nn.modules.conv._ConvNd)]
        layers = layers or [m for m in module.modules() if isinstance(m, nn.Linear)]
        self.groups: dict[str, list[nn.Module]] = {}
        for layer in layers:
            rows = layer.weight.shape[0]
            self.groups.setdefault(f"{rows}x{layer.weight.numel() // rows}", []).append(layer)
        self.u: dict[str, Tensor] = {}

    def __call__(self) -> Tensor:
        total: Any = 0.0
        for name, layers in self.groups.items():
            weights = [w() if (w := getattr(m, "normalized_weight", None)) else m.weight for m in layers]
            w = torch.stack([x.flatten(1) for x in weights])  # (k, rows, columns)
            iterations = self.iterations if name in self.u else self.first
            with torch.no_grad():
                u = self.u.get(name)
                if u is None:
                    start = torch.Generator().manual_seed(0)
                    u = F.normalize(torch.randn(*w.shape[:2], 1, generator=start), dim=1).to(w)
                u = u.to(w)
                for _ in range(iterations):
                    v = F.normalize(w.mT @ u, dim=1)
                    u = F.normalize(w @ v, dim=1)
                self.u[name] = u
            total = total + (u.mT @ w @ v).sum()
        return total

    def state(self) -> dict[str, Tensor]:
        return dict(self.u)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.u = dict(state)


def clip_by_adam(optimizer: torch.optim.Optimizer, deviations: float = 3.0, floor: float = 0.1) -> None:
    r"""Clips each gradient entry to :math:`\pm(3 \sqrt{v / (1 - \beta_2^t)} + 0.1)`.

    v and t are Adam's second moment and step count before this update; the first step is not clipped
    (Du and Mordatch, 2019; the floor is in VAEBM's code, not in the thesis).
    """

    for group in optimizer.param_groups:
        beta2 = group["betas"][1]
        for p in group["params"]:
            state = optimizer.state.get(p)
            if p.grad is None or not state or "exp_avg_sq" not in state:
                continue
            correction = 1.0 - beta2 ** float(state["step"])
            bound = state["exp_avg_sq"].div(correction).sqrt_().mul_(deviations).add_(floor)
            p.grad.copy_(torch.minimum(torch.maximum(p.grad, -bound), bound))


class ReplayBuffer:
    """States of chains, first in, first out.

    Arguments:
        size: How many states it holds.
        shapes: The shape of each leaf of a state, by path.
    """

    def __init__(self, size: int, shapes: Mapping[str, tuple[int, ...]]):
        self.size = size
        self.states = {name: torch.zeros(size, *shape) for name, shape in shapes.items()}
        self.count = torch.zeros((), dtype=torch.int64)  # of states ever put

    def __len__(self) -> int:
        return min(int(self.count), self.size)

    def put(self, states: Mapping[str, Tensor]) -> None:
        """Stores the states, leaves `(n, *shape)`, in place of the oldest."""

        n = next(iter(states.values())).shape[0]
        place = (torch.arange(n) + int(self.count)) % self.size
        for name, value in states.items():
            self.states[name][place] = value.detach().to("cpu", torch.float32)
        self.count = self.count + n

    def draw(self, noise: Noise) -> dict[str, Tensor]:
        """Returns `noise.n` stored states, drawn with replacement."""

        place = noise.integers(max(len(self), 1)).cpu()
        return {name: value[place].to(noise.device, noise.dtype) for name, value in self.states.items()}

    def mix(self, fresh: Mapping[str, Tensor], probability: float, noise: Noise) -> dict[str, Tensor]:
        """Returns `fresh` with each state replaced by a stored one with the probability."""

        stored, coin = self.draw(noise), noise.uniform() < probability
        if not len(self):
            return dict(fresh)
        return {k: torch.where(coin.view(-1, *[1] * (f.dim() - 1)), stored[k], f) for k, f in fresh.items()}

    def state(self) -> dict[str, Tensor]:
        return {"count": self.count, **{f"states/{k}": v for k, v in self.states.items()}}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> ReplayBuffer:
        buffer = cls(0, {})
        buffer.count = state["count"].clone()
        buffer.states = {k.removeprefix("states/"): v.clone() for k, v in state.items() if k != "count"}
        buffer.size = len(next(iter(buffer.states.values())))
        return buffer


class ContrastivePhase(Phase):
    """Base of phases that train a critic against negatives; a subclass gives :meth:`critic` and `step`."""

    class Options(Config):
        #: Weight of the mean squared score of data plus that of negatives (thesis 4.4.1: 0.1).
        energy_weight: float = 0.0
        #: Weight of the sum of spectral norms (VAEBM: 0.2).
        spectral_weight: float = 0.0
        #: Clip each gradient entry at so many deviations of Adam's second moment; None: don't.
        adam_clip: float | None = None
        #: Batches for the data-dependent initialisation of networks that have one.
        init_batches: int = 5

    def __init__(self, model: Any, options: Any):
        super().__init__(model, options)
        self.spectral = SpectralNorms(self.critic()) if options.spectral_weight else None
        self.buffer: ReplayBuffer | None = None

    def critic(self) -> Any:
        """Returns the network that is trained."""

        raise NotImplementedError

    def setup(self, step: Step) -> None:
        initialize = getattr(self.critic(), "initialize", None)
        if initialize is not None and self.options.init_batches:
            initialize(torch.cat([step.batch() for _ in range(self.options.init_batches)]))

    def parameters(self) -> dict[str, Iterable[nn.Parameter]]:
        return {"model": list(self.critic().parameters())}

    def contrast(self, step: Step, data: Tensor, negatives: Tensor) -> Tensor:
        """Returns the loss, and logs the means of both scores."""

        score = self.score(torch.cat([data, negatives]))
        up, down = score.split([len(data), len(negatives)])
        loss = down.mean() - up.mean()
        step.log(score_data=up.mean().detach(), score_negatives=down.mean().detach())
        return loss + self.regularization(step, up, down)

    def regularization(self, step: Step, *scores: Tensor) -> Tensor:
        """Returns the weighted sum of what the options ask for."""

        total = scores[0].new_zeros(())
        if self.options.energy_weight:
            total = total + self.options.energy_weight * sum(s.square().mean() for s in scores)
        if self.spectral is not None:
            norms = self.spectral()
            step.log(spectral=norms.detach())
            total = total + self.options.spectral_weight * norms
        return total

    def score(self, x: Tensor) -> Tensor:
        return self.critic().score(x)

    def adjust_gradients(self, step: Step, optimizer: str) -> None:
        if self.options.adam_clip is not None and optimizer == "model":
            clip_by_adam(step.optimizer(optimizer), self.options.adam_clip)

    # --- checkpoints -----------------------------------------------------------------------------

    def state(self) -> dict[str, Tensor]:
        parts = {"spectral": self.spectral, "buffer": self.buffer}
        return {f"{name}/{k}": v for name, part in parts.items() if part is not None for k, v in part.state().items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        parts: dict[str, dict[str, Tensor]] = {}
        for key, value in state.items():
            name, _, rest = key.partition("/")
            parts.setdefault(name, {})[rest] = value
        if self.spectral is not None:
            self.spectral.restore(parts.get("spectral", {}))
        if "buffer" in parts:
            self.buffer = ReplayBuffer.from_state(parts["buffer"])
