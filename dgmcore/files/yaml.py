"""YAML, read safely: bounded in size, depth and number of values, no aliases, no tags, no duplicate keys, one document.

What is read is plain data: mappings with text keys, lists, text, finite numbers, true and false, null.
Scalars follow YAML 1.2: `1e-3` is a number, `no` and `2024-01-01` are text.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import yaml

from ..errors import DgmError, RegistryError

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_VALUES", "dump", "read", "scalar"]

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
MAX_VALUES = 30_000  # keys included; half a second

_RESOLVERS = [  # tag, pattern, first characters (YAML 1.2 core schema, without octal numbers and infinities)
    ("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), "tTfF"),
    ("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$"),
        "-+.0123456789",
    ),
]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The safe loader (in C where there is one) with YAML 1.2 scalars and strict mappings."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.MarkedYAMLError(None, None, f"keys are text, not {key!r}: quote it", key_node.start_mark)
            if key in mapping:
                raise yaml.MarkedYAMLError(None, None, f"the key {key} is there twice", key_node.start_mark)
            mapping[key] = self.construct_object(value_node, deep=True)
        return mapping

    def construct_int(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > 40:
            raise yaml.MarkedYAMLError(None, None, "a number of more than 40 digits", node.start_mark)
        return int(node.value)

    def construct_float(self, node: yaml.ScalarNode) -> float:
        value = float(node.value)
        if not math.isfinite(value):
            raise yaml.MarkedYAMLError(None, None, f"a number that is too large: {node.value}", node.start_mark)
        return value


class _Dumper(yaml.SafeDumper):
    """Blocks of mappings, lists of scalars in one line."""

    yaml_implicit_resolvers = {k: list(v) for k, v in yaml.SafeDumper.yaml_implicit_resolvers.items()}

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_list(self, data: Any) -> yaml.Node:
        flat = all(not isinstance(v, (list, tuple, dict)) for v in data)
        return self.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=flat)


_Loader.add_constructor("tag:yaml.org,2002:map", lambda loader, node: loader.construct_mapping(node, deep=True))
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_float)
_Dumper.add_representer(list, _Dumper.represent_list)
_Dumper.add_representer(tuple, _Dumper.represent_list)
for _tag, _pattern, _first in _RESOLVERS:
    _Loader.add_implicit_resolver(_tag, _pattern, list(_first))
    _Dumper.add_implicit_resolver(_tag, _pattern, list(_first))  # what we would read as a number is quoted


def read(
    source: str | bytes | Path,
    *,
    max_bytes: int = MAX_BYTES,
    max_depth: int = MAX_DEPTH,
    name: str | None = None,
    error: type[DgmError] = RegistryError,
) -> Any:
    """Reads one YAML document.

    Arguments:
        source: The text, or a path to it.
        max_bytes: The largest size that is read.
        max_depth: The deepest nesting that is read.
        name: What to call the source in an error; the path, or `text`.
        error: The error to raise.

    Raises:
        error: For a file that can't be read, that is no YAML, or that uses what is not taken, with the line.
    """

    if isinstance(source, Path):
        name = name or str(source)
        try:
            if source.exists() and not source.is_file():  # a pipe would keep us waiting
                raise error(f"{name}: is not a file", "name a YAML file")
            with source.open("rb") as file:
                data = file.read(max_bytes + 1)
        except OSError as e:
            raise error(f"{name}: {e.strerror or e}", "check the path and its permissions") from None
    else:
        name = name or "text"
        data = source if isinstance(source, bytes) else source.encode("utf-8", "surrogatepass")
    if len(data) > max_bytes:
        raise error(f"{name}: larger than {max_bytes:,} bytes", "keep weights and data out of YAML files")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise error(f"{name}: not UTF-8 at byte {e.start}", "save it as UTF-8 text") from None
    try:
        _check(text, max_depth)
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        where = f", line {mark.line + 1}" if mark else ""
        raise error(f"{name}{where}: {e.problem or e.context}", "see docs/registry.md for what is read") from None
    except (yaml.YAMLError, ValueError) as e:
        what = getattr(e, "reason", None) or str(e).splitlines()[0]
        raise error(f"{name}: {what}", "see docs/registry.md for what is read") from None


def scalar(text: str) -> Any:
    """Returns the value of a short YAML text, such as that of `--set key=value`."""

    return read(text, max_bytes=65_536, max_depth=8)


def dump(data: Any) -> str:
    """Returns plain data as YAML that :func:`read` reads back, keys in their order."""

    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110, default_flow_style=False)


def _check(text: str, max_depth: int) -> None:
    """Walks the parser's events, which takes no recursion, and refuses what is not taken."""

    depth = documents = values = 0
    for event in yaml.parse(text, _Loader):
        problem = None
        if isinstance(event, yaml.AliasEvent):
            problem = f"aliases (*{event.anchor}) are not allowed"
        elif getattr(event, "anchor", None) is not None:
            problem = f"anchors (&{event.anchor}) are not allowed"
        elif getattr(event, "tag", None) is not None:
            problem = f"tags are not allowed: {event.tag}"
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            depth += 1
            if depth > max_depth:
                problem = f"nested more than {max_depth} deep"
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            depth -= 1
        elif isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                problem = "more than one document"
        if isinstance(event, yaml.NodeEvent):
            values += 1
            if values > MAX_VALUES:
                problem = f"more than {MAX_VALUES:,} values"
        if problem:
            raise yaml.MarkedYAMLError(None, None, problem, event.start_mark)
