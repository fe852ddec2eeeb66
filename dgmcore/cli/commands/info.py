"""`dgm info`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from ... import console as output
from ...calls.listing import info
from ...plugins import current
from ...plugins.provided import call, provided, unknown_architecture
from .. import complete


def command(
    name: Annotated[
        str,
        typer.Argument(
            help="A model, ./folder or hf://user/repo; an architecture; or a file that dgm wrote.",
            autocompletion=complete.described,
        ),
    ],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show everything known about a model, what an architecture can be told, or how a file of samples was made."""
    if os.path.isfile(os.path.expanduser(name)) and not name.endswith(".yaml"):
        call("describe_file")(name, json)
        return
    if not current.index().named(name) and name in provided().architectures:
        call("describe_architecture")(name, json)
        return
    model = info(name)
    if json:
        output.emit_json(model)
        return
    output.heading(model["name"], model["summary"])
    output.fields(_fields(model))
    for title, values in (("config", model["config"]), ("sampling options (--set)", _options(model))):
        if values:
            output.heading(title)
            output.fields([(key, text(value)) for key, value in values.items()])
    if model["metrics"]:
        scripts = any("benchmarks/" in (metric["command"] or "") for metric in model["metrics"])
        output.heading("metrics", "benchmarks/ is a folder of dgmcore's sources" if scripts else "")
        output.fields([(metric["name"], _metric(metric)) for metric in model["metrics"]])
    if model["papers"]:
        output.heading("papers")
        output.fields([("", _paper(paper)) for paper in model["papers"]])


def _fields(model: dict[str, Any]) -> list[tuple[str, str | None]]:
    data, weights = model["data"], model["weights"]
    can = [c if c != "density" else f"density ({model['likelihood'] or 'see score'})" for c in model["capabilities"]]
    return [
        ("family", model["family"]),
        ("architecture", f"{model['architecture']} ({_provider(model)})"),
        ("can", ", ".join(can)),
        ("data", ", ".join(_data(data))),
        ("parts", ", ".join(f"{k}: {_part(v)}" for k, v in model["parts"].items())),
        ("parameters", f"{model['parameters']:,}" if model["parameters"] is not None else None),
        ("weights", ", ".join(_weights(model, weights)) if weights else "none of its own"),
        ("sha256", weights["sha256"] if weights else None),
        ("noise", f"version {model['noise']}"),
        ("licence", model["license"]),
        ("training", _training(model["training"])),
        ("from", f"{model['origin']}: {model['folder']}"),
        ("overrides", ", ".join(model["overrides"])),
        ("tags", ", ".join(model["tags"])),
    ]


def _provider(model: dict[str, Any]) -> str:
    if model["plugin"]:
        return f"plugin {model['plugin']}"
    return f"no plugin provides it: {unknown_architecture(model['architecture']).hint}"


def _part(part: Any) -> str:
    return part if isinstance(part, str) else f"a {part['architecture']} of its own"


def _data(data: dict[str, Any]) -> Iterator[str]:
    yield data["dataset"]
    yield "x".join(map(str, data["event_shape"]))
    yield f"range [{data['range'][0]:g}, {data['range'][1]:g}]" if data["range"] else "unbounded"
    if data["levels"]:
        yield f"{data['levels']} levels"


def _weights(model: dict[str, Any], weights: dict[str, Any]) -> Iterator[str]:
    yield weights["file"]
    if model["bytes"] is not None:
        yield f"{output.size(model['bytes'])}{' with its parts' if model['bytes'] != weights['size'] else ''}"
    yield "averaged (EMA)" if weights["ema"] else "not averaged"
    hub = weights["hub"]
    if hub:
        yield f"on the Hub at {hub['repo']}" + (f"@{hub['revision'][:12]}" if hub["revision"] else "")
    if model["available"]:
        yield "on this machine"
    else:
        yield f"get it: dgm pull {model['name']}" if hub or model["parts"] else "missing on this machine"


def _training(training: dict[str, Any] | None) -> str | None:
    if not training:
        return None
    known = {k: v for k, v in training.items() if v not in (None, {})}
    source, of = known.pop("source", {}), known.pop("made", {})
    text = ", ".join(f"{k} {v:,}" if isinstance(v, int) and k != "seed" else f"{k} {v}" for k, v in known.items())
    made = ", ".join(f"{k} {v}" for k, v in source.items())
    digests = ", ".join(f"{k.partition('_')[0]} {v[:12]}..." for k, v in of.items() if k.endswith("_sha256"))
    made = f"converted from {made}" if made else ""
    return "; ".join(t for t in (text, made, f"sha256 of {digests}" if digests else "") if t)


def _options(model: dict[str, Any]) -> dict[str, str]:
    return {key: f"{text(option['default'])} ({option['type']})" for key, option in model["options"].items()}


def _metric(metric: dict[str, Any]) -> str:
    """Writes a metric with its protocol, which belongs to the number."""
    known = {k: v for k, v in metric.items() if v not in (None, {})}
    for key in ("name", "value", "unit", "command"):
        known.pop(key, None)
    known.pop("features_sha256", None)
    value = f"{metric['value']:.6g}" + (f" {metric['unit']}" if metric["unit"] else "")
    protocol = ", ".join(f"{k} {text(v)}" for k, v in known.items())
    command = f"\n$ {metric['command']}" if metric["command"] else ""
    return value + (f"  ({protocol})" if protocol else "") + command


def _paper(paper: dict[str, Any]) -> str:
    by = ", ".join(str(v) for v in (paper["authors"], paper["year"]) if v)
    return f"{paper['title']}{f' ({by})' if by else ''}" + (f"\n{paper['url']}" if paper["url"] else "")


def text(value: Any) -> str:
    """Writes a value of a config."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(text(v) for v in value) + "]"
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
