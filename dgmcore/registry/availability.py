"""What keeps an entry from running here, and what there is to fetch: its own, and what its parts need."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

from ..entry import PartSpec, Weights
from ..errors import WeightsError
from ..hub import trust_on_first_use
from ..hub.cache import cached, repo_folder
from ..plugins.index import Index
from .find import Located, located

#: Weights are here, or can be fetched, or nothing says where they are; or no plugin provides what a part is.
Here = Literal["here", "to pull", "missing", "no plugin"]
_WORSE: list[Here] = ["here", "to pull", "missing", "no plugin"]


def survey(model: Located, index: Index) -> tuple[Here, int | None]:
    """Looks at an entry and all that it is composed of, each once, without reading a file.

    Returns:
        The worst that keeps one of them from running on this machine; and the bytes of all their weights, None if
        those of one are not known.
    """
    found: dict[str, Located] = {}
    states: list[Here] = ["here" if _gather(model, index, found, ()) else "missing"]
    sizes: list[int | None] = []
    for one in found.values():
        entry, weights = one.entry, one.entry.weights
        path = weights_path(one.folder, weights) if weights else None
        kinds = [*own_parts(entry.parts), *([] if one is model else [entry.architecture])]
        if any(kind not in index.provided.architectures for kind in kinds):
            states.append("no plugin")
        elif weights and not path:
            states.append("to pull" if weights.hub or one.origin == "hub" else "missing")
        size = weights.size if weights else 0
        sizes.append(os.stat(path).st_size if size is None and path else size)
    return max(states, key=_WORSE.index), None if None in sizes else sum(size or 0 for size in sizes)


def _gather(one: Located, index: Index, found: dict[str, Located], above: Collection[str]) -> bool:
    """Finds an entry and those that it is composed of; tells whether all are there, and none is a part of itself."""
    if one.full_name in found:
        return one.full_name not in above
    found[one.full_name] = one
    rows = [index.named(name) for name in one.entry.part_names()]
    above = {*above, one.full_name}
    whole = [bool(row) and _gather(located(row[0]), index, found, above) for row in rows]
    return all(whole)


def own_parts(parts: Mapping[str, str | PartSpec]) -> Iterator[str]:
    """Yields the architectures of parts that are an entry's own, at any depth."""
    for part in parts.values():
        if not isinstance(part, str):
            yield part.architecture
            yield from own_parts(part.parts)


def weights_path(folder: str | Path, weights: Weights) -> str | None:
    """Returns the weights file beside an entry, or that in the Hugging Face cache."""
    beside, hub = os.path.join(folder, weights.file), weights.hub
    if os.path.isfile(beside):
        return beside
    if hub is None or not repo_folder(hub.repo).is_dir():
        return None
    path, pin = cached(hub.repo, hub.file, hub.revision), None
    with suppress(WeightsError):  # a record that is damaged
        pin = trust_on_first_use.find(hub.repo, hub.file, hub.revision) if path is None else None
    path = cached(hub.repo, hub.file, pin.commit) if pin else path
    return str(path) if path else None
