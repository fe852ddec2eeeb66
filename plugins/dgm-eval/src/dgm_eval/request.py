"""What `dgm eval` was asked to measure: how it is measured, and the command that measures it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

import msgspec

from dgmcore import console
from dgmcore.cli.set_options import parse_set
from dgmcore.cli.tilt_option import asked
from dgmcore.entry import Metric
from dgmcore.loading.load import load
from dgmcore.sampling.processes import device_here, here

from .evaluate import evaluate

__all__ = ["Request"]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments and options of `dgm eval` that say what is measured."""

    name: str
    metrics: tuple[str, ...] = ()
    n: int | None = None
    against: str | None = None
    features: str | None = None
    ood: str | None = None
    seed: int = 0
    batch_size: int | None = None
    device: str = "cpu"
    tilt: tuple[str, ...] = ()  # items of `--tilt`
    options: tuple[str, ...] = ()  # items of `--set`

    def command(self, name: str) -> str:
        """Returns the command that measures the same again; what changes no value is left out.

        Arguments:
            name: The entry's name, which a path is not called by elsewhere.

        Example:
            >>> Request(name="./runs/toy", metrics=("fid",), n=100, seed=3).command("toy")
            'dgm eval toy --metric fid --n 100 --seed 3'
        """

        return shlex.join(["dgm", "eval", name, *self._words()])

    def _words(self) -> Iterator[str]:
        settings: list[tuple[str, Any]] = [("metric", metric) for metric in self.metrics]
        settings += [("n", self.n), ("against", self.against), ("features", self.features), ("ood", self.ood)]
        settings += [("seed", self.seed or None), *(("tilt", item) for item in self.tilt)]
        settings += [("set", item) for item in self.options]
        for flag, value in settings:
            if value is not None:
                yield from (f"--{flag}", str(value))

    def measure(self, command: str) -> list[Metric]:
        """Measures, and shows how far the work is.

        Arguments:
            command: What goes into the records.
        """

        place = here()
        device = device_here(self.device, place)
        subject: Any = self.name
        if self.tilt:
            subject = asked(load(self.name, device=device), self.name, self.tilt)
        return evaluate(
            subject,
            self.metrics or None,
            self.n,
            against=self.against,
            features=self.features,
            ood=self.ood,
            seed=self.seed,
            batch_size=self.batch_size,
            device=device,
            command=command,
            progress=console.progress if place.is_main else None,
            options=parse_set(self.options),
        )
