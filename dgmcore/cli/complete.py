"""Shell completion of names, from the index: no plugin and no torch is imported for it."""

from __future__ import annotations

__all__ = ["capabilities", "datasets", "families", "model_names"]


def model_names(incomplete: str) -> list[tuple[str, str]]:
    """Names of models with their summaries."""
    from ..plugins.index import current

    rows = [(r["full_name"] if r["ambiguous"] else r["name"], r) for r in current().rows if not r["hidden"]]
    return [(name, row["summary"] or row["dataset"]) for name, row in rows if name.startswith(incomplete)]


def families(incomplete: str) -> list[str]:
    """Families of architectures."""
    from ..plugins.provided import architectures

    return _starting({record["family"] for record in architectures().values()}, incomplete)


def datasets(incomplete: str) -> list[str]:
    """Data sets that plugins provide."""
    from ..plugins.provided import datasets

    return _starting(set(datasets()), incomplete)


def capabilities(incomplete: str) -> list[str]:
    """Names of the interfaces of a model."""
    from ..interfaces import CAPABILITIES

    return _starting(set(CAPABILITIES), incomplete)


def _starting(words: set[str], incomplete: str) -> list[str]:
    return sorted(w for w in words if w.startswith(incomplete))
