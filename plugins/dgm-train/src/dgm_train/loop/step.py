"""One training step, as the engine gives it to a phase (:class:`dgmcore.training.phase.Step`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from dgmcore.errors import DgmError, TrainingError
from dgmcore.sampling.stream_noise import StreamNoise, derive_seed
from dgmcore.suggestions import did_you_mean

from ..parallel.distributed import Processes
from .log import Meter
from .schedule import Budget, learning_rate
from .state import Diverged, PhaseState

__all__ = ["EngineStep", "explained"]

EXPLODED = 1e10  # a loss beyond this is lost, whatever it measures
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class EngineStep:
    """A step of a phase; the loop moves it on with :meth:`start`.

    It reads the phase's state, and changes of it what a step changes: weights, optimisers, and the number of batches
    drawn.

    Arguments:
        state: The phase's state.
        budget: The phase's length.
        processes: The processes that share the step.
        seed: The recipe's seed.

    Attributes:
        meter: The means of what was logged since they were last read.
        last: The losses of this step, where reading them costs nothing.
    """

    def __init__(self, state: PhaseState, budget: Budget, processes: Processes, seed: int):
        self.state, self.budget, self.processes, self.seed = state, budget, processes, seed
        self.device, self.total = processes.device, budget.steps
        self.index, self.progress = 0, 0.0
        self.meter = Meter()
        self.last: dict[str, float] = {}
        self._parameters = {
            name: [p for group in o.param_groups for p in group["params"]] for name, o in state.optimizers.items()
        }
        self._base = {name: o.param_groups[0]["lr"] for name, o in state.optimizers.items()}
        self._noise: StreamNoise | None = None
        self._suspicion: Tensor | None = None  # on a GPU: whether a loss so far was bad, not yet looked at

    def start(self, name: str | None = None) -> None:
        """Begins the next step. All randomness of it depends on its number (or `name`) and this process alone."""

        progress = self.state.progress
        self.index, self.progress, self._noise = progress.step, self.budget.share(progress), None
        self._place = f"{self.state.scope}/{self.index if name is None else name}/{self.processes.rank}"
        for key, optimizer in self.state.optimizers.items():
            rate = learning_rate(self.state.recipe.schedule, self._base[key], self.index, self.total, self.progress)
            for group in optimizer.param_groups:
                group["lr"] = rate
        # the global generator is dropout's, and of modules that are not ours
        _seed_global(derive_seed(self.seed, f"{self._place}/global"), self.device)

    def autocast(self) -> AbstractContextManager[Any]:
        """The phase's precision."""

        dtype = _DTYPES.get(self.state.recipe.precision)
        return torch.autocast(self.device.type, dtype) if dtype else nullcontext()

    def look(self) -> None:
        """Raises `Diverged` if a loss was bad, where that was not looked at at once."""

        if self._suspicion is not None and bool(self._suspicion):
            raise Diverged("the loss is not finite, or has exploded")
        self._suspicion = None

    # --- what a phase calls --------------------------------------------------------------------

    def batch(self) -> Tensor:
        x = self.state.stream.batch(self.state.progress.position)
        self.state.progress.position += 1
        channels_last = self.state.recipe.channels_last and x.ndim == 4
        return x.contiguous(memory_format=torch.channels_last) if channels_last else x

    def labels(self) -> Tensor:
        return self.state.stream.labels()

    def noise(self, n: int | None = None) -> StreamNoise:
        if self._noise is None:
            self._noise = StreamNoise(self.seed, self.state.stream.size, device=self.device, scope=self._place)
        return self._noise if n is None or n == self._noise.n else self._noise.with_n(n)

    def optimizer(self, name: str = "model") -> torch.optim.Optimizer:
        if name not in self.state.optimizers:
            kind = type(self.state.phase).__name__
            raise TrainingError(f"{kind} has no optimiser {name}", did_you_mean(name, self.state.optimizers))
        return self.state.optimizers[name]

    def minimize(self, loss: Tensor, optimizer: str = "model", *, retain_graph: bool = False) -> None:
        chosen, parameters = self.optimizer(optimizer), self._parameters[optimizer]
        several, scaler = len(self.state.optimizers) > 1, self.state.scaler
        self._check_loss(loss, f"loss_{optimizer}" if several else "loss")
        chosen.zero_grad(set_to_none=True)
        mixed = self.state.recipe.precision != "fp32"
        with torch.autocast(self.device.type, enabled=False) if mixed else nullcontext():
            scaled = loss if scaler is None else scaler.scale(loss)
            # with several optimisers, a loss's gradient is for one of them only
            torch.autograd.backward(scaled, retain_graph=retain_graph, inputs=parameters if several else None)
            self.processes.average_gradients(parameters)
            if scaler is not None:
                scaler.unscale_(chosen)
            self.state.phase.adjust_gradients(self, optimizer)
            self._clip(parameters)
            if scaler is None:
                chosen.step()
            else:
                scaler.step(chosen)
                scaler.update()
        # fused optimisers don't count their changes, and layers that keep what they computed go by the count
        torch.autograd.graph.increment_version(parameters)
        if mixed:
            torch.clear_autocast_cache()  # it holds copies of the weights from before the step

    def log(self, **values: Any) -> None:
        for name, value in values.items():
            self.meter.add(name, value)

    def _clip(self, parameters: Sequence[nn.Parameter]) -> None:
        recipe = self.state.recipe
        if recipe.clip_value is not None:
            nn.utils.clip_grad_value_(parameters, recipe.clip_value)
        if recipe.clip_norm is not None:
            self.log(grad_norm=nn.utils.clip_grad_norm_(parameters, recipe.clip_norm))

    def _check_loss(self, loss: Tensor, name: str) -> None:
        if loss.ndim:
            kind = type(self.state.phase).__name__
            raise TrainingError(f"{kind} minimises a loss of shape {tuple(loss.shape)}", "take its mean")
        if self.device.type == "cpu":
            value = self.last[name] = loss.item()
            if not abs(value) < EXPLODED:
                raise Diverged(f"the loss is {value:g}")
            self.meter.add(name, value)
        else:
            self.meter.add(name, loss)
            bad = ~(loss.detach().abs() < EXPLODED)
            self._suspicion = bad if self._suspicion is None else self._suspicion | bad


def _seed_global(seed: int, device: torch.device) -> None:
    """Does what `torch.manual_seed` does, which takes a millisecond where CUDA is not initialised."""

    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


@contextmanager
def explained(state: PhaseState) -> Iterator[None]:
    """Says of failures inside a phase what its recipe has to do with them.

    Raises:
        TrainingError: Where batches are too large for the memory, or too small for batch normalisation.
        Diverged: Where weights were no numbers any more.
    """

    size = state.stream.size
    try:
        yield
    except (DgmError, Diverged):
        raise
    except Exception as e:
        text = str(e)
        if isinstance(e, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in text:
            raise TrainingError(f"batches of {size:,} don't fit into memory", "set a smaller batch_size") from e
        if "more than 1 value per channel" in text:
            raise TrainingError(
                f"batch normalisation has no variance in batches of {size}", "set a larger batch_size"
            ) from e
        if not state.is_finite():
            raise Diverged("a weight is not finite") from e
        raise
