"""The model card and the licence file of a published model.

What an entry says may come from anybody: in the card it is text, and never HTML, a link that hides where it leads, or
a column of a table.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any

from dgmcore.console import printable
from dgmcore.entry import Entry, Metric, Paper, Training

__all__ = ["licence_text", "model_card"]

#: Licence identifiers that the Hub knows, of those that weights come under (others are `other` with a name), and how
#: https://spdx.org/licenses writes them.
_SPDX = {
    "apache-2.0": "Apache-2.0", "mit": "MIT", "bsd-2-clause": "BSD-2-Clause", "bsd-3-clause": "BSD-3-Clause",
    "cc0-1.0": "CC0-1.0", "cc-by-4.0": "CC-BY-4.0", "cc-by-sa-4.0": "CC-BY-SA-4.0", "cc-by-nc-4.0": "CC-BY-NC-4.0",
    "cc-by-nc-sa-4.0": "CC-BY-NC-SA-4.0", "gpl-3.0": "GPL-3.0-only", "lgpl-3.0": "LGPL-3.0-only", "mpl-2.0": "MPL-2.0",
    "unlicense": "Unlicense", "openrail": None, "unknown": None,
}  # fmt: skip


class Code(str):
    """Text that the card shows as code."""


def licence_text(entries: Sequence[Entry]) -> str:
    """Returns the licence terms of a model's weights, and of those of its parts where they differ."""

    blocks = []
    for entry in entries:
        licence = entry.license.lower()
        source = entry.training.source if entry.training else {}
        lines = [f"The weights of {entry.name} are licensed under: {entry.license}"]
        lines += [str(note) for note in source.get("notes") or () if "(c)" in str(note)]
        if source.get("license") and source["license"] != entry.license:
            lines.append(f"They were converted from weights under: {source['license']}")
        if licence == "mit":
            lines += ["", (files(__package__) / "mit.txt").read_text(encoding="utf-8").rstrip()]
        elif _SPDX.get(licence):
            lines.append(f"Full text: https://spdx.org/licenses/{_SPDX[licence]}.html")
        blocks.append("\n".join(printable(line) for line in lines))
    return "\n\n".join(blocks) + "\n"


def model_card(entry: Entry, repo: str, parts: Sequence[Entry], *, capabilities: Sequence[str], picture: bool) -> str:
    """Returns the `README.md` of a published model: metadata for the Hub, and what a reader wants to know.

    Arguments:
        entry: The model's entry.
        repo: The repository that it is published in.
        parts: The entries that it is composed of.
        capabilities: What it can do.
        picture: Whether there is a `samples.png`.
    """

    body = [f"# {entry.name}", _shown(entry.summary or f"A {entry.architecture} model.")]
    body += [f"![Samples of {entry.name}](samples.png)"] if picture else []
    body += ["## Use", _usage(repo, capabilities), "## Model", _facts(entry, capabilities, parts)]
    body += ["## Measurements", _measurements(entry.metrics)] if entry.metrics else []
    body += ["## Training", _training(entry.training)] if entry.training else []
    body += ["## Papers", "\n".join(f"- {_paper(p)}" for p in entry.papers)] if entry.papers else []
    body += ["## Licence", f"The weights are licensed under: {_shown(entry.license)}. See [LICENSE](LICENSE)."]
    return f"---\n{_metadata(entry, capabilities)}\n---\n\n" + "\n\n".join(body) + "\n"


def _metadata(entry: Entry, capabilities: Sequence[str]) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    image = len(entry.data.event_shape) == 3
    known = entry.license.lower() in _SPDX
    pipeline = "unconditional-image-generation" if image and "generator" in capabilities else None
    results = [
        EvalResult(
            task_type=pipeline or "other",
            dataset_type=_line(entry.data.dataset),
            dataset_name=_line(m.against or entry.data.dataset),
            metric_type=_line(m.name),
            metric_value=m.value,
        )
        for m in entry.metrics
    ]
    data = ModelCardData(
        license=entry.license.lower() if known else "other",
        license_name=None if known else _line(entry.license),
        license_link=None if known else "LICENSE",
        library_name="dgmcore",
        pipeline_tag=pipeline,
        tags=list(dict.fromkeys(map(_line, ["dgmcore", entry.architecture, *entry.tags]))),
        model_name=entry.name if results else None,
        eval_results=results or None,
    )
    return str(data.to_yaml())


