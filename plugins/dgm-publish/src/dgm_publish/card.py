"""The model card and the licence file of a published model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dgmcore.entry import Entry, Metric

__all__ = ["licence_text", "model_card"]

#: Licence identifiers that the Hub knows, of those that weights come under; others are `other` with a name.
_KNOWN = {
    "apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0", "openrail", "gpl-3.0", "lgpl-3.0", "mpl-2.0", "unlicense", "unknown",
}  # fmt: skip

_MIT = """\
Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def licence_text(entries: Sequence[Entry]) -> str:
    """Returns the licence terms of a model's weights, and of those of its parts where they differ."""

    blocks = []
    for entry in entries:
        lines = [f"The weights of {entry.name} are licensed under: {entry.license}"]
        source = entry.training.source if entry.training else {}
        lines += [str(note) for note in source.get("notes", []) if "(c)" in str(note)]
        if source.get("license") and source["license"] != entry.license:
            lines.append(f"They were converted from weights under: {source['license']}")
        if entry.license.lower() == "mit":
            lines += ["", _MIT.rstrip()]
        elif entry.license.lower() in _KNOWN - {"unknown"}:
            lines.append(f"Full text: https://spdx.org/licenses/{_SPDX.get(entry.license.lower(), entry.license)}.html")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


_SPDX = {
    "apache-2.0": "Apache-2.0", "cc0-1.0": "CC0-1.0", "bsd-2-clause": "BSD-2-Clause", "bsd-3-clause": "BSD-3-Clause",
    "cc-by-4.0": "CC-BY-4.0", "cc-by-sa-4.0": "CC-BY-SA-4.0", "cc-by-nc-4.0": "CC-BY-NC-4.0",
    "cc-by-nc-sa-4.0": "CC-BY-NC-SA-4.0", "gpl-3.0": "GPL-3.0-only", "lgpl-3.0": "LGPL-3.0-only", "mpl-2.0": "MPL-2.0",
    "unlicense": "Unlicense",
}  # fmt: skip


def model_card(entry: Entry, repo: str, parts: Sequence[Entry], *, capabilities: Sequence[str], picture: bool) -> str:
    """Returns the `README.md` of a published model: metadata for the Hub, and what a reader wants to know.

    Arguments:
        entry: The model's entry.
        repo: The repository that it is published in.
        parts: The entries that it is composed of.
        capabilities: What it can do.
        picture: Whether there is a `samples.png`.
    """

    from huggingface_hub import ModelCard

    body = [f"# {entry.name}", entry.summary or f"A {entry.architecture} model.", *_picture(entry, picture)]
    body += ["## Use", _usage(entry, repo, capabilities)]
    body += ["## Model", _facts(entry, capabilities, parts)]
    if entry.metrics:
        body += ["## Measurements", _measurements(entry.metrics)]
    if entry.training:
        body += ["## Training", _training(entry)]
    if entry.papers:
        body += ["## Papers", "\n".join(f"- {_paper(p)}" for p in entry.papers)]
    licences = f"The weights are licensed under: {entry.license}. See [LICENSE](LICENSE)."
    body += ["## Licence", licences]
    metadata = _metadata(entry, repo, capabilities)
    return str(ModelCard(f"---\n{metadata}\n---\n\n" + "\n\n".join(body) + "\n").content)


def _metadata(entry: Entry, repo: str, capabilities: Sequence[str]) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    image = len(entry.data.event_shape) == 3
    licence = entry.license.lower()
    known = licence in _KNOWN
    pipeline = "unconditional-image-generation" if image and "generator" in capabilities else None
    results = [
        EvalResult(
            task_type=pipeline or "other",
            dataset_type=entry.data.dataset,
            dataset_name=m.against or entry.data.dataset,
            metric_type=m.name,
            metric_value=m.value,
        )
        for m in entry.metrics
    ]
    data = ModelCardData(
        license=licence if known else "other",
        license_name=None if known else entry.license,
        license_link=None if known else "LICENSE",
        library_name="dgmcore",
        pipeline_tag=pipeline,
        tags=list(dict.fromkeys(["dgmcore", entry.architecture, *entry.tags])),
        model_name=entry.name if results else None,
        eval_results=results or None,
    )
    return str(data.to_yaml())


