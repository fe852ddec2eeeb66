"""Controls of the page as properties of a JSON Schema, with `slider`: where one goes, and by what steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["choice", "count", "options", "seed", "slider"]

Field = dict[str, Any]


def slider(
    title: str,
    default: float | None,
    low: float,
    high: float,
    *,
    limits: tuple[float, float] | None = None,
    integer: bool = False,
    step: float | None = None,
) -> Field:
    """Returns a number with a slider from `low` to `high`; what is typed may go further, up to `limits`."""

    minimum, maximum = limits or (low, high)
    steps = step or (1 if integer else (high - low) / 100)
    kind = "integer" if integer else "number"
    return {
        "title": title,
        "type": kind,
        "minimum": minimum,
        "maximum": maximum,
        "default": default,
        "slider": [low, high, steps],
    }


def seed() -> Field:
    """Returns a seed: a whole number without a slider."""
    return {"title": "seed", "type": "integer", "minimum": 0, "maximum": 2**53 - 1, "default": 0}


def choice(title: str, names: Mapping[str, str]) -> Field:
    """Returns one of names, which are shown as texts: the first, if nobody chooses."""
    return {"title": title, "enum": list(names), "texts": list(names.values()), "default": next(iter(names), None)}


def count(shape: Sequence[int], kind: str, points: int, most: int) -> Field:
    """Returns how many samples: of the plane so many points, of pictures as many as can be looked at."""

    few = {"point": points, "row": 64, "image": 4 if shape[-1] > 100 else 16}[kind]
    high = most if kind == "point" else 64
    return slider("samples", few, 1, high, limits=(1, 5 * high), integer=True)


def options(schema: Mapping[str, Any]) -> dict[str, Field]:
    """Returns the options of a model, `o.NAME`, for which there can be controls."""

    found = {f"o.{name}": _option(name, option) for name, option in schema.get("properties", {}).items()}
    return {name: field for name, field in found.items() if field is not None}


def _option(name: str, option: Mapping[str, Any]) -> Field | None:
    title, default = name.replace("_", " "), option["default"]
    for kind in option.get("anyOf", [option]):
        if "enum" in kind:
            return choice(title, {one: one for one in kind["enum"]}) | {"default": default}
        if kind.get("type") == "boolean":
            return {"title": title, "type": "boolean", "default": default}
        if kind.get("type") in ("integer", "number"):
            return _number(title, default, kind)
    return None


def _number(title: str, default: float | None, kind: Mapping[str, Any]) -> Field:
    """A slider to the bounds if they are near, else to a few times the default."""

    integer, value = kind["type"] == "integer", default or 1
    low = kind.get("minimum", kind.get("exclusiveMinimum", -1e6) + 1e-6)
    high = kind.get("maximum", 1e6)
    first, last = low, high
    if high - low > 100:
        last = min(high, max(20, 5 * abs(value)) if integer else 2.5 * abs(value))
        first = max(low, -last if value < 0 else 0)
    return slider(title, default, first, last, limits=(low, high), integer=integer)