def _usage(repo: str, capabilities: Sequence[str]) -> str:
    shell = ["pip install dgmcore  # and the plugin of the architecture, see `dgm plugins`"]
    python = ["import dgmcore", f'model = dgmcore.load("hf://{repo}")']
    if "generator" in capabilities:
        shell.append(f"dgm sample hf://{repo} -n 16 --out samples.png")
        python.append("samples = dgmcore.sample(model, n=16, seed=0)")
    if {"density", "critic"} & set(capabilities):
        shell.append(f"dgm score hf://{repo} data.npz")
    shell.append(f"dgm info hf://{repo}")
    return "```sh\n" + "\n".join(shell) + "\n```\n\n```python\n" + "\n".join(python) + "\n```"


def _facts(entry: Entry, capabilities: Sequence[str], parts: Sequence[Entry]) -> str:
    data, weights = entry.data, entry.weights
    rows: list[tuple[str, Any]] = [
        ("architecture", entry.architecture),
        ("can", ", ".join(capabilities) or "-"),
        ("data", f"{data.dataset}, {'x'.join(map(str, data.event_shape))}"),
        ("range", "unbounded" if data.range is None else f"{data.range[0]:g} to {data.range[1]:g}"),
    ]
    if weights is not None:
        rows.append(("parameters", None if weights.parameters is None else f"{weights.parameters:,}"))
        rows.append(("sha256 of the weights", Code(weights.sha256)))
        rows.append(("weights", "averaged over the training (EMA)" if weights.ema else "of the last step"))
    rows += [("part", f"{p.name} ({p.architecture}), in parts/{p.name}") for p in parts]
    rows.append(("sampling", ", ".join(f"{k} = {v}" for k, v in entry.sampling.items()) or None))
    return _table(("", ""), [row for row in rows if row[1] is not None])


def _measurements(metrics: Iterable[Metric]) -> str:
    rows = []
    for m in metrics:
        spread = f" ± {m.std:.3g}" if m.std is not None else ""
        value = f"{m.value:.5g}{spread}{f' {m.unit}' if m.unit else ''}"
        rows.append((m.name, value, m.n, m.against, Code(m.command) if m.command else None))
    return _table(("metric", "value", "samples", "against", "command"), rows)


def _training(training: Training) -> str:
    source, hours = training.source, training.hours
    rows = [(key, getattr(training, key)) for key in ("recipe", "seed", "steps", "hardware")]
    rows.append(("hours", None if hours is None else f"{hours:.3g}"))
    rows.append(("note", training.notes or None))
    for file in source.get("files") or [source]:
        if isinstance(file, dict) and file.get("file"):
            rows.append(("converted from", f"{file['file']} (sha256 {file.get('sha256')})"))
    rows += [(key, source.get(key) or None) for key in ("format", "license", "url")]
    rows += [("note", note) for note in source.get("notes") or ()]
    return _table(("", ""), [row for row in rows if row[1] is not None])


def _paper(paper: Paper) -> str:
    title = _shown(paper.title)
    if paper.url and re.fullmatch(r"https?://[^\s()<>\[\]\"'\\]+", paper.url):
        title = f"[{title}]({paper.url})"
    return title + "".join(f", {_shown(x)}" for x in (paper.authors, paper.year) if x)


def _table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [heads, ["---"] * len(heads), *([("" if c is None else _shown(c)) for c in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _line(value: Any) -> str:
    """Returns text on one line, without what would move or turn what is shown around it."""

    return " ".join(printable(str(value)).split())


def _shown(value: Any) -> str:
    """Returns Markdown that shows a text as it is, on one line."""

    text = _line(value)
    if isinstance(value, Code):
        return f"`{text.replace('`', chr(39))}`".replace("|", "\\|")
    text = re.sub(r"([\\`*\[\]|~])", r"\\\1", html.escape(text, quote=False))
    text = re.sub(r"^(#|[-+=_](?!\d))", r"\\\1", text)  # no heading, list or rule; numbers stay
    return re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", text)
