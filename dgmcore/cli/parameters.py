"""Parameters that need no conversion, converted without pydantic.

typer converts every value with pydantic, whose import takes longer than `dgm list` itself. Text, numbers and plain
paths are converted here instead, to the same values; everything else, and everything that is wrong, is left to typer.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

__all__ = ["lighten"]

_UNTOUCHED = object()


def lighten(command: Any) -> None:
    """Gives the parameters of a command the light conversion, where typer's are as known."""
    params = command.get_params

    def get_params(ctx: Any) -> list[Any]:
        found: list[Any] = params(ctx)
        for param in found:
            if getattr(param, "is_flag", False):
                param.metavar = ""  # typer's help says <bool>, as if a value were wanted
            original = getattr(param, "get_runtime_param", None)
            if original is not None and hasattr(param, "type_descriptor") and not isinstance(original, _Light):
                param.get_runtime_param = _Light(original)
        return found

    command.get_params = get_params


class _Light:
    def __init__(self, original: Any):
        self.original = original

    def __call__(self) -> _Light:
        return self

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        converted = _converted(value, param)
        return self.original().coerce(value, param=param, ctx=ctx) if converted is _UNTOUCHED else converted


def _converted(value: Any, param: Any) -> Any:
    kind, info = param.type_descriptor.annotation, param.type_descriptor.parameter_info
    if value is None:
        return () if param.multiple or param.nargs == -1 else None
    if info.parser is not None:
        return _UNTOUCHED
    if param.multiple or param.nargs == -1:
        return list(value) if kind == list[str] and all(type(v) is str for v in value) else _UNTOUCHED
    if kind is str or kind is bool:
        return value if type(value) is kind else _UNTOUCHED
    if kind is int or kind is float:
        return _number(value, kind, info)
    if kind is Path and not (info.exists or info.writable or info.resolve_path or info.path_type):
        return _path(value, info)
    return _UNTOUCHED


def _number(value: Any, kind: type, info: Any) -> Any:
    if kind is int and type(value) is str and value.isascii() and value.removeprefix("-").isdigit() and len(value) < 19:
        value = int(value)
    if type(value) is not kind:
        return _UNTOUCHED
    inside = (info.min is None or value >= info.min) and (info.max is None or value <= info.max)
    return value if inside else _UNTOUCHED


def _path(value: Any, info: Any) -> Any:
    plain = info.file_okay and info.dir_okay and (not os.path.exists(value) or os.access(value, os.R_OK))
    return Path(value) if plain and isinstance(value, (str, Path)) else _UNTOUCHED
