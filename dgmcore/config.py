"""Typed, strict configurations.

Configs of models, options of samplers and phases, registry entries and recipes are all
:class:`Config` structs: an unknown key, a missing key and a wrong type are errors that
name the place and the nearest known key.
"""

from __future__ import annotations

import math
import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar, dataclass_transform

import msgspec

from .errors import DgmError, RegistryError
from .suggestions import did_you_mean

__all__ = [
    "Config",
    "Count",
    "Depth",
    "Fraction",
    "NonNegative",
    "Options",
    "Positive",
    "Real",
    "Shape",
    "Size",
    "Whole",
    "Widths",
    "parse",
    "said",
    "to_dict",
]


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(msgspec.field,))
class Config(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Base of typed configurations: immutable, keyword-only, unknown keys refused.

    Example:
        >>> class MLP(Config):
        ...     hidden: tuple[int, ...] = (128, 128)
        >>> parse(MLP, {"hidden": [64]})
        MLP(hidden=(64,))
    """


class Options(Config):
    """Base of a model's options of sampling and scoring.

    Another name than :class:`Config`, because in the body of a model that nests its own `Config` that name is hidden.
    """


#: Bounded numbers, for fields of configs and options: out of bounds, or not finite, is an error that names the field.
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]  # of steps, of samples
Whole = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Depth = Annotated[int, msgspec.Meta(ge=1, le=1_024)]  # a number of layers
Size = Annotated[int, msgspec.Meta(ge=1, le=65_536)]  # a width, a number of channels, the side of an image
Shape = Annotated[tuple[Size, ...], msgspec.Meta(min_length=1, max_length=8)]
Widths = Annotated[tuple[Size, ...], msgspec.Meta(max_length=1_024)]
Real = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]
Positive = Annotated[float, msgspec.Meta(gt=0.0, le=1e6)]
NonNegative = Annotated[float, msgspec.Meta(ge=0.0, le=1e6)]
Fraction = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]

C = TypeVar("C", bound=Config)

_UNKNOWN = re.compile(r"Object contains unknown field `(?P<key>[^`]*)`")
_PATH = re.compile(r" - at `\$?\.?(?P<path>[^`]*)`")


def parse(
    kind: type[C],
    data: Mapping[str, Any] | C,
    *,
    source: str = "config",
    prefix: str = "",
    error: type[DgmError] = RegistryError,
) -> C:
    """Converts plain data to the struct `kind`, strictly.

    Arguments:
        kind: The struct to build.
        data: Plain data (mappings, lists, scalars), or a `kind`, which is returned as it is.
        source: Where the data come from (a file, an option), for the error.
        prefix: The key path of `data` inside `source`, for the error.
        error: The error to raise.

    Raises:
        error: With the source, the key path, what was expected and the nearest key.
    """

    if isinstance(data, kind):
        return data
    try:
        result = msgspec.convert(data, kind, strict=True)
    except UnicodeEncodeError:  # half a surrogate pair in a text
        raise error(f"{source}: {prefix or 'a value'} is no text", f"correct {prefix or 'it'} in {source}") from None
    except msgspec.ValidationError as e:
        message = str(e)
        found = _PATH.search(message)
        path = ".".join(p for p in (prefix, found["path"] if found else "") if p)
        unknown = _UNKNOWN.search(message)
        if unknown:
            known = _fields_at(kind, found["path"] if found else "")
            key = unknown["key"]
            what = f"{source}: unknown key {'.'.join(p for p in (path, key) if p)}"
            raise error(what, did_you_mean(key, known)) from None
        message = _PATH.sub("", message)
        what = f"{source}: {path or 'top level'}: {message[:1].lower()}{message[1:]}"
        choices = _choices_at(kind, found["path"]) if found and message.startswith("Invalid enum") else []
        hint = f"choose one of {', '.join(choices)}" if choices else f"correct {path or 'it'} in {source}"
        raise error(what, hint) from None
    odd = next(_not_finite(data, prefix), None)
    if odd is not None:
        raise error(f"{source}: {odd}: expected a finite number", f"correct {odd} in {source}")
    return result


def _not_finite(data: Any, path: str) -> Iterator[str]:
    """Yields the key paths of what is inf or NaN in plain data."""

    if isinstance(data, Mapping):
        for key, value in data.items():
            yield from _not_finite(value, f"{path}.{key}" if path else str(key))
    elif isinstance(data, list | tuple):
        for i, value in enumerate(data):
            yield from _not_finite(value, f"{path}[{i}]")
    elif isinstance(data, float) and not math.isfinite(data):
        yield path


def to_dict(config: Config) -> dict[str, Any]:
    """Returns plain data (all fields, defaults included) that :func:`parse` accepts."""

    plain: dict[str, Any] = msgspec.to_builtins(config)
    return plain


def said(kind: Any) -> str:
    """Returns the type of a field as people say it.

    Example:
        >>> said(Positive), said(Count | None), said(tuple[Size, ...]), said(typing.Literal["a", "b"])
        ('number > 0', 'whole number >= 1, or none', 'list: whole number >= 1', 'a or b')
    """

    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return said(args[0]) + _bounds(args[1])
    if origin in (typing.Union, types.UnionType):
        some = [said(a) for a in args if a is not type(None)]
        return ", or ".join([*some, "none"] if type(None) in args else some)
    if origin is typing.Literal:
        return " or ".join(map(str, args))
    if origin in (tuple, list):
        return f"list: {said(args[0])}"
    plain = {int: "whole number", float: "number", bool: "true or false", str: "text", Any: "anything"}
    return plain.get(kind, getattr(getattr(kind, "__struct_config__", None), "tag", None) or "keys and values")


def _bounds(meta: msgspec.Meta) -> str:
    """The bounds of a number that are bounds in earnest: the largest that is taken at all is none."""

    if meta.ge is not None and meta.le is not None and abs(meta.le) < 65_536 and abs(meta.ge) < 1e6:
        return f" from {meta.ge:g} to {meta.le:g}"
    ends = ((">=", meta.ge, -1e6), (">", meta.gt, -1e6), ("<=", meta.le, 65_536), ("<", meta.lt, 65_536))
    return "".join(f" {sign} {end:g}" for sign, end, far in ends if end is not None and abs(end) < abs(far))


def _type_at(kind: Any, path: str) -> Any:
    """Returns the type at a dotted `path` inside `kind`."""

    for part in re.findall(r"[A-Za-z_]\w*|\[[^\]]*\]", path):
        kind = _member(kind, part)
    return kind


def _choices_at(kind: Any, path: str) -> list[str]:
    """Returns the values of the `Literal` at a dotted `path` inside `kind`."""

    literals = [t for t in _alternatives(_type_at(kind, path)) if typing.get_origin(t) is typing.Literal]
    return [str(value) for literal in literals for value in typing.get_args(literal)]


def _fields_at(kind: Any, path: str) -> list[str]:
    """Returns the field names of the struct at a dotted `path` inside `kind`."""

    for option in _alternatives(_type_at(kind, path)):
        if isinstance(option, type) and issubclass(option, msgspec.Struct):
            return list(option.__struct_encode_fields__)
    return []


def _alternatives(kind: Any) -> tuple[Any, ...]:
    """Returns the members of a union, or the type alone."""

    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return typing.get_args(kind)
    return (kind,)


def _member(kind: Any, part: str) -> Any:

    for option in _alternatives(kind):
        if part.startswith("["):
            args = typing.get_args(option)
            if args:
                return args[-1] if args[-1] is not Ellipsis else args[0]
        elif isinstance(option, type) and issubclass(option, msgspec.Struct):
            hints = typing.get_type_hints(option)
            names = dict(zip(option.__struct_encode_fields__, option.__struct_fields__, strict=True))
            if part in names:
                return hints[names[part]]
    return None
