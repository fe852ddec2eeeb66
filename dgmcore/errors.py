"""Errors that say what happened and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "DataError",
    "DgmError",
    "OptionError",
    "PluginError",
    "RegistryError",
    "TrainingError",
    "UsageError",
    "WeightsError",
    "did_you_mean",
    "nearest",
]


MAX_WORD = 200


class DgmError(Exception):
    """A failure that the user can act on; the command line prints it in two lines.

    Arguments:
        what: What went wrong, one line, without a full stop.
        hint: What to do about it, one line.
    """

    exit_code = 1

    def __init__(self, what: str, hint: str = ""):
        super().__init__(what)
        self.what = what
        self.hint = hint or "run the command again with --debug for the traceback"

    def __str__(self) -> str:
        return f"{self.what} ({self.hint})"

    def __reduce__(self):
        return type(self), (self.what, self.hint)


class UsageError(DgmError):
    """The command was called wrongly (exit code 2)."""

    exit_code = 2


class OptionError(UsageError):
    """An option (``--set``) is unknown or of the wrong type (exit code 2)."""


class RegistryError(DgmError):
    """An entry is invalid, unknown or ambiguous."""


class WeightsError(DgmError):
    """Weights are missing, damaged, or do not fit the model."""


class PluginError(DgmError):
    """A plugin is broken, incompatible, blocked, or asks for what is taken."""


class DataError(DgmError):
    """A data set or data file is missing or unusable."""


class TrainingError(DgmError):
    """A training run can't go on."""


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
