"""The option `--set key=value`: what it means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import OptionError

__all__ = ["parse_set"]


def parse_set(items: Sequence[str]) -> dict[str, Any]:
    """Returns the nested mapping that `--set key=value` options make; values are YAML.

    Example:
        >>> parse_set(["steps=20", "optimizer.lr=1e-3"])
        {'steps': 20, 'optimizer': {'lr': 0.001}}

    Raises:
        OptionError: If an item is not `key=value`, or two of them contradict each other.
    """
    from ..files import yaml

    result: dict[str, Any] = {}
    for item in items:
        key, equals, text = item.partition("=")
        names = key.split(".")
        if not equals or not all(names):
            raise OptionError(f"--set {item:.80}: expected key=value", "for example --set steps=20")
        try:
            value = yaml.read(text, max_bytes=65_536, max_depth=8)
        except Exception as e:
            raise OptionError(f"--set {item:.80}: {getattr(e, 'what', e)}", "quote the value, or correct it") from None
        place = result
        for i, name in enumerate(names[:-1]):
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                raise OptionError(f"--set {item:.80}: {'.'.join(names[: i + 1])} is a value too", "give one of them")
        if names[-1] in place and (isinstance(place[names[-1]], dict) or isinstance(value, dict)):
            raise OptionError(f"--set {item:.80}: {key} is set twice", "give one of them")
        place[names[-1]] = value
    return result
