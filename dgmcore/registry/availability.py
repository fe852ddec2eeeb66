"""What keeps an entry from running here: its weights, and what its parts need."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
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


def survey(entries: Iterable[Located], index: Index) -> dict[str, Here]:
    """Tells of entries, by full name, whether their weights and all that their parts need are on this machine.

    Each is judged once, after its parts, so this is linear in entries and parts; no file is read.
    """
    judged: dict[str, Here] = {}
    as_part: dict[str, Here] = {}
    waiting = [(one, False) for one in entries]
    while waiting:
        one, parts_are_judged = waiting.pop()
        rows = [index.named(name) for name in one.entry.part_names()]
        if parts_are_judged:
            below = [as_part.get(row[0].full_name, "missing") if row else "missing" for row in rows]
            judged[one.full_name] = max([_own(one, index), *below], key=_WORSE.index)
            known = one.entry.architecture in index.provided.architectures
            as_part[one.full_name] = judged[one.full_name] if known else "no plugin"
        elif one.full_name not in judged:
            judged[one.full_name] = "missing"  # while its parts are judged, and for good if it is one of them
            waiting.append((one, True))
            waiting += [(located(row[0]), False) for row in rows if row and row[0].full_name not in judged]
    return judged


def _own(one: Located, index: Index) -> Here:
    """Judges an entry without the entries that it is composed of."""
    weights = one.entry.weights
    if any(name not in index.provided.architectures for name in own_parts(one.entry.parts)):
        return "no plugin"
    if weights is None or weights_path(one.folder, weights) is not None:
        return "here"
    return "to pull" if weights.hub or one.origin == "hub" else "missing"


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
