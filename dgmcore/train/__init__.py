"""Training: recipes, phases and the engine."""

from .phase import Phase, Step

__all__ = ["Phase", "Step"]
