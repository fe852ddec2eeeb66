"""The nearest known name: what errors offer where a word is unknown."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["did_you_mean", "nearest"]


MAX_WORD = 200


def nearest(word: str, known: Iterable[str], n: int = 3) -> list[str]:
    """Returns up to `n` of the `known` words, the nearest to `word` first."""

    from difflib import SequenceMatcher  # imported on failure only

    if len(word) > MAX_WORD:  # it is no misspelling, and comparing takes its time
        return []

    def likeness(other: str) -> float:
        return SequenceMatcher(None, word.lower(), other.lower()).ratio()

    ranked = sorted(set(known), key=lambda w: (-likeness(w), w))
    return [w for w in ranked if likeness(w) > 0.4][:n]


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """Returns a hint that offers the known words nearest to `word`."""

    known = list(known)
    close = nearest(word, known)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return otherwise or (f"known: {', '.join(sorted(known))}" if known else "none are known")
