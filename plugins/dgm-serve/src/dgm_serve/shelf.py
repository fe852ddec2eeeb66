"""The models that are loaded: each once, used by one thread at a time, dropped when unused."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from .limits import Limits
from .work import check_stop

if TYPE_CHECKING:
    from dgmcore.model import Model

__all__ = ["Shelf"]


class _Place:
    """A model's place, which is there before the model is."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.model: Model | None = None
        self.used = time.monotonic()


class Shelf:
    """Loaded models by name, the least recently used first to go."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self._places: OrderedDict[str, _Place] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def taken(self, *names: str) -> Iterator[list[Model]]:
        """Yields the models of these names, which no other thread uses meanwhile.

        Raises:
            DgmError: If one can't be loaded.
            Stopped: If nobody waits for it any more.
        """

        places = {name: self._place(name) for name in sorted(set(names))}  # one order: no two threads wait in a circle
        with ExitStack() as stack:
            for name, place in places.items():
                while not place.lock.acquire(timeout=0.05):
                    check_stop()
                stack.callback(place.lock.release)
                if place.model is None:
                    place.model = _load(name)
                place.used = time.monotonic()
            yield [model for name in names if (model := places[name].model) is not None]

    def names(self) -> list[str]:
        """The names of the loaded models, the one that was used last at the end."""

        with self._lock:
            return [name for name, place in self._places.items() if place.model is not None]

    def tidy(self) -> None:
        """Drops models that nobody has used for a while."""

        oldest = time.monotonic() - self.limits.idle
        with self._lock:
            for name in [n for n, p in self._places.items() if p.used < oldest and not p.lock.locked()]:
                del self._places[name]

    def _place(self, name: str) -> _Place:
        with self._lock:
            place = self._places.setdefault(name, _Place())
            self._places.move_to_end(name)
            free = [n for n, p in self._places.items() if n != name and not p.lock.locked()]
            for other in free[: max(0, len(self._places) - self.limits.models)]:
                del self._places[other]
            return place


def _load(name: str) -> Model:
    from dgmcore import load

    model = load(name).requires_grad_(False)  # gradients are those of inputs
    for module in model.modules():
        module.register_forward_pre_hook(check_stop)
    return model
