"""YAML, read safely: bounded in size, depth and number of values, no aliases, no tags, no duplicate keys, one document.

What is read is plain data: mappings with text keys, lists, text, finite numbers, true and false, null.
Scalars follow YAML 1.2: `1e-3` is a number, `no` and `2024-01-01` are text.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from ..errors import RegistryError
from .verify import open_regular

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
MAX_VALUES = 30_000  # keys included; half a second

_RESOLVERS = [  # tag, pattern, first characters (YAML 1.2 core schema, without octal numbers and infinities)
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("int", r"^[-+]?[0-9]+$", "-+0123456789"),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The safe loader (in C where there is one) with YAML 1.2 scalars and strict mappings."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise _problem(f"keys are text, not {key!r}: quote it", key_node)
            if key in mapping:
                raise _problem(f"the key {key} is there twice", key_node)
            mapping[key] = self.construct_object(value_node, deep=True)
        return mapping

    def construct_int(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > 40:
            raise _problem("a number of more than 40 digits", node)
        return int(node.value)

    def construct_float(self, node: yaml.ScalarNode) -> float:
        value = float(node.value)
        if not math.isfinite(value):
            raise _problem(f"a number that is too large: {node.value}", node)
        return value


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
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
    for _class in (_Loader, _Dumper):  # what we would read as a number is quoted
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


def read(source: str | bytes | Path, *, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH) -> Any:
    """Reads one YAML document.

    Arguments:
        source: The text, or a path to it.
        max_bytes: The largest size that is read.
        max_depth: The deepest nesting that is read.

    Raises:
        RegistryError: For a file that can't be read, that is no YAML, or that uses what is not taken, with the line.
    """
    name = str(source) if isinstance(source, Path) else "text"
    try:
        if isinstance(source, Path):
            with open_regular(source) as file:
                source = file.read(max_bytes + 1)
        data = source.encode("utf-8", "surrogatepass") if isinstance(source, str) else source
        if len(data) > max_bytes:
            raise RegistryError(f"{name}: larger than {max_bytes:,} bytes", "keep weights and data out of YAML files")
        text = data.decode("utf-8-sig")
        _check(text, max_depth)
        return yaml.load(text, _Loader)
    except OSError as e:
        raise RegistryError(f"{name}: {e.strerror or e}", "check the path and its permissions") from None
    except UnicodeDecodeError as e:
        raise RegistryError(f"{name}: not UTF-8 at byte {e.start}", "save it as UTF-8 text") from None
    except (yaml.YAMLError, ValueError) as e:
        mark = getattr(e, "problem_mark", None) or getattr(e, "context_mark", None)
        what = getattr(e, "problem", None) or getattr(e, "context", None) or getattr(e, "reason", None)
        where = f"{name}, line {mark.line + 1}" if mark else name
        said = f"{where}: {what or str(e).splitlines()[0]}"
        raise RegistryError(said, "see docs/registry.md for what is read") from None


def dump(data: Any) -> str:
    """Returns plain data as YAML that :func:`read` reads back, keys in their order."""
    style: dict[str, Any] = {"sort_keys": False, "allow_unicode": True, "default_flow_style": False, "width": 110}
    return str(yaml.dump(data, Dumper=_Dumper, **style))


def _check(text: str, max_depth: int) -> None:
    """Walks the parser's events, which takes no recursion, and refuses what is not taken."""
    depth = documents = values = 0
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _problem(f"anchors and aliases ({event.anchor}) are not allowed", event)
        if getattr(event, "tag", None) is not None:
            raise _problem(f"tags are not allowed: {event.tag}", event)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        documents += isinstance(event, yaml.DocumentStartEvent)
        values += isinstance(event, yaml.NodeEvent)
        if depth > max_depth:
            raise _problem(f"nested more than {max_depth} deep", event)
        if documents > 1:
            raise _problem("more than one document", event)
        if values > MAX_VALUES:
            raise _problem(f"more than {MAX_VALUES:,} values", event)


def _problem(what: str, at: yaml.Node | yaml.Event) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(None, None, what, at.start_mark)
