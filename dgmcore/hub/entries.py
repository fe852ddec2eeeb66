"""Entries of Hub repositories, with those of their parts."""

from __future__ import annotations

from pathlib import Path

from ..entry import ENTRY_FILE, read_entry
from ..errors import RegistryError
from .failures import NoFile
from .fetch import fetch_text

__all__ = ["PARTS", "fetch_entry"]

#: The folder of a published entry where the entries are that it is composed of.
PARTS = "parts"


def fetch_entry(repo: str, revision: str | None = None) -> Path:
    """Fetches the entry of a Hub repository, with those of its parts, and returns its folder in the cache.

    Without a connection the last known state of the revision is used. Weights are fetched when they are needed.

    Raises:
        DgmError: If the repository or its `model.yaml` can't be had.
    """

    try:
        folder = fetch_text(repo, ENTRY_FILE, revision).parent
    except NoFile as e:
        raise RegistryError(
            f"{repo} holds no model.yaml: it is no dgm model", "see `dgm push` for what publishes one"
        ) from e
    commit = folder.name
    waiting = read_entry(folder).part_names()
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            part = fetch_text(repo, f"{PARTS}/{name}/{ENTRY_FILE}", commit)
        except NoFile:
            continue  # an entry of the local registry
        waiting += read_entry(part).part_names()
    return folder
