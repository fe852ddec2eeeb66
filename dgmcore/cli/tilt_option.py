"""The options `--tilt CRITIC[:WEIGHT]` and `--given WHAT`: what they mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..plugins.provided import call

if TYPE_CHECKING:
    from ..model import Model

__all__ = ["asked", "critic_and_weight"]


def critic_and_weight(text: str) -> tuple[str, float]:
    """Divides the option's value.

    Example:
        >>> critic_and_weight("energy-fashion:0.5"), critic_and_weight("energy-fashion")
        (('energy-fashion', 0.5), ('energy-fashion', 1.0))
    """
    found = re.fullmatch(r"(?P<name>.+?)(?::(?P<weight>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?))?", text)
    if found is None:
        raise UsageError("--tilt needs the name of a critic", "dgm list --can critic")
    return found["name"], float(found["weight"] or 1.0)


def asked(model: Model, name: str, tilts: Sequence[str], **seen: Sequence[Any] | None) -> Model:
    """Returns the model tilted by critics, and under observations; all but one critic are the work of dgm-given.

    A model that is its own critic is loaded once.

    Arguments:
        model: The model.
        name: What it was loaded by.
        tilts: The values of `--tilt`.
        seen: Those of `--given`, and of the options that go with it: `operator`, `mask`, `sigma`.
    """
    if any(seen.values()) or len(tilts) > 1:
        return call("asked")(model, name, tilts, **seen)
    if not tilts:
        return model
    from ..compose.tilted import tilt
    from ..loading.load import load

    critic, weight = critic_and_weight(tilts[0])
    return tilt(model, model if critic == name else load(critic, device=model.device), weight)
