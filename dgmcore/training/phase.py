"""What an architecture says about its training: phases, each a step function over losses.

An engine (the plugin dgm-train) owns everything else: data, devices, precision, optimisers, schedules, averages,
clipping, checkpoints, logs. A phase is written as imperative code::

    class Adversarial(Phase):
        optimizers = ("critic", "generator")

        class Options(Config):
            critic_steps: Count = 5

        def parameters(self):
            return {"critic": self.model.critic.parameters(), "generator": self.model.generator.parameters()}

        def step(self, step):
            for _ in range(self.options.critic_steps):
                x = step.batch()
                fake = self.model.sample(step.noise(len(x))).detach()
                step.minimize(self.model.score(fake).mean() - self.model.score(x).mean(), "critic")
            step.minimize(-self.model.score(self.model.sample(step.noise())).mean(), "generator")

An architecture names its phases by import strings, so that it samples without importing them::

    class MyGAN(Model):
        phases = {"adversarial": "my_plugin.training:Adversarial"}
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

__all__ = ["Game", "Phase", "Step", "starter"]


def starter(kind: type[Model], shape: tuple[int, ...], levels: int | None = None) -> Mapping[str, Any]:
    """Returns what a recipe should say for a first training of a few minutes, on data that nobody knows.

    An architecture's class method `starter(shape, levels)` says it: of a recipe `config`, `data` (the range, ...),
    `phases` without their budget, and `sampling`, for data of this shape (of pictures: channels, height, width) with
    so many levels (None: continuous). Nothing stands for the only phase of a class that has one.
    """
    own = getattr(kind, "starter", None)
    said: Mapping[str, Any] = {} if own is None else own(shape, levels)
    return said


class Step(Protocol):
    """One training step, as a phase sees it.

    With several processes each has its share of every batch: below `b` is `batch_size` over the number of processes.
    """

    index: int  #: number of this step in its phase, from 0
    total: int | None  #: steps of the phase, None if the budget is in minutes
    progress: float  #: 0 at the start of the phase, 1 at its end
    device: torch.device  #: where the model is

    def batch(self) -> Tensor:
        """Returns the next batch of data, float32 `(b, *event_shape)`, in the data's range, on the device."""
        ...

    def labels(self) -> Tensor:
        """Returns the labels of the last batch, int64 `(b,)`.

        Raises:
            DataError: If the data have none.
        """
        ...

    def noise(self, n: int | None = None) -> Noise:
        """Returns this step's noise for `n` samples (None: `b`), on the device.

        It is a function of the seed, the phase, the step's number and the process; within a step calls go on in one
        stream, so two calls give different noise.
        """
        ...

    def minimize(self, loss: Tensor, optimizer: str = "model", *, retain_graph: bool = False) -> None:
        """Moves the parameters of an optimiser down the gradient of a loss.

        The optimiser's gradients are zeroed, computed, averaged over the processes, given to
        :meth:`Phase.adjust_gradients`, and clipped as the recipe says. With several optimisers only this one's
        parameters get gradients. A loss that is not finite, or beyond 1e10, stops the run.

        Arguments:
            loss: A scalar; its name in the log is `loss`, with several optimisers `loss_NAME`.
            optimizer: The optimiser's name.
            retain_graph: Whether a part of the graph is used once more, by another loss of this step.
        """
        ...

    def optimizer(self, name: str = "model") -> torch.optim.Optimizer:
        """Returns an optimiser, for what depends on its state."""
        ...

    def log(self, **values: Tensor | float) -> None:
        """Logs scalars by name; the log shows their means over several steps."""
        ...


class Phase:
    """One stage of a model's training.

    Arguments:
        model: The model, in train mode; parts that are entries of their own are frozen.
        options: An instance of the class's `Options`, as a recipe gives them.
    """

    #: What a recipe may say under `options`; give numbers bounds, such as :data:`dgmcore.config.Positive`.
    Options: ClassVar[type[Config]] = Config
    #: The names of its optimisers.
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
        """Runs after the backward pass and before the recipe's clipping and the optimiser, for own ways of clipping."""

    def validate(self, x: Tensor, noise: Noise) -> Tensor | None:
        """Returns the loss of each datum, `(n,)`, on held-out data (eval mode, no gradients), or None if it has none.

        Arguments:
            x: Data, `(n, *event_shape)`, as `step.batch` gives them but for augmentation.
            noise: Noise for `n` samples, the same at every validation.
        """
        return None

    def state(self) -> dict[str, Tensor]:
        """Returns what a checkpoint must hold beyond weights and optimisers (replay buffers, ...), by name."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Takes back what :meth:`state` returned."""

    def finish(self) -> None:
        """Runs once after the last step, with the (averaged) weights that the entry gets."""


class Game(Phase):
    """A phase of two players, the model's modules `discriminator` and `generator`; EMA follows the generator."""

    optimizers = ("discriminator", "generator")

    def parameters(self) -> Mapping[str, Iterable[nn.Parameter]]:
        return {name: list(self.model.get_submodule(name).parameters()) for name in self.optimizers}

    def averaged(self) -> nn.Module:
        return self.model.get_submodule("generator")