def _picture(entry: Entry, there: bool) -> list[str]:
    return [f"![Samples of {entry.name}](samples.png)"] if there else []


def _usage(entry: Entry, repo: str, capabilities: Sequence[str]) -> str:
    lines = ["pip install dgmcore  # and the plugin of the architecture, see `dgm plugins`"]
    if "generator" in capabilities:
        lines.append(f"dgm sample hf://{repo} -n 16 --out samples.png")
    if {"density", "critic"} & set(capabilities):
        lines.append(f"dgm score hf://{repo} data.npz")
    lines.append(f"dgm info hf://{repo}")
    python = ["import dgmcore", f'model = dgmcore.load("hf://{repo}")']
    if "generator" in capabilities:
        python.append("samples = dgmcore.sample(model, n=16, seed=0)")
    return "```sh\n" + "\n".join(lines) + "\n```\n\n```python\n" + "\n".join(python) + "\n```"


def _facts(entry: Entry, capabilities: Sequence[str], parts: Sequence[Entry]) -> str:
    data = entry.data
    rows = [
        ("architecture", entry.architecture),
        ("can", ", ".join(capabilities) or "-"),
        ("data", f"{data.dataset}, {'x'.join(map(str, data.event_shape))}"),
        ("range", "unbounded" if data.range is None else f"{data.range[0]:g} to {data.range[1]:g}"),
    ]
    if entry.weights and entry.weights.parameters is not None:
        rows.append(("parameters", f"{entry.weights.parameters:,}"))
    if entry.weights:
        rows.append(("sha256 of the weights", f"`{entry.weights.sha256}`"))
        rows.append(("weights", "averaged over the training (EMA)" if entry.weights.ema else "of the last step"))
    rows += [("part", f"{p.name} ({p.architecture}), in `parts/{p.name}`") for p in parts]
    if entry.sampling:
        rows.append(("sampling", ", ".join(f"{k} = {v}" for k, v in entry.sampling.items())))
    return _table(("", ""), rows)


def _measurements(metrics: Sequence[Metric]) -> str:
    rows = []
    for m in metrics:
        unit = f" {m.unit}" if m.unit else ""
        spread = f" ± {m.std:.3g}" if m.std is not None else ""
        rows.append((m.name, f"{m.value:.5g}{spread}{unit}", m.n, m.against, f"`{m.command}`" if m.command else None))
    return _table(("metric", "value", "samples", "against", "command"), rows)


def _training(entry: Entry) -> str:
    training = entry.training
    assert training is not None
    fields: list[tuple[str, Any]] = [
        ("recipe", training.recipe),
        ("seed", training.seed),
        ("steps", training.steps),
        ("hardware", training.hardware),
        ("hours", None if training.hours is None else f"{training.hours:.3g}"),
    ]
    fields.append(("note", training.notes))
    source = training.source
    for file in source.get("files", [source] if source.get("file") else []):
        fields.append(("converted from", f"{file.get('file')} (sha256 `{file.get('sha256')}`)"))
    fields += [(key, source[key]) for key in ("format", "license", "url") if source.get(key)]
    fields += [("note", note) for note in source.get("notes", [])]
    return _table(("", ""), [(k, v) for k, v in fields if v is not None])


def _paper(paper: Any) -> str:
    title = f"[{paper.title}]({paper.url})" if paper.url else paper.title
    return title + "".join(f", {x}" for x in (paper.authors, paper.year) if x)


def _table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    def line(cells: Sequence[Any]) -> str:
        return (
            "| " + " | ".join("" if c is None else str(c).replace("|", "\\|").replace("\n", " ") for c in cells) + " |"
        )

    return "\n".join([line(heads), line(["---"] * len(heads)), *(line(row) for row in rows)])
