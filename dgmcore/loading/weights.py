"""The weights of an entry: where they are, and whether they may be trusted; fetched if need be.

Weights are looked for beside the entry, then in the Hugging Face cache, then on the Hub. Whatever the source, the file
must have the entry's size and sha256, and it is only ever read as safetensors.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ..entry import Weights
from ..errors import UsageError, WeightsError
from ..files.verify import open_verified
from ..hub.cache import source_of
from ..registry.find import Located


@contextmanager
def open_weights(located: Located, revision: str | None = None) -> Iterator[tuple[Path, BinaryIO]]:
    """Yields where the weights of an entry are, and the file open: what is read from it was verified.

    A revision (commit, tag or branch of the Hub repository) counts instead of the entry's own.

    Raises:
        WeightsError: If they are nowhere, or are not what the entry says.
    """
    weights = located.entry.weights
    if weights is None:
        hint = "its entry needs a section weights; see docs/weights.md"
        raise WeightsError(f"{located.entry.name} has no weights", hint)
    path = beside(located) if revision is None else None
    try:
        here = path and (path, open_verified(path, weights.size, weights.sha256))
    except OSError as e:
        raise WeightsError(f"can't read {path}: {e.strerror or e}", "check the path and its permissions") from None
    path, file = here or _from_hub(located, weights, revision)
    with file:
        yield path, file


def beside(located: Located) -> Path | None:
    """Returns the weights in the entry's own folder, if they are there; a snapshot in the Hub's cache is none."""
    weights = located.entry.weights
    path = located.folder / weights.file if weights is not None and source_of(located.folder) is None else None
    return path if path is not None and path.is_file() else None


def _from_hub(located: Located, weights: Weights, revision: str | None) -> tuple[Path, BinaryIO]:
    """Returns the weights in the Hugging Face cache, fetched if need be, and opens them."""
    from ..hub.fetch import fetch_first, fetch_weights

    entry, place, source = located.entry, weights.hub, source_of(located.folder)
    if source is not None:
        repo, commit, inside = source
        file, revision = inside + weights.file, revision or commit
        return fetch_weights(repo, file, revision, weights.size, weights.sha256, name=entry.name)
    if place is None:
        missing = located.folder / weights.file
        if revision is not None and missing.is_file():
            what = f"{entry.name} is not on a Hub, so it has no revision {revision}"
            raise UsageError(what, "leave out --revision")
        recipe = entry.training.recipe if entry.training else None
        hint = (
            f"train it: dgm train {recipe}" if recipe else "put the file there, or name its repository in weights.hub"
        )
        raise WeightsError(f"the weights of {entry.name} are not here: {missing}", hint)
    revision, size, sha256 = revision or place.revision, weights.size, weights.sha256
    if sha256 is None and place.trust == "first-fetch":
        first = fetch_first(place.repo, place.file, revision, name=entry.name)
        revision, size, sha256 = first.commit, first.size, first.sha256
    return fetch_weights(place.repo, place.file, revision, size, sha256, name=entry.name)
