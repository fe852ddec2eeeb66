"""Lists entries, and says everything that is known of one."""

from __future__ import annotations

import math
import os
from collections.abc import Collection
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from ..errors import UsageError, WeightsError
from ..interfaces import CAPABILITIES
from ..plugins import current
from ..plugins.index import Index
from ..suggestions import did_you_mean
from .availability import Here, survey
from .find import Located, find, located


class Listed(msgspec.Struct):
    """What `dgm list` says of a model."""

    name: str
    family: str | None
    architecture: str
    dataset: str
    event_shape: list[int]
    capabilities: list[str]
    parameters: int | None
    bytes: int | None
    available: bool
    plugin: str | None
    weights: Here


def list_models(
    pattern: str | None = None, *, family: str | None = None, can: str | None = None, dataset: str | None = None
) -> list[dict[str, Any]]:
    """Returns a record of each model, by name.

    Arguments:
        pattern: A part of the name, or a pattern with the wildcards `*`, `?` and `[...]` for all of it.
        family: Only models of a family, such as `flows`.
        can: Only models with a capability, such as `density`.
        dataset: Only models of a data set.

    Returns:
        Records with the keys `name, family, architecture, dataset, event_shape, capabilities, parameters, bytes,
        available, plugin`. `bytes` are those of all weights there are to fetch; `available` says whether they are on
        this machine, and what the parts need; `plugin` is the plugin that provides the architecture (None: none does).

    Raises:
        UsageError: For a family, capability or data set that nothing has.
    """
    models = [msgspec.to_builtins(model) for model in listed(pattern, family=family, can=can, dataset=dataset)]
    return [{key: value for key, value in model.items() if key != "weights"} for model in models]


def listed(
    pattern: str | None = None, *, family: str | None = None, can: str | None = None, dataset: str | None = None
) -> list[Listed]:
    """Returns what :func:`list_models` does, typed, and where the weights are."""
    index = current.index()
    kinds = index.provided.architectures.values()
    models = {row.shown_name: located(row) for row in index.rows if not row.hidden}
    _check("family", family, {kind.family for kind in kinds})
    _check("capability", can, {*CAPABILITIES, *(c for kind in kinds for c in kind.capabilities)})
    _check("data set", dataset, {*index.provided.datasets, *(model.entry.data.dataset for model in models.values())})
    if pattern is not None:
        pattern = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
        models = {n: m for n, m in models.items() if fnmatchcase(n, pattern) or fnmatchcase(m.entry.name, pattern)}
    lines = [_listed(name, model, index) for name, model in models.items()]
    lines = [line for line in lines if family in (None, line.family) and dataset in (None, line.dataset)]
    return [line for line in lines if can is None or can in line.capabilities]


def _check(what: str, value: str | None, choices: Collection[str]) -> None:
    if value is not None and value not in choices:
        raise UsageError(f"there is no {what} {value}", did_you_mean(value, choices))


def _listed(name: str, model: Located, index: Index) -> Listed:
    entry, weights = model.entry, model.entry.weights
    here, size = survey(model, index)
    kind = index.provided.architectures.get(entry.architecture)
    parameters = weights.parameters if weights else 0
    if weights is not None and parameters is None:
        parameters = count_parameters(model.folder / weights.file)
    return Listed(
        name=name,
        family=kind.family if kind else None,
        architecture=entry.architecture,
        dataset=entry.data.dataset,
        event_shape=list(entry.data.event_shape),
        capabilities=kind.capabilities if kind else [],
        parameters=parameters,
        bytes=size,
        available=here == "here",
        plugin=kind.plugin if kind else None,
        weights=here,
    )


def count_parameters(path: str | os.PathLike[str]) -> int | None:
    """Counts the numbers of floating point in a safetensors file by its header; None if it can't be read."""
    from ..files.safetensors import read_header  # entries mostly say it themselves

    try:
        return sum(math.prod(info.shape) for info in read_header(path).values() if "F" in info.dtype)
    except WeightsError:
        return None


def info(name: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns everything known about a model, as plain data.

    The keys are those of the entry and of :func:`list_models`, and `origin`, `full_name`, `folder`, `overrides`,
    `likelihood`, `options` (what `--set` may set, with the defaults of this entry) and `paper`.
    """
    model, index = find(name), current.index()
    kind = index.provided.architectures.get(model.entry.architecture)
    options = msgspec.to_builtins(kind.sampling) if kind else {}
    for key, value in model.entry.sampling.items():
        options[key] = {**options.get(key, {"type": "any"}), "default": value}
    listed = msgspec.to_builtins(_listed(model.entry.name, model, index))
    return {
        **msgspec.json.decode(msgspec.json.encode(model.entry)),
        **{key: value for key, value in listed.items() if key != "weights"},
        "full_name": model.full_name,
        "origin": model.origin,
        "folder": str(model.folder),
        "overrides": model.overrides,
        "likelihood": kind.likelihood if kind else None,
        "options": options,
        "paper": kind.paper or None if kind else None,
    }
