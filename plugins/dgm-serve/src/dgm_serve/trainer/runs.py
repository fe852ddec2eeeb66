"""The processes that train, one for each page that watches one, and no more than a few."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dgmcore.errors import DgmError, TrainingError
from dgmcore.plugins.isolate import python

from ..work import Busy, check_stop

__all__ = ["Runs"]

MOST = 2  # at once
IDLE = 900.0  # seconds that a paused run is kept


class _Run:
    """A process that trains a slice for each line that it reads, and says a line of JSON after it."""

    def __init__(self, recipe: dict[str, Any], points: Any):
        import numpy as np

        self.folder = Path(tempfile.mkdtemp(prefix="dgm-serve-"))
        np.save(self.folder / "points.npy", np.asarray(points, np.float32))
        recipe = {**recipe, "data": {"dataset": str(self.folder / "points.npy")}}
        command, environment = python("from dgm_serve.trainer.slices import main; main()")
        self.process = subprocess.Popen(
            [*command, str(self.folder)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.lock, self.used = threading.Lock(), time.monotonic()
        self._say(recipe)

    def step(self, steps: int) -> dict[str, Any]:
        """Trains so many steps more; returns what the process says of them."""

        self.used = time.monotonic()
        self._say(steps)
        line = self.process.stdout.readline() if self.process.stdout else ""
        self.used = time.monotonic()
        if not line:
            raise TrainingError("the training process has ended", "start again")
        said: dict[str, Any] = json.loads(line)
        if "error" in said:
            raise TrainingError(said["error"], said["hint"])
        return said

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()  # which closes the pipes
        shutil.rmtree(self.folder, ignore_errors=True)

    def _say(self, what: Any) -> None:
        try:
            assert self.process.stdin is not None
            self.process.stdin.write(json.dumps(what) + "\n")
            self.process.stdin.flush()
        except OSError:
            pass  # it has ended, and reading will tell


class Runs:
    """The runs of one server, by the names that it gives them."""

    def __init__(self) -> None:
        self._runs: dict[str, _Run] = {}
        self._lock = threading.Lock()

    def begin(self, recipe: dict[str, Any], points: Any) -> str:
        """Starts a process for a run, which waits; returns the run's name.

        Raises:
            Busy: If there are too many.
        """

        self.tidy()
        with self._lock:
            idle = [name for name, run in self._runs.items() if not run.lock.locked()]
            for name in idle[: max(0, len(self._runs) - MOST + 1)]:
                self._runs.pop(name).end()
            if len(self._runs) >= MOST:
                raise Busy(f"{MOST} models are being trained already", "pause one of them")
            name = secrets.token_hex(8)
            self._runs[name] = _Run(recipe, points)
            return name

    def slices(self, name: str, steps: int, most: int) -> Iterator[dict[str, Any]]:
        """Trains slice after slice, and yields what is to be said of each, until it is stopped.

        Raises:
            DgmError: If there is no such run, or it fails.
        """

        run = self._runs.get(name)
        if run is None:
            raise DgmError("there is no such run any more", "start again")
        if not run.lock.acquire(timeout=60):
            raise Busy("this run is being watched elsewhere", "pause it there")
        try:
            while True:
                check_stop()
                said = run.step(steps)
                yield said
                if said["step"] >= most:
                    return
        except TrainingError:
            self._forget(name)
            raise
        finally:
            run.lock.release()

    def tidy(self) -> None:
        """Ends runs that have been paused for long."""

        oldest = time.monotonic() - IDLE
        for name in [n for n, run in list(self._runs.items()) if run.used < oldest and not run.lock.locked()]:
            self._forget(name)

    def close(self) -> None:
        """Ends all runs."""

        for name in list(self._runs):
            self._forget(name)

    def _forget(self, name: str) -> None:
        with self._lock:
            run = self._runs.pop(name, None)
        if run is not None:
            run.end()
