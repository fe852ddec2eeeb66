"""The state of a training: what all phases share, and all that a phase changes and a checkpoint holds."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
import torch
from torch import Tensor

from dgmcore.data.view import View
from dgmcore.errors import DgmError, TrainingError
from dgmcore.model import Model

from ..build import build_phase
from ..parallel.distributed import Processes
from ..recipe import Recipe
from ..run_folder import RunFolder
from .checkpoint import Checkpoint, load_into, size_of, state_of
from .ema import Ema
from .log import Log
from .optimizers import flatten_state, make_optimizers, restore_state
from .progress import Circumstances, Progress
from .stream import Stream

__all__ = ["Diverged", "PhaseState", "Run"]


class Diverged(Exception):
    """A loss or a weight is not finite, or a loss has exploded."""


@dataclass
class Run:
    """What all phases of a run share, and none changes but by training the model."""

    recipe: Recipe
    model: Model
    data: View
    validation: View | None
    folder: RunFolder
    processes: Processes
    log: Log | None = None  # of the main process
    stop: threading.Event = field(default_factory=threading.Event)  # is set when somebody asks the run to stop


class PhaseState:
    """All that a phase changes while it trains.

    Arguments:
        run: The run.
        progress: Where the phase begins; :meth:`restore` goes on from elsewhere.

    Attributes:
        recipe: The phase's recipe.
        scope: The phase's name for seeds: no two phases see one order of the data, or one noise.
        phase: The phase, with the model in train mode.
        stream: The batches.
        optimizers: The optimisers by name.
        ema: The average of the weights.
        scaler: The scale of the loss, for fp16.
        progress: How far it is.
    """

    def __init__(self, run: Run, progress: Progress):
        self.progress = progress
        self.recipe = run.recipe.phases[progress.phase]
        self.scope = f"{progress.phase}:{self.recipe.phase}"
        self.model = run.model.train()
        self.phase = build_phase(run.model, self.recipe)
        if self.recipe.channels_last:
            # Module.to has this argument; torch's annotations do not
            run.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        #: Constants that some architectures keep in buffers, such as masks of attention.
        self._infinite = _not_finite(state_of(self.model)) | _not_finite(state_of(self.phase.averaged()))
        self.ema = Ema(self.phase.averaged(), self.recipe.ema, self.recipe.ema_from)
        self.optimizers = make_optimizers(self.recipe, self.phase.parameters())
        fp16 = self.recipe.precision == "fp16"
        self.scaler = torch.amp.GradScaler(run.processes.device.type) if fp16 else None
        self.stream = Stream(
            run.data,
            self.recipe.batch_size,
            seed=run.recipe.seed,
            scope=self.scope,
            rank=run.processes.rank,
            world=run.processes.world,
            device=run.processes.device,
        )

    # --- checkpoints -----------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """Returns the tensors of a checkpoint, by name."""

        tensors = {f"model.{k}": v for k, v in state_of(self.model).items()}
        tensors |= {f"phase.{k}": v for k, v in self.phase.state().items()}
        for name, optimizer in self.optimizers.items():
            tensors |= {f"optimizer.{name}/{k}": v for k, v in flatten_state(optimizer).items()}
        return tensors | {f"ema.{k}": v for k, v in self.ema.state().items()}

    def checkpoint(self) -> Checkpoint:
        """Returns all that the run needs to go on.

        Raises:
            Diverged: If a weight is not finite, so that nobody would want to.
        """

        if not self.is_finite():
            raise Diverged("a weight is not finite")
        progress = msgspec.structs.replace(
            self.progress,
            averages=self.ema.updates,
            scaler=None if self.scaler is None else self.scaler.state_dict(),
            counted=self._circumstances(),
        )
        return Checkpoint(self.tensors(), progress)

    def size(self) -> int:
        """Returns the bytes of a checkpoint, after the first step; an average that is to come is counted."""

        to_come = self.ema.decay is not None and self.ema.average is None
        return size_of(self.tensors()) + (size_of(state_of(self.ema.module)) if to_come else 0)

    def restore(self, saved: Checkpoint) -> None:
        """Goes on from a checkpoint.

        Raises:
            TrainingError: If it is of another model, optimiser, phase or data.
        """

        progress = saved.progress
        if progress.counted is not None:
            self._check_circumstances(progress.counted)
        load_into(self.model, saved.under("model."), "the checkpoint")
        for name, optimizer in self.optimizers.items():
            restore_state(optimizer, saved.under(f"optimizer.{name}/"))
        self.ema.restore(saved.under("ema."), progress.averages)
        if self.scaler is not None and progress.scaler:
            self.scaler.load_state_dict(progress.scaler)
        try:
            self.phase.restore(saved.under("phase."))
        except DgmError:
            raise
        except Exception as e:  # what a phase keeps, and how it complains, is its own affair
            raise TrainingError(
                f"the phase {self.recipe.phase} can't go on from the checkpoint: {type(e).__name__}: {e}",
                "change its options back, or start a new run",
            ) from e
        self.progress = progress
        if progress.counted is None:  # written by an earlier version
            progress.seen = progress.step * self.recipe.batch_size
        else:
            progress.position = self.stream.convert(progress.position, progress.counted.batch_size)

    def _circumstances(self) -> Circumstances:
        recipe = self.recipe
        kinds: dict[str, str] = {name: recipe.optimizers.get(name, recipe.optimizer).name for name in self.optimizers}
        return Circumstances(
            phase=recipe.phase, batch_size=recipe.batch_size, data=len(self.stream.data), optimizers=kinds
        )

    def _check_circumstances(self, before: Circumstances) -> None:
        now, number = self._circumstances(), self.progress.phase
        if now.phase != before.phase:
            raise TrainingError(
                f"the run is in its phase {number}, {before.phase}, which is {now.phase} in the recipe",
                f"change phases.{number}.phase back, or start a new run",
            )
        if now.data != before.data:
            raise TrainingError(
                f"{self.stream.data.name} had {before.data:,} data when the run began, and has {now.data:,} now",
                "bring the data back, or start a new run",
            )
        for name in now.optimizers.keys() & before.optimizers.keys():
            if now.optimizers[name] != before.optimizers[name]:
                raise TrainingError(
                    f"the run goes on with the optimiser {before.optimizers[name]}, the recipe says "
                    f"{now.optimizers[name]}",
                    f"change the optimizer of phases.{number} back, or start a new run",
                )

    def is_finite(self) -> bool:
        """Whether every number is finite that would go into a checkpoint, and from there into the entry."""

        odd = _not_finite(state_of(self.model)) | _not_finite(self.ema.state())
        return not odd - self._infinite


def _not_finite(tensors: Mapping[str, Tensor]) -> set[str]:
    return {k for k, t in tensors.items() if t.is_floating_point() and not bool(t.detach().isfinite().all())}
