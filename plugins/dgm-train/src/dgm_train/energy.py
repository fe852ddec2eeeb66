r"""What the training of energies shares: the contrastive loss, its regularisers, clipping and replay buffers.

For :math:`p_\theta(x) \propto q(x) \exp(s_\theta(x))`, with the score :math:`s_\theta = -f_\theta` of an energy, the
gradient of the negative log-likelihood is that of :math:`E_{p_\theta}[s_\theta] - E_{data}[s_\theta]`
(thesis, eq. 2.38, and 4.17 where q is a VAE). The first expectation is over negatives, which a Markov chain draws.

References:
    Designing Deep Generative Models with Symbiotic Composition (Xiao, 2022), "thesis", sections 2.3 and 4.3
    Implicit Generation and Generalization in Energy-Based Models (Du and Mordatch, 2019),
        https://arxiv.org/abs/1903.08689
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import torch
from msgspec import Meta
from torch import Tensor, nn
from torch.nn import functional as F

from dgmcore.config import Config, NonNegative
from dgmcore.errors import TrainingError
from dgmcore.model import Model
from dgmcore.noise import Noise
from dgmcore.training.phase import Phase, Step

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
        convolutions: list[nn.Module] = [m for m in module.modules() if isinstance(m, nn.modules.conv._ConvNd)]
        self.groups: dict[str, list[nn.Module]] = {}
        for layer in convolutions or [m for m in module.modules() if isinstance(m, nn.Linear)]:
            rows, columns = _weight(layer).flatten(1).shape
            self.groups.setdefault(f"{rows}x{columns}", []).append(layer)
        self.u: dict[str, Tensor] = {}

    def __call__(self) -> Tensor:
        """Returns the sum, a scalar that is differentiable in the weights."""

        total: Tensor | float = 0.0
        for name, layers in self.groups.items():
            w = torch.stack([_weight(layer).flatten(1) for layer in layers])  # (k, rows, columns)
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
        return torch.as_tensor(total)

    def state(self) -> dict[str, Tensor]:
        """Returns the vectors of the iteration, by the shape of their matrices."""

        return dict(self.u)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Takes back what :meth:`state` returned."""

        self.u = dict(state)


def _weight(layer: nn.Module) -> Tensor:
    """Returns a layer's weight, of a weight-normalised one the normalised weight."""

    normalized = getattr(layer, "normalized_weight", None)
    weight = normalized() if normalized else layer.weight
    assert isinstance(weight, Tensor)
    return weight


