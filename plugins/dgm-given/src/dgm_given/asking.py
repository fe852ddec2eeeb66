"""What `--given`, several `--tilt`, and the options that go with them ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dgmcore.cli.tilt_option import critic_and_weight
from dgmcore.errors import UsageError
from dgmcore.loading.load import load
from dgmcore.model import Model

from .model import given as under

__all__ = ["asked"]


def asked(model: Model, name: str, tilts: Sequence[str], given: Sequence[str] | None = None, **how: Any) -> Model:
    """Returns the model under observations and critics; see :func:`dgmcore.cli.tilt_option.asked`."""

    seen = {option: values for option, values in how.items() if values}
    if seen and not given:
        raise UsageError(f"--{next(iter(seen))} says how something was seen, but nothing is given", "add --given")
    pairs = [critic_and_weight(text) for text in tilts]
    critics = [(model if critic == name else load(critic, device=model.device), weight) for critic, weight in pairs]
    return under(model, *(given or ()), tilt=critics, options=seen)
