"""Lists entries, says everything that is known of one, and what keeps it from running here."""

from __future__ import annotations

import math
import os
from collections.abc import Collection
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import msgspec

from ..entry import Weights
from ..errors import UsageError, WeightsError
from ..hub import first_fetch
from ..hub.cache import cached, repo_folder
from ..interfaces import CAPABILITIES
from ..plugins import current
from ..plugins.index import Index
from ..registry.find import DEEPEST, Located, find, located
from ..suggestions import did_you_mean

#: Weights are here, or can be fetched, or nothing says where they are; or no plugin provides what a part is.
Here = Literal["here", "to pull", "missing", "no plugin"]
_WORSE: list[Here] = ["here", "to pull", "missing", "no plugin"]


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
    lacking = {row.entry().package for row in index.rows} - {plugin.source.distribution for plugin in index.plugins}
    if family is not None and f"dgm-{family}" in lacking:
        raise UsageError(f"nothing that is installed is of the family {family}", f"pip install dgm-{family}")
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


def survey(model: Located, index: Index) -> tuple[Here, int | None]:
    """Returns the worst that keeps an entry, or one that it is composed of, from running on this machine; and the bytes
    of all their weights, None if those of one are not known. Each is looked at once, and no file is read."""
    found: dict[str, Located] = {}
    states: list[Here] = ["here" if _gather(model, index, found, ()) else "missing"]
    sizes: list[int | None] = []
    for one in found.values():
        entry, weights = one.entry, one.entry.weights
        path = weights_path(one.folder, weights) if weights else None
        kinds = {part.architecture for part in entry.own_parts()} | (
            {entry.architecture} if one is not model else set()
        )
        if kinds - index.provided.architectures.keys():
            states.append("no plugin")
        elif weights and not path:
            states.append("to pull" if weights.hub or one.origin == "hub" else "missing")
        size = weights.size if weights else 0
        sizes.append(os.stat(path).st_size if size is None and path else size)
    return max(states, key=_WORSE.index), None if None in sizes else sum(size or 0 for size in sizes)


def _gather(one: Located, index: Index, found: dict[str, Located], above: Collection[str]) -> bool:
    """Finds an entry and those that it is composed of; tells whether all are there, as loading wants them."""
    if one.full_name in found or len(above) > DEEPEST:
        return one.full_name not in above and len(above) <= DEEPEST
    found[one.full_name] = one
    rows = [index.named(name) for name in one.entry.part_names()]
    above = {*above, one.full_name}
    whole = [bool(row) and _gather(located(row[0]), index, found, above) for row in rows]
    return all(whole)


def weights_path(folder: str | Path, weights: Weights) -> str | None:
    """Returns the weights file beside an entry, or that in the Hugging Face cache."""
    beside, hub = os.path.join(folder, weights.file), weights.hub
    if os.path.isfile(beside):
        return beside
    if hub is None or not repo_folder(hub.repo).is_dir():
        return None
    path, pin = cached(hub.repo, hub.file, hub.revision), None
    with suppress(WeightsError):  # a record that is damaged
        pin = first_fetch.find(hub.repo, hub.file, hub.revision) if path is None else None
    path = cached(hub.repo, hub.file, pin.commit) if pin else path
    return str(path) if path else None


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
