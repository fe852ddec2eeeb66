"""`dgm plugins`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ... import console as output

KINDS = ("architectures", "datasets", "metrics", "features", "converters", "commands")


def command(
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    requirements: Annotated[
        bool, typer.Option("--requirements", help="Print what to install to have the same plugins elsewhere.")
    ] = False,
    tracebacks: Annotated[bool, typer.Option("--tracebacks", help="Show where errors were raised.")] = False,
) -> None:
    """List the plugins, and what is wrong with them."""

    from ...plugins.index import current

    if requirements:
        for line in _requirements():
            print(line)
        return
    found = records()
    if json:
        output.emit_json(found)
        return
    rows = [(p["name"], p["status"], _origin(p), p["version"], _provides(p)) for p in found]
    styles = {"ok": None, "broken": "red", "incompatible": "red", "blocked": "dim"}
    output.table(
        ["plugin", "status", "from", "version", "provides"],
        rows,
        wrap="provides",
        styles=[styles[p["status"]] for p in found],
    )
    for plugin, record in zip(found, current().plugins, strict=True):
        if plugin["status"] != "blocked":
            for error in [*record["errors"], *plugin["invalid_entries"]]:
                print(f"\n{plugin['name']}: {error['what']}\n  {error['hint']}")
                if tracebacks and error.get("traceback"):
                    print(error["traceback"].rstrip())


def records() -> list[dict[str, Any]]:
    """Returns a record of each plugin: what `dgm plugins --json` prints."""

    from ...plugins.index import current

    index = current()
    return [
        {
            "name": p["name"],
            "status": p["status"],
            "kind": p["kind"],
            "distribution": p["distribution"],
            "version": p["version"],
            "module": p["value"],
            "location": p["location"],
            "errors": [{"what": e["what"], "hint": e["hint"]} for e in p["errors"]],
            **{kind: sorted(p[kind]) for kind in KINDS},
            "registries": p["registries"],
            "entries": [row["name"] for row in index.rows if row["origin"] == p["name"]],
            "invalid_entries": [
                {"path": bad["path"], "what": bad["what"], "hint": bad["hint"]}
                for bad in index.invalid
                if bad["origin"] == p["name"]
            ],
        }
        for p in index.plugins
    ]


def _origin(plugin: dict[str, Any]) -> str:
    if plugin["kind"] == "file":
        return plugin["location"].replace("\\", "/").rpartition("/")[2]
    return plugin["distribution"]


def _provides(plugin: dict[str, Any]) -> str:
    counts = [(len(plugin[kind]), kind) for kind in (*KINDS, "entries")]
    singular = {"entries": "entry", "features": "features", "datasets": "data set"}
    plural = {"datasets": "data sets", "features": "features"}
    return ", ".join(
        f"{n} {plural.get(kind, kind) if n > 1 else singular.get(kind, kind.removesuffix('s'))}"
        for n, kind in counts
        if n
    )


def _requirements() -> list[str]:
    """Returns pip requirements of the core and of the installed plugins, and comments for what pip can't install."""

    from importlib.metadata import PackageNotFoundError, distribution

    from ...plugins.index import current

    lines: dict[str, None] = {}
    for plugin in current().plugins:
        if plugin["kind"] == "file":
            lines[f"# copy the file {plugin['location']} to the plugin folder"] = None
            continue
        line = f"{plugin['distribution']}=={plugin['version']}"
        try:
            text = distribution(plugin["distribution"]).read_text("direct_url.json")
        except (PackageNotFoundError, OSError):
            text = None
        lines[_direct(plugin["distribution"], text) or line] = None
    return list(lines)


def _direct(name: str, text: str | None) -> str | None:
    """Returns the requirement of a distribution that was installed from a repository or an archive."""

    import json

    try:
        origin = json.loads(text or "{}")
        url = origin.get("url", "")
        vcs = origin.get("vcs_info")
    except (ValueError, AttributeError):
        return None
    if vcs:
        return f"{name} @ {vcs['vcs']}+{url}@{vcs['commit_id']}"
    return f"{name} @ {url}" if url.startswith("https://") else None
