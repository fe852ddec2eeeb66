"""Typed, strict configurations.

Configs of models, options of samplers and phases, registry entries and recipes are all
:class:`Config` structs: an unknown key, a missing key and a wrong type are errors that
name the place and the nearest known key.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar, dataclass_transform

import msgspec

from .errors import DgmError, RegistryError
from .suggestions import did_you_mean, words_at


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
    """Base of a model's options: another name than :class:`Config`, which in a model's body means its own."""


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

_NO_TEXT = re.compile("[\ud800-\udfff]")
_PATH = re.compile(r" - at `\$?\.?(?P<path>[^`]*)`")


def parse(
    kind: type[C],
    data: Mapping[str, Any] | C,
    *,
    source: str = "config",
    error: type[DgmError] = RegistryError,
) -> C:
    """Converts plain data to the struct `kind`, strictly.

    Arguments:
        data: Plain data (mappings, lists, scalars), or a `kind`, which is returned as it is.
        source: Where the data come from (a file, an option), for the error.

    Raises:
        error: With the source, the key path, what was expected and the nearest key.
    """
    if isinstance(data, kind):
        return data
    try:
        result = msgspec.convert(data, kind, strict=True)
    except UnicodeEncodeError:  # a key, or what has a pattern; others are found below
        raise error(f"{source}: a value is no text", f"correct it in {source}") from None
    except msgspec.ValidationError as e:
        path = found["path"] if (found := _PATH.search(str(e))) else ""
        message, words = _PATH.sub("", str(e)), words_at(msgspec.inspect.type_info(kind), path)
        if message.startswith("Object contains unknown field"):
            key = message.split("`")[1]
            raise error(f"{source}: unknown key {path and f'{path}.'}{key}", did_you_mean(key, words)) from None
        what = f"{source}: {path or 'top level'}: {message[:1].lower()}{message[1:]}"
        choices = words if message.startswith("Invalid enum") else []
        hint = f"choose one of {', '.join(choices)}" if choices else f"correct {path or 'it'} in {source}"
        if re.match("Expected `(int|float)", message) and message.endswith("got `str`"):  # nan, or 1O for 10
            hint += ": give a finite number"
        raise error(what, hint) from None
    for odd, wanted in _unwritable(data, ""):
        raise error(f"{source}: {odd}: expected {wanted}", f"correct {odd} in {source}")
    return result


def _unwritable(data: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yields the key paths of what no file of ours can hold in plain data, and what belongs there."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield from _unwritable(value, f"{path}.{key}" if path else str(key))
    elif isinstance(data, list | tuple):
        for i, value in enumerate(data):
            yield from _unwritable(value, f"{path}[{i}]")
    elif isinstance(data, float) and not math.isfinite(data):
        yield path, "a finite number"
    elif isinstance(data, str) and _NO_TEXT.search(data):  # bytes of a path that are no UTF-8
        yield path, "text in UTF-8 (rename the file, if it is one)"


def default_of(field: msgspec.structs.FieldInfo) -> Any:
    """Returns the default of a field of a struct; None where it has none."""
    made = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    return None if made is msgspec.NODEFAULT else made


def to_dict(config: Config) -> dict[str, Any]:
    """Returns plain data (all fields, defaults included) that :func:`parse` accepts."""
    return dict(msgspec.to_builtins(config))
