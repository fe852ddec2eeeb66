"""The nearest known name: what errors offer where a word is unknown."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["did_you_mean"]

MAX_WORD = 200  # a longer word is no misspelling, and comparing takes its time
LIKENESS = 0.5  # of difflib's ratio: the least at which a word is offered


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "", *, n: int = 3) -> str:
    """Returns a hint that offers up to `n` of the known words, the nearest to `word` first.

    Arguments:
        word: What was written.
        known: What could have been meant.
        otherwise: The hint where none is near; by default all that are known.
        n: How many are offered at most.
    """

    from difflib import get_close_matches  # imported on failure only

    words = {w.lower(): w for w in sorted(known)}
    close = get_close_matches(word.lower(), words, n, LIKENESS) if len(word) <= MAX_WORD else []
    if close:
        return f"did you mean {' or '.join(words[w] for w in close)}?"
    return otherwise or (f"known: {', '.join(words.values())}" if words else "none are known")
