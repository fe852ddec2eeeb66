"""The nearest known name: what errors offer where a word is unknown."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["did_you_mean", "nearest"]

LIKE = 0.6  # the least likeness, from 0 to 1: what is farther fetched helps nobody
MAX_WORD = 200


def nearest(word: str, known: Iterable[str], n: int = 3) -> list[str]:
    """Returns up to `n` of the `known` words, the nearest to `word` first; those that it is a part of are near too.

    Example:
        >>> nearest("flow", ["flows", "glow-fashion", "vaeflow-fashion", "ddpm-moons"])
        ['flows', 'vaeflow-fashion']
    """

    from difflib import get_close_matches  # imported on failure only

    if len(word) > MAX_WORD:  # it is no misspelling, and comparing takes its time
        return []
    names = {name.lower(): name for name in sorted(set(known), reverse=True)}
    close = get_close_matches(word.lower(), names, n, LIKE)
    whole = [name for name in names if len(word) > 2 and word.lower() in name and name not in close]
    return [names[name] for name in [*close, *sorted(whole)][:n]]


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """Returns a hint that offers the known words nearest to `word`."""

    known = list(known)
    close = nearest(word, known)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return otherwise or (f"known: {', '.join(sorted(known))}" if known else "none are known")
