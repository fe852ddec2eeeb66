"""What is known of a model, as words for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dgmcore.console import count, size

__all__ = ["about", "facts"]


def facts(entry: Mapping[str, Any], *, brief: bool = False) -> list[str]:
    """Returns the family, the data, the number of weights, the licence; if not brief, size and likelihood."""

    shape = "×".join(map(str, entry["event_shape"]))
    weights, kind = count(entry["parameters"]), entry["likelihood"]
    more = [] if brief else [size(entry["bytes"]), kind and f"likelihood: {kind.replace('_', ' ')}"]
    found = [entry["family"] or "no plugin", f"{entry['dataset']} {shape}", weights and f"{weights} weights"]
    return [str(fact) for fact in (*found, *more, entry["license"]) if fact]


def about(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what the view "about" shows: `problem`, `facts` by name, `measured` as a table, and `papers`."""

    training = entry["training"] or {}
    steps = training.get("steps") and f"{training['steps']} steps"
    parts = (
        f"{key}: {part if isinstance(part, str) else part['architecture']}" for key, part in entry["parts"].items()
    )
    known = {
        "can": _listed(*entry["capabilities"]),
        "architecture": _listed(entry["architecture"], entry["plugin"] and f"plugin {entry['plugin']}"),
        "parts": _listed(*parts),
        "config": json.dumps(entry["config"]),
        "folder": str(entry["folder"]),
        "training": _listed(training.get("recipe"), steps, training.get("hardware")),
    }
    return {
        "problem": _problem(entry),
        "facts": {name: fact for name, fact in known.items() if fact},
        "measured": [
            [m["name"], f"{m['value']:.4g}", m["unit"], _listed(m["features"], m["against"], m["n"] and f"n {m['n']}")]
            for m in entry["metrics"]
            if m["value"] is not None
        ],
        "papers": [
            {"url": p["url"], "title": p["title"], "by": _listed(p["authors"], p["year"])} for p in entry["papers"]
        ],
    }


def _problem(entry: Mapping[str, Any]) -> dict[str, str] | None:
    if not entry["plugin"]:
        hint = f"pip install {entry['package']}" if entry["package"] else "install one"
        return {"message": f"no plugin here provides {entry['architecture']}", "hint": hint}
    if not entry["available"]:
        return {
            "message": "its weights are not here",
            "hint": f"dgm pull {entry['name']}, or the button in the gallery",
        }
    return None


def _listed(*parts: Any) -> str:
    return ", ".join(str(part) for part in parts if part)
