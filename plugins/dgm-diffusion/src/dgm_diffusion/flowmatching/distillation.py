"""Training of a student by what its teacher draws."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import torch
from torch import Tensor

from dgmcore import Config
from dgmcore.config import Depth, Size
from dgmcore.noise import IndexedNoise
from dgmcore.training import Phase, Step

from ..labels import Guidance
from ..odes import solve
from .model import FlowMatching

if TYPE_CHECKING:
    from .student import FlowStudent

__all__ = ["Distill"]

Count = Annotated[int, msgspec.Meta(ge=1)]


class Distill(Phase):
    """The squared error of the student's states against its teacher's, from the same noise and label.

    The teacher is what the student's weights are before the first step: `init` in a recipe names it. Its states at
    the student's times are solved for once, for a pool of noises that training goes over and over: a teacher's many
    passes then cost as much as a few of the student's. Gradients go through all steps, so that later ones mend what
    earlier ones miss.
    """

    model: FlowStudent

    class Options(Config):
        pool: Size = 1024  # noises, with labels in turn
        solver: Literal["euler", "midpoint", "heun", "rk4"] = "heun"
        steps: Depth = 16  # of the teacher, from 0 to 1
        guidance: Guidance = 1.0

    def __init__(self, model: FlowStudent, options: Any):
        super().__init__(model, options)
        self.pool = torch.empty(0)  # the states at all times, half precision `(pool, times, *event_shape)`

    # --- the pool ------------------------------------------------------------------------------

    def setup(self, step: Step) -> None:
        teacher = FlowMatching({k: v for k, v in self.model.config_dict().items() if k != "times"})
        teacher.load_state_dict(self.model.state_dict())
        teacher = teacher.to(step.device).eval()
        with torch.no_grad(), torch.autocast(step.device.type, enabled=False):
            blocks = [self.solved(teacher, start) for start in range(0, self.options.pool, 64)]
            # in here, as autocast to bfloat16 refuses to join tensors of the other half precision
            self.pool = torch.cat(blocks)[: self.options.pool]

    def solved(self, teacher: FlowMatching, start: int, n: int = 64) -> Tensor:
        """Returns the teacher's states from the noises number `start` to `start + n - 1` on, `(n, times, ...)`."""

        o, times = self.options, self.model.config.times
        noise = IndexedNoise(0, n, start, device=teacher.device, dtype=teacher.dtype, scope="pool")
        labels = self.labels(torch.arange(start, start + n, device=teacher.device))
        field = partial(teacher.velocity, labels=labels, guidance=o.guidance)
        states = [noise.normal(*teacher.event_shape)]
        for a, b in pairwise(times):
            grid = torch.linspace(a, b, max(1, round((b - a) * o.steps)) + 1, device=teacher.device)
            states.append(deque(solve(field, states[-1], grid.to(teacher.dtype), o.solver), maxlen=1).pop())
        return torch.stack(states, 1).half().cpu()

    def labels(self, index: Tensor) -> Tensor | None:
        """Returns the labels of the noises number `index` of the pool: the classes in turn."""

        return index % self.model.config.classes if self.model.config.classes else None

    # --- steps ---------------------------------------------------------------------------------

    def step(self, step: Step) -> None:
        index = step.noise(len(step.batch())).integers(len(self.pool))
        start, *wanted = self.pool[index.cpu()].to(step.device, self.model.dtype).unbind(1)
        _, *states = self.model.states(start, self.labels(index))
        errors = [(a - b).square().mean() for a, b in zip(states, wanted, strict=True)]
        step.log(**{f"error_{k}": e.detach() for k, e in enumerate(errors, 1)})
        step.minimize(torch.stack(errors).sum())

    def state(self) -> dict[str, Tensor]:
        return {"pool": self.pool}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.pool = state["pool"]
