"""The nearest known name: what errors offer where a word is unknown."""

from __future__ import annotations

from collections.abc import Iterable

MAX_WORD = 200  # a longer word is no misspelling, and comparing takes its time
LIKENESS = 0.65  # of difflib's ratio: what is farther fetched helps nobody


def nearest(word: str, known: Iterable[str], n: int = 3) -> list[str]:
    """Returns up to `n` of the `known` words, the nearest to `word` first; those that it is a part of are near too.

    Example:
        >>> nearest("flow", ["flows", "glow-fashion", "vaeflow-fashion", "ddpm-moons"])
        ['flows', 'vaeflow-fashion']
    """
    from difflib import get_close_matches  # imported on failure only

    if len(word) > MAX_WORD:
        return []
    names = {name.lower(): name for name in sorted(set(known), reverse=True)}
    close = get_close_matches(word.lower(), names, n, LIKENESS)
    whole = [name for name in names if len(word) > 2 and word.lower() in name and name not in close]
    return [names[name] for name in [*close, *sorted(whole)][:n]]


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "", *, n: int = 3) -> str:
    """Returns a hint that offers up to `n` of the known words, the nearest to `word` first.

    Arguments:
        word: What was written.
        known: What could have been meant.
        otherwise: The hint where none is near; by default all that are known.
        n: How many are offered at most.
    """
    known = sorted(known)
    close = nearest(word, known, n)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return otherwise or (f"known: {', '.join(known)}" if known else "none are known")