def clip_by_adam(optimizer: torch.optim.Optimizer, deviations: float = 3.0, floor: float = 0.1) -> None:
    r"""Clips each gradient entry to :math:`\pm(3 \sqrt{v / (1 - \beta_2^t)} + 0.1)`.

    v and t are Adam's second moment and step count before this update; the first step is not clipped
    (Du and Mordatch, 2019, as in VAEBM's training; the floor is in VAEBM's code, not in the thesis).

    Arguments:
        optimizer: Adam or AdamW, whose parameters have their gradients.
        deviations: The factor 3.
        floor: The summand 0.1.

    Raises:
        TrainingError: If the optimiser keeps no second moment.
    """

    if not isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW):
        raise TrainingError(
            f"adam_clip needs Adam's second moment, which {type(optimizer).__name__} does not keep",
            "use the optimizer adam or adamw, or adam_clip: null",
        )
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
    """States of chains, first in, first out, as float32 on the CPU (De Bortoli, Algorithm 1; Du and Mordatch, 2019).

    A state may have several leaves, such as the noises of a hierarchical VAE, each with a name.

    Arguments:
        size: How many states it holds.
        shapes: The shape of each leaf of a state, by name.
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
        """Returns `noise.n` stored states, drawn with replacement, leaves `(n, *shape)`."""

        place = noise.integers(max(len(self), 1)).cpu()
        return {name: value[place].to(noise.device, noise.dtype) for name, value in self.states.items()}

    def mix(self, fresh: Mapping[str, Tensor], probability: float, noise: Noise) -> dict[str, Tensor]:
        """Returns `fresh`, leaves `(n, *shape)`, with each state replaced by a stored one with the probability."""

        stored, coin = self.draw(noise), noise.uniform() < probability
        if not len(self):
            return dict(fresh)
        return {k: torch.where(coin.view(-1, *[1] * (f.dim() - 1)), stored[k], f) for k, f in fresh.items()}

    def state(self) -> dict[str, Tensor]:
        """Returns what :meth:`from_state` makes the buffer of."""

        return {"count": self.count, **{f"states/{k}": v for k, v in self.states.items()}}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> ReplayBuffer:
        """Returns a buffer as it was."""

        buffer = cls(0, {})
        buffer.count = state["count"].clone()
        buffer.states = {k.removeprefix("states/"): v.clone() for k, v in state.items() if k != "count"}
        buffer.size = len(next(iter(buffer.states.values())))
        return buffer


class ContrastivePhase(Phase):
    """Base of phases that train a critic against negatives; a subclass gives :meth:`critic` and `step`.

    Attributes:
        spectral: The regulariser, if the options ask for it.
        buffer: The replay buffer, None until a subclass makes one; checkpoints hold it.
    """

    class Options(Config):
        #: Weight of the mean squared score of data plus that of negatives (thesis 4.4.1: 0.1).
        energy_weight: NonNegative = 0.0
        #: Weight of the sum of spectral norms (VAEBM: 0.2).
        spectral_weight: NonNegative = 0.0
        #: Clip each gradient entry at so many deviations of Adam's second moment; None: don't.
        adam_clip: NonNegative | None = None
        #: Batches for the data-dependent initialisation of networks that have one.
        init_batches: Annotated[int, Meta(ge=0, le=10_000)] = 5

    def __init__(self, model: Model, options: Any):
        super().__init__(model, options)
        self.spectral = SpectralNorms(self.critic()) if options.spectral_weight else None
        self.buffer: ReplayBuffer | None = None

    def critic(self) -> Any:
        """Returns the network that is trained: it has `score`, and `initialize` if it looks at data first."""

        raise NotImplementedError

    def setup(self, step: Step) -> None:
        initialize = getattr(self.critic(), "initialize", None)
        if initialize is not None and self.options.init_batches:
            initialize(torch.cat([step.batch() for _ in range(self.options.init_batches)]))

    def parameters(self) -> dict[str, Iterable[nn.Parameter]]:
        return {"model": list(self.critic().parameters())}

    def contrast(self, step: Step, data: Tensor, negatives: Tensor) -> Tensor:
        """Returns the loss, a scalar, and logs the means of both scores.

        Arguments:
            data: Data, `(n, *event_shape)`.
            negatives: Ends of chains, `(m, *event_shape)`, without a graph.
        """

        score = self.score(torch.cat([data, negatives]))
        up, down = score.split([len(data), len(negatives)])  # type: ignore[no-untyped-call]
        loss: Tensor = down.mean() - up.mean()
        step.log(score_data=up.mean().detach(), score_negatives=down.mean().detach())
        return loss + self.regularization(step, up, down)

    def regularization(self, step: Step, *scores: Tensor) -> Tensor:
        """Returns the weighted sum of what the options ask for, a scalar, for scores `(n,)`."""

        total = scores[0].new_zeros(())
        if self.options.energy_weight:
            total = total + self.options.energy_weight * sum(s.square().mean() for s in scores)
        if self.spectral is not None:
            norms = self.spectral()
            step.log(spectral=norms.detach())
            total = total + self.options.spectral_weight * norms
        return total

    def score(self, x: Tensor) -> Tensor:
        """Maps `(n, *event_shape)` to the critic's scores, `(n,)`."""

        score: Tensor = self.critic().score(x)
        return score

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
