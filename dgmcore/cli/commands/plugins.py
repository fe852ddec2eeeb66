"""`dgm plugins`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from ... import console as output
from ...calls.by_plugins import lacking
from ...errors import UsageError
from ...files.atomic import replacing
from ...files.folders import user_plugins
from ...files.verify import sha256_of
from ...plugins import current, imports
from ...plugins.provided import call
from ...plugins.records import KINDS, NOT_NAMED, PluginRecord
from ...suggestions import did_you_mean
from ..complete import untrusted


def command(
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    requirements: Annotated[
        bool, typer.Option("--requirements", help="Print what to install to have the same plugins elsewhere.")
    ] = False,
    tracebacks: Annotated[bool, typer.Option("--tracebacks", help="Show where errors were raised.")] = False,
    trusted: Annotated[
        str | None,
        typer.Option(
            "--trust",
            metavar="NAME",
            help="Let a file of the plugin folder run as it is now.",
            autocompletion=untrusted,
        ),
    ] = None,
) -> None:
    """List the plugins, and what is wrong with them."""
    if trusted is not None:
        output.say(f"trusted as it is now: {trust(trusted)}")
        current.rebuild()
    if requirements:
        for line in call("requirements")():
            print(line)
    elif json:
        output.emit_json(records())
    else:
        _print(tracebacks)


def trust(name: str) -> Path:
    """Records that a file of the plugin folder, named with or without `.py`, may run as it is now; returns its path.

    Raises:
        UsageError: If there is no such file.
    """
    folder, file_name = user_plugins(), f"{name.removesuffix('.py')}.py"
    known = os.listdir(folder) if folder.is_dir() else []
    if file_name not in known:
        raise UsageError(f"there is no file {file_name} in {folder}", did_you_mean(file_name, known, "put it there"))
    trusted = {**imports.trusted(), file_name: sha256_of(folder / file_name)}
    with replacing(imports.trust_record()) as file:
        file.write(msgspec.json.encode(trusted))
    return folder / file_name


def _print(tracebacks: bool) -> None:
    found = records()
    styles = {"ok": None, "broken": "red", "incompatible": "red", "blocked": "dim"}
    output.table(
        ["plugin", "status", "from", "version", "provides"],
        [(p["name"], p["status"], _origin(p), p["version"], _provides(p)) for p in found],
        wrap="provides",
        drop=["version", "from"],
        styles=[styles[p["status"]] for p in found],
    )
    for shown, plugin in zip(found, current.index().plugins, strict=True):
        if plugin.status == "blocked" and plugin.problems[0].what == NOT_NAMED:
            continue
        for error in plugin.errors:
            print(f"\n{plugin.name}: {output.printable(error.what, 2000)}\n  {output.printable(error.hint, 2000)}")
            if tracebacks and error.traceback:
                print(output.printable(error.traceback.rstrip()))
        for bad in shown["invalid_entries"]:
            print(f"\n{plugin.name}: {output.printable(bad['what'], 2000)}\n  {output.printable(bad['hint'], 2000)}")
    for package, what in lacking().items():
        print(output.printable(f"\n{package} is not installed: it brings {', '.join(what)}\n  pip install {package}"))


def records() -> list[dict[str, Any]]:
    """Returns a record of each plugin: what `dgm plugins --json` prints."""
    index = current.index()
    return [
        {
            "name": p.name,
            "status": p.status,
            "kind": p.source.kind,
            "distribution": p.source.distribution,
            "version": p.source.version,
            "module": p.source.value,
            "location": p.source.location,
            "errors": [{"what": e.what, "hint": e.hint} for e in p.errors],
            **{kind: _own(p, kind) for kind in KINDS},
            "registries": p.provides.registries,
            "entries": [row.name for row in index.rows if row.origin == p.name],
            "invalid_entries": [
                {"path": bad.path, "what": bad.what, "hint": bad.hint} for bad in index.invalid if bad.origin == p.name
            ],
        }
        for p in index.plugins
    ]


def _own(plugin: PluginRecord, kind: str) -> list[str]:
    """Returns the names of a kind that are this plugin's, rather than another's that claimed them first."""
    known = getattr(current.index().provided, kind)
    return sorted(n for n in getattr(plugin.provides, kind) if n in known and known[n].plugin == plugin.name)


def _origin(plugin: dict[str, Any]) -> str:
    if plugin["kind"] == "file":
        return str(plugin["location"]).replace("\\", "/").rpartition("/")[2]
    return str(plugin["distribution"])


def _provides(plugin: dict[str, Any]) -> str:
    plural = {"datasets": "data sets"}
    singular = {"datasets": "data set", "entries": "entry", "features": "features"}
    return ", ".join(
        f"{n} {plural.get(kind, kind) if n > 1 else singular.get(kind, kind.removesuffix('s'))}"
        for kind in (*KINDS, "entries")
        if (n := len(plugin[kind]))
    )
