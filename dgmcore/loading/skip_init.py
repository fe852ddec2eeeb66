"""Building a model without initialising its weights, as they are read from a file anyway."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import init
from torch.overrides import TorchFunctionMode

#: What costs time or random numbers; constants are kept, as constructors may compute with them.
_DRAWN = {init.uniform_, init.normal_, init.kaiming_uniform_}


class _SkipInit(TorchFunctionMode):
    """A drawing initialiser leaves its tensor as it is. A mode holds for the thread that enters it alone."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        return kwargs["tensor"] if func in _DRAWN else func(*args, **kwargs)


@contextmanager
def skip_init() -> Iterator[None]:
    """In this thread, layers leave their weights undefined, and the global random state comes back unchanged."""
    with torch.random.fork_rng(devices=[]), _SkipInit():
        yield
