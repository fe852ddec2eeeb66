"""The exponential moving average of weights (EMA)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from .checkpoint import load_into, state_of

__all__ = ["Ema"]


class Ema:
    r"""Follows a module: :math:`\bar\theta \leftarrow d\, \bar\theta + (1 - d)\, \theta` after each step.

    The average begins as the weights after the first averaged step. Buffers, such as running statistics, are those of
    the module.

    Arguments:
        module: The module.
        decay: d in [0, 1), or None for no average.
        start: The first averaged step.

    Attributes:
        average: The averaged module, None before the first averaged step.
    """

    def __init__(self, module: nn.Module, decay: float | None, start: int = 0):
        self.module, self.decay, self.start = module, decay, start
        self.average: AveragedModel | None = None

    def update(self, step: int) -> None:
        """Takes in the weights after the step number `step`."""

        if self.decay is None or step < self.start:
            return
        if self.average is None:
            self.average = self._begin(self.decay)
        self.average.update_parameters(self.module)

    def _begin(self, decay: float) -> AveragedModel:
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        return AveragedModel(self.module, multi_avg_fn=average).requires_grad_(False)

    def load(self) -> None:
        """Gives the module the averaged weights, if there are any."""

        if self.average is not None:
            self.module.load_state_dict(self.average.module.state_dict())

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module has the averaged weights for a while."""

        if self.average is None:
            yield
            return
        kept = {name: tensor.clone() for name, tensor in self.module.state_dict().items()}
        try:
            self.load()
            yield
        finally:
            self.module.load_state_dict(kept)

    # --- checkpoints -----------------------------------------------------------------------------

    @property
    def updates(self) -> int | None:
        """How many steps were averaged; None if there is no average yet."""

        return None if self.average is None else int(self.average.n_averaged)

    def state(self) -> dict[str, Tensor]:
        """Returns the averaged module's tensors, none before the first averaged step."""

        return {} if self.average is None else dict(state_of(self.average.module))

    def restore(self, state: Mapping[str, Tensor], updates: int | None) -> None:
        """Takes back what :meth:`state` and :attr:`updates` were, unless no average is wanted any more."""

        if self.decay is not None and updates is not None:
            self.average = self._begin(self.decay)
            load_into(self.average.module, state, "the checkpoint")
            self.average.n_averaged.fill_(updates)
