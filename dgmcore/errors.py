"""Errors that say what happened and what to do about it."""

from __future__ import annotations


class DgmError(Exception):
    """A failure that the user can act on, in two lines: what went wrong, without a full stop; and what to do."""

    exit_code = 1

    def __init__(self, what: str, hint: str = ""):
        super().__init__(what)
        self.what = what
        self.hint = hint or "run the command again with --debug for the traceback"

    def __str__(self) -> str:
        return f"{self.what} ({self.hint})"

    def __reduce__(self) -> tuple[type[DgmError], tuple[str, str]]:
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


class CapabilityError(UsageError, AttributeError):
    """A model is asked for what it can't do, as the `log_prob` of what has no density (exit code 2)."""


class DataError(DgmError):
    """A data set or data file is missing or unusable."""


class NotFiniteError(DgmError):
    """A result has numbers that are not finite, so it is not passed on."""


class TrainingError(DgmError):
    """A training run can't go on."""
