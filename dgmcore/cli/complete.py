"""Shell completion of names, from the index: no plugin and no torch is imported for it."""

from __future__ import annotations

from ..interfaces import CAPABILITIES
from ..plugins import current
from ..plugins.provided import provided

__all__ = ["capabilities", "datasets", "families", "model_names"]


def model_names(incomplete: str) -> list[tuple[str, str]]:
    """Names of models with their summaries."""
    rows = [row for row in current.index().rows if not row.hidden and row.shown_name.startswith(incomplete)]
    return [(row.shown_name, entry.summary or entry.data.dataset) for row in rows for entry in (row.entry(),)]


def families(incomplete: str) -> list[str]:
    """Families of architectures."""
    return _starting({record.family for record in provided().architectures.values()}, incomplete)


def datasets(incomplete: str) -> list[str]:
    """Data sets that plugins provide."""
    return _starting(set(provided().datasets), incomplete)


def capabilities(incomplete: str) -> list[str]:
    """Names of the interfaces of a model."""
    return _starting(set(CAPABILITIES), incomplete)


def _starting(words: set[str], incomplete: str) -> list[str]:
    return sorted(w for w in words if w.startswith(incomplete))
