"""What an architecture can be told: its config, its phases and their options, in words, for `dgm info ARCHITECTURE`
and `dgm list --architectures`."""

from __future__ import annotations

import inspect
import re
from typing import Any

import msgspec

from dgmcore import console, plugins
from dgmcore.cli.commands.info import text
from dgmcore.config import default_of
from dgmcore.console import said
from dgmcore.plugins.imports import import_string
from dgmcore.training import starter

__all__ = ["describe", "describe_architecture", "list_architectures"]

_FIELD = re.compile(r"\s+(?P<name>\w+):\s(?:.*?\s\s#:? (?P<comment>.*))?")
_ABOVE = re.compile(r"\s+#: (?P<comment>.*)")


def describe(architecture: str) -> dict[str, Any]:
    """Returns everything that may be said of an architecture, as plain data.

    Arguments:
        architecture: A name that a plugin registers.

    Returns:
        `name, family, summary, paper, plugin, package, capabilities, parts`; `config`, `sampling` and `scoring` with
        `{type, default, help}` for each key; `phases`, each with its `summary` and `options`; and `starts`: whether
        it has settings of its own for `dgm train ARCHITECTURE DATA`.

    Raises:
        DgmError: If there is no such architecture, or it can't be imported.
    """

    record, kind = plugins.architectures().get(architecture), plugins.architecture(architecture)
    assert record is not None  # the line before raises for names that nobody has
    settings = starter(kind, (3, 32, 32), 256) or starter(kind, (2,))
    starts = bool(settings) or (len(kind.phases) == 1 and not kind.Parts)
    return {
        "name": architecture,
        "family": record.family,
        "summary": record.summary,
        "paper": record.paper or None,
        "plugin": record.plugin,
        "package": plugins.distribution_of(architecture),
        "capabilities": record.capabilities,
        "parts": {name: list(needs) for name, needs in kind.Parts.items()},
        "starts": starts,
        "config": _fields(kind.Config),
        "phases": {name: _phase(where) for name, where in kind.phases.items()},
        "sampling": _fields(kind.Sampling),
        "scoring": _fields(kind.Scoring),
    }


def describe_architecture(name: str, json: bool) -> None:
    """Prints everything that may be said of an architecture, as JSON if so asked."""

    kind = describe(name)
    if json:
        console.emit_json(kind)
        return
    console.heading(kind["name"], kind["summary"])
    parts = ", ".join(f"{name}: a {' and '.join(needs)}" for name, needs in kind["parts"].items())
    facts = [("family", kind["family"]), ("can", ", ".join(kind["capabilities"])), ("parts", parts)]
    facts += [("package", kind["package"]), ("paper", kind["paper"])]
    console.fields([*facts, ("first model", f"dgm train {kind['name']} DATA" if kind["starts"] else None)])
    sections = [("config", kind["config"])]
    sections += [(f"phase {name}: {phase['summary']}", phase["options"]) for name, phase in kind["phases"].items()]
    sections += [("sampling options (--set)", kind["sampling"]), ("scoring options (--set)", kind["scoring"])]
    for title, keys in (section for section in sections if section[1] or section[0].startswith("phase")):
        console.heading(title)
        console.fields([(key, _key(field)) for key, field in keys.items()])


def _key(field: dict[str, Any]) -> str:
    return f"{text(field['default'])} ({field['type']})" + (f"  {field['help']}" if field["help"] else "")


def list_architectures(pattern: str | None, family: str | None, can: str | None, json: bool) -> None:
    """Prints the architectures that can be trained: the same filters, but for the data set, which they have none of."""

    kinds = plugins.architectures()
    some = [k for name, k in kinds.items() if (pattern or "") in name and family in (None, k.family)]
    some = sorted((k for k in some if can is None or can in k.capabilities), key=lambda k: (k.family, k.name))
    if json:
        console.emit_json(
            [{"name": k.name, "family": k.family, "can": k.capabilities, "about": k.summary} for k in some]
        )
    else:
        rows = [(k.name, k.family, k.summary) for k in some]
        console.table(["architecture", "family", "about"], rows, wrap="about", drop=["family"])


def _phase(where: str) -> dict[str, Any]:
    kind = import_string(where)
    return {"summary": _first_line(kind), "options": _fields(kind.Options)}


def _first_line(kind: type) -> str:
    """The first paragraph of a docstring, its formulas without the marks of LaTeX."""
    text = " ".join(re.split(r"\n\s*\n", inspect.getdoc(kind) or "")[0].split())
    text = re.sub(r":math:`([^`]*)`|`+([^`]*)`+", r"\1\2", text)
    text = re.sub(r"\\[,;!]", "", text.replace(r"\mid", "|").replace(r"\|", "||"))
    return re.sub(r"\\([A-Za-z]+)", r"\1", text)


def _fields(kind: type[msgspec.Struct]) -> dict[str, dict[str, Any]]:
    helps = _comments(kind)
    return {
        field.encode_name: {
            "type": said(field.type),
            "default": msgspec.to_builtins(default_of(field), enc_hook=str),
            "help": helps.get(field.name, ""),
        }
        for field in msgspec.structs.fields(kind)
    }


def _comments(kind: type) -> dict[str, str]:
    """Returns what the source says of the fields of a struct: behind each, or above it after `#:`."""

    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if base.__module__.partition(".")[0] in ("builtins", "msgspec"):
            continue
        try:
            lines = inspect.getsource(base).splitlines()
        except (OSError, TypeError):  # made at run time
            continue
        above: list[str] = []
        for line in lines:
            if match := _ABOVE.fullmatch(line):
                above.append(match["comment"])
                continue
            if (match := _FIELD.match(line)) and (comment := match["comment"] or " ".join(above)):
                found[match["name"]] = comment
            above = []
    return found
