"""The device and the processes of a run, through `accelerate`."""

from __future__ import annotations

import os
import platform
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState  # type: ignore[import-untyped]
from accelerate.utils import broadcast, reduce  # type: ignore[import-untyped]
from torch import Tensor, nn

from dgmcore.errors import TrainingError
from dgmcore.sampling.processes import here

from .group import meet

__all__ = ["Processes", "hardware"]

_LAUNCH = "start them with torchrun or accelerate launch, or unset RANK and WORLD_SIZE"


class Processes:
    """This process among those that `accelerate launch` or `torchrun` started; one without them.

    Attributes:
        rank: This process's number.
        world: How many there are.
        device: The device that this process trains on.

    Raises:
        DgmError: If a launcher's settings in the environment are none, or if a process does not come.
    """

    def __init__(self) -> None:
        place = here()
        try:
            # accelerate joins processes on CPUs only if it is told to use them
            self.state = PartialState(cpu=_use_cpu(), **meet(place))
        except ValueError as e:
            raise TrainingError(f"the processes can't join: {' '.join(str(e).split())}", _LAUNCH) from e
        if place.world not in (1, self.state.num_processes):
            said = f"there are {place.world} processes, and accelerate joins {self.state.num_processes}"
            raise TrainingError(f"{said}: is LOCAL_RANK missing?", _LAUNCH)
        self.rank: int = self.state.process_index
        self.world: int = self.state.num_processes
        self.device: torch.device = self.state.device

    @property
    def main(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def barrier(self) -> None:
        """Waits for all processes."""
        if self.world > 1:
            self.state.wait_for_everyone()

    def agree(self, values: Sequence[float]) -> list[float]:
        """Returns the main process's numbers."""

        if self.world == 1:
            return list(values)
        agreed: list[float] = broadcast(torch.tensor(values, dtype=torch.float64, device=self.device)).tolist()
        return agreed

    def check_equal(self, what: str, data: bytes) -> None:
        """Checks that all processes were given the same."""

        mark = [float(zlib.crc32(data))]
        if self.any(self.agree(mark) != mark):
            raise TrainingError(f"the processes were given different {what}", "start all of them with the same command")

    def any(self, flag: bool) -> bool:
        """Whether any process says so."""
        return self.mean(float(flag)) > 0

    def mean(self, value: float) -> float:
        """Returns the mean of a number over the processes."""

        if self.world == 1:
            return value
        return float(reduce(torch.tensor([value], dtype=torch.float64, device=self.device), "mean")[0])

    def start_equal(self, modules: Iterable[nn.Module]) -> None:
        """Gives all processes the main process's parameters and buffers."""

        if self.world == 1:
            return
        with torch.no_grad():
            for module in modules:
                for tensor in module.state_dict().values():
                    tensor.copy_(broadcast(tensor.contiguous()))

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replaces the gradients by their means over the processes, in one message for each dtype.

        A parameter without a gradient here counts as zero if another process has one for it.
        """

        if self.world == 1:
            return
        for dtype in sorted({p.dtype for p in parameters}, key=str):
            some = [p for p in parameters if p.dtype == dtype]
            has = torch.tensor([p.grad is not None for p in some], dtype=dtype, device=some[0].device)
            flat = [(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in some]
            flat = self._mean(torch.cat([has, *flat]))
            used = flat[: len(some)].tolist()
            for p, grad, count in zip(some, flat[len(some) :].split([p.numel() for p in some]), used, strict=True):
                p.grad = grad.view(p.shape).clone(memory_format=torch.preserve_format) if count else None

    def average_buffers(self, module: nn.Module) -> None:
        """Replaces floating-point buffers (running statistics) by their means over the processes."""

        if self.world == 1:
            return
        buffers = [b for b in module.buffers() if b.is_floating_point() and b.numel()]
        for dtype in sorted({b.dtype for b in buffers}, key=str):
            some = [b for b in buffers if b.dtype == dtype]
            flat = self._mean(torch.cat([b.reshape(-1) for b in some]))
            for b, value in zip(some, flat.split([b.numel() for b in some]), strict=True):
                b.copy_(value.view(b.shape))

    def _mean(self, tensor: Tensor) -> Any:
        return reduce(tensor, "mean")


def _use_cpu() -> bool:
    """Whether to train on CPUs: by `accelerate`'s own switch, or because there is nothing else."""

    wanted = os.environ.get("ACCELERATE_USE_CPU", "false").lower() in ("1", "true", "yes", "y", "on")
    return wanted or not torch.accelerator.is_available()


def hardware(device: torch.device) -> str:
    """Returns the name of what a run trained on."""

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = "CPU"
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        name = platform.processor() or platform.machine() or name
    return f"{name}, {torch.get_num_threads()} threads"
