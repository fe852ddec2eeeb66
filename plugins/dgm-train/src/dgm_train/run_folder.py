"""The folder of a run: one process writes there, and only the run that began there goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import msgspec

from dgmcore.errors import TrainingError
from dgmcore.files.atomic import replacing

from .recipe import Recipe

__all__ = ["RunFolder"]

#: Keys of a recipe that can't change when a run goes on.
_FIXED = ("architecture", "config", "parts", "init", "data", "seed")


class RunFolder:
    """The folder `runs/NAME`.

    Attributes:
        path: The folder; it may not exist yet.
        checkpoints: Its folder of checkpoints.
    """

    def __init__(self, path: Path):
        self.path, self.checkpoints = path, path / "checkpoints"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Holds the run's lock, which the system takes back from killed processes.

        Raises:
            TrainingError: If another process holds it.
        """

        self.path.mkdir(parents=True, exist_ok=True)
        try:
            lock = filelock.FileLock(self.path / "lock").acquire(blocking=False)
        except filelock.Timeout:
            raise TrainingError(
                f"another process trains in {self.path}", "wait for it, or give the recipe another name"
            ) from None
        with lock:
            yield

    def keep_recipe(self, recipe: Recipe, data: str) -> None:
        """Keeps the recipe, with all its defaults, and the number and digest of its data beside the run."""

        with replacing(self.path / "recipe.json") as file:
            file.write(msgspec.json.format(msgspec.json.encode(recipe)))
        with replacing(self.path / "data.sha256") as file:
            file.write(data.encode())

    def changed(self, recipe: Recipe, phase: int) -> list[str]:
        """Returns what is not as the run had it so far, such as `phases.0.clip_norm`, up to a phase."""

        before = self._before()
        if before is None:
            return []
        had, has = (dict(_flat(msgspec.to_builtins(r.phases[: phase + 1]), "phases")) for r in (before, recipe))
        return sorted(key for key in had.keys() | has.keys() if had.get(key) != has.get(key))

    def _before(self) -> Recipe | None:
        """Returns the recipe by which the run began or last went on, if it can be read."""
        try:
            return msgspec.json.decode((self.path / "recipe.json").read_bytes(), type=Recipe)
        except (OSError, msgspec.MsgspecError):
            return None

    def check_same(self, recipe: Recipe, data: str) -> None:
        """Checks that a run that goes on has kept what its weights depend on.

        Raises:
            TrainingError: If not; it names the key.
        """

        before = self._before()
        if before is None:
            return  # the checkpoint itself says what does not fit
        now = msgspec.json.decode(msgspec.json.encode(recipe), type=Recipe)  # tuples in it are lists then
        for key in _FIXED:
            if getattr(now, key) != getattr(before, key):
                raise TrainingError(
                    f"the run in {self.path} has another {key} in its recipe",
                    f"change it back, or delete {self.path} to train anew",
                )
        held = self.path / "data.sha256"
        known = held.read_text(errors="replace") if held.is_file() else data
        if known != data and known.partition(" ")[0] == data.partition(" ")[0]:  # of another number the phase says more
            raise TrainingError(
                f"what {recipe.data.dataset} holds has changed since the run in {self.path} began",
                f"put it back, or delete {self.path} to train anew",
            )


def _flat(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yields what plain data hold, each by its path."""
    items = enumerate(value) if isinstance(value, list | tuple) else value.items() if isinstance(value, Mapping) else ()
    for key, inner in items:
        yield from _flat(inner, f"{path}.{key}")
    if not isinstance(value, list | tuple | Mapping):
        yield path, value
