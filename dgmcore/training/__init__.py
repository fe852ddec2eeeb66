"""What authors of training phases program against; the engine that runs phases is the plugin dgm-train."""

from __future__ import annotations

from .phase import Game, Phase, Step, starter

__all__ = ["Game", "Phase", "Step", "starter"]
