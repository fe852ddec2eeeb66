"""The log of a run: JSON lines, and TensorBoard where it is installed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from dgmcore.files.atomic import replacing

__all__ = ["Log", "Meter"]


class Meter:
    """Means of scalars since they were last read. Tensors on a GPU are not waited for until then."""

    def __init__(self) -> None:
        self._sums: dict[str, list[Any]] = {}

    def add(self, name: str, value: Tensor | float) -> None:
        """Takes in a number."""

        if isinstance(value, Tensor):
            value = value.detach()
            value = value.item() if value.device.type == "cpu" else value.double()
        sums = self._sums.setdefault(name, [0.0, 0])
        sums[0] = sums[0] + value
        sums[1] += 1

    def read(self) -> dict[str, float]:
        """Returns the means, and forgets them."""

        means = {name: float(total) / count for name, (total, count) in self._sums.items()}
        self._sums = {}
        return means


class Log:
    """The log of a run.

    Arguments:
        folder: The run's folder: `log.jsonl` and `tensorboard/` are inside.
        resume_at: The phase and the step from which the run goes on: later lines are of steps that are lost. None
            for a run that starts.
    """

    def __init__(self, folder: Path, resume_at: tuple[int, int] | None = None):
        self.path = folder / "log.jsonl"
        self.folder = folder
        if resume_at is not None and self.path.exists():
            self._forget(resume_at)
        self._file = open(self.path, "w" if resume_at is None else "a", encoding="utf-8")  # noqa: SIM115
        self._board: Any = None

    def _forget(self, at: tuple[int, int]) -> None:
        kept = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue  # the line that was being written when the run was killed
            if (record["part"], record["step"]) <= at:
                kept.append(line + "\n")
        with replacing(self.path) as file:
            file.write("".join(kept).encode())

    def write(self, part: int, phase: str, step: int, seconds: float, values: dict[str, float]) -> None:
        """Writes one record: phase number `part` and its name, steps done, seconds used, and means."""

        record = {"part": part, "phase": phase, "step": step, "seconds": round(seconds, 3)}
        record |= {k: v if math.isfinite(v) else None for k, v in values.items()}
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        board = self._tensorboard()
        if board:
            for name, value in values.items():
                board.add_scalar(f"{phase}/{name}", value, step)

    def picture(self, phase: str, step: int, path: Path) -> None:
        """Shows a picture of samples in TensorBoard."""

        board = self._tensorboard()
        if board:
            with Image.open(path) as image:
                board.add_image(f"{phase}/samples", np.asarray(image.convert("RGB")), step, dataformats="HWC")

    def _tensorboard(self) -> Any:
        if self._board is None:
            try:
                from torch.utils.tensorboard import SummaryWriter

                self._board = SummaryWriter(str(self.folder / "tensorboard"))
            except ImportError:
                self._board = False
        return self._board

    def close(self) -> None:
        """Closes the files."""

        self._file.close()
        if self._board:
            self._board.close()
