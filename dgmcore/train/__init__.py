"""Training: recipes, phases and the engine.

The package is callable: `dgmcore.train("recipe.yaml")` is :func:`dgmcore.train.engine.train`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from .phase import Game, Phase, Step

__all__ = ["Game", "Phase", "Step"]


class _Callable(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from .engine import train

        return train(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
