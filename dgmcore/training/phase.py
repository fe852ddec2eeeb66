"""What an architecture says about its training: phases, each a step function over losses.

The engine (:mod:`dgm_train.engine`) owns everything else: data, devices, precision,
optimisers, schedules, EMA, clipping, checkpoints, logs. A phase is written as imperative code::

    class Adversarial(Phase):
        optimizers = ("critic", "generator")

        def parameters(self):
            return {"critic": self.model.critic.parameters(),
                    "generator": self.model.generator.parameters()}

        def step(self, step):
            for _ in range(self.options.critic_steps):
                x = step.batch()
                fake = self.model.sample(step.noise_for(x)).detach()
                step.minimize(self.model.score(fake).mean() - self.model.score(x).mean(), "critic")
            fake = self.model.sample(step.noise_for(x))
            step.minimize(-self.model.score(fake).mean(), "generator")
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ..config import Config

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from ..model import Model
    from ..noise import Noise

__all__ = ["Game", "Phase", "Step"]


class Step(Protocol):
    """One training step, as a phase sees it."""

    index: int  #: number of this step in its phase, from 0
    total: int | None  #: steps of the phase, None if the budget is in minutes
    progress: float  #: 0 at the start of the phase, 1 at its end
    device: torch.device

    def batch(self) -> Tensor:
        """Returns the next batch of data, `(b, *event_shape)`, in the data's range, on the device."""
        ...

    def labels(self) -> Tensor:
        """Returns the labels of the last batch, int64 `(b,)`."""
        ...

    def noise(self, n: int | None = None) -> Noise:
        """Returns this step's noise for `n` samples (None: the batch size); calls continue one stream."""
        ...

    def minimize(self, loss: Tensor, optimizer: str = "model", *, retain_graph: bool = False) -> None:
        """Zeroes the optimiser's gradients, backpropagates, averages over processes, clips, steps.

        A loss that is not finite stops the run.
        """
        ...

    def optimizer(self, name: str = "model") -> torch.optim.Optimizer:
        """Returns an optimiser, for what depends on its state."""
        ...

    def log(self, **values: Any) -> None:
        """Logs scalars (tensors or numbers) under the phase's name."""
        ...


class Phase:
    """One stage of a model's training.

    Arguments:
        model: The model, in train mode.
        options: An instance of the class's `Options`.
    """

    Options: ClassVar[type[Config]] = Config
    #: Names of its optimisers.
    optimizers: ClassVar[tuple[str, ...]] = ("model",)

    def __init__(self, model: Model, options: Any):
        self.model = model
        self.options = options

    def parameters(self) -> Mapping[str, Iterable[nn.Parameter]]:
        """Returns the parameters of each optimiser; by default all of the model that require gradients."""

        return {"model": [p for p in self.model.parameters() if p.requires_grad]}

    def averaged(self) -> nn.Module:
        """Returns the module that EMA follows; by default the whole model."""

        return self.model

    def setup(self, step: Step) -> None:
        """Runs once before the first step (data-dependent initialisation), not on a resume."""

    def step(self, step: Step) -> None:
        """Does one step: draws batches, computes losses, calls `step.minimize`."""

        raise NotImplementedError

    def adjust_gradients(self, step: Step, optimizer: str) -> None:
        """Runs after the backward pass and before the optimiser's step, for own ways of clipping."""

    def validate(self, x: Tensor, noise: Noise) -> Tensor | None:
        """Returns per-datum losses `(n,)` on held-out data (eval mode, no gradient), or None."""

        return None

    def state(self) -> dict[str, Tensor]:
        """Returns what a checkpoint must hold beyond weights and optimisers (replay buffers, ...)."""

        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Takes back what :meth:`state` returned."""

    def finish(self) -> None:
        """Runs once after the last step."""


class Game(Phase):
    """A phase of two players, the model's `discriminator` and `generator`; EMA follows the generator."""

    optimizers = ("discriminator", "generator")

    def parameters(self) -> Mapping[str, Iterable[nn.Parameter]]:
        return {name: list(getattr(self.model, name).parameters()) for name in self.optimizers}

    def averaged(self) -> nn.Module:
        return self.model.generator
