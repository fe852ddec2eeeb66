"""Entries of Hub repositories, with those of their parts."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from pathlib import Path

from ..entry import ENTRY_FILE, PARTS, read_entry
from ..errors import RegistryError
from .failures import NoFile
from .fetch import fetch_text
from .trust_on_first_use import find

#: How many entries a model may be composed of, and how many seconds it may take to fetch them.
MAX_PARTS = 64
MAX_SECONDS = 600


def fetch_entry(repo: str, revision: str | None = None) -> Path:
    """Fetches the entry of a Hub repository, with those of its parts, and returns its folder in the cache.

    Without a connection the last known state of the revision is used. Weights are fetched when they are needed.
    Without a revision it is the commit whose signature was checked, if one was.

    Raises:
        DgmError: If the repository or its `model.yaml` can't be had, or it names more than a published entry may.
    """
    signed = find(repo, "model.sig", None) if revision is None else None
    try:
        folder = fetch_text(repo, ENTRY_FILE, signed.commit if signed else revision).parent
    except NoFile as e:
        what = f"{repo} holds no model.yaml: it is no dgm model"
        raise RegistryError(what, "see `dgm push` for what publishes one") from e
    ends = time.monotonic() + MAX_SECONDS
    names = _parts_of(repo, folder)
    for name in names:  # which grows
        if len(set(names)) > MAX_PARTS or time.monotonic() > ends:
            what = f"{repo} is composed of more than {MAX_PARTS} entries, or they come too slowly"
            raise RegistryError(what, "ask its publisher")
        with suppress(NoFile):  # then it is an entry of the local registry
            more = _parts_of(repo, fetch_text(repo, f"{PARTS}/{name}/{ENTRY_FILE}", folder.name))
            names += [n for n in more if n not in names]
    return folder


def _parts_of(repo: str, path: Path) -> list[str]:
    """Returns the names of an entry's parts, if they are bare: what a stranger writes leads to no other place."""
    names = read_entry(path).part_names()
    odd = next((name for name in names if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name)), None)
    if odd is not None:
        what = f"an entry of {repo} names the part {odd[:100]!r}, which is no bare name"
        raise RegistryError(what, "it is not followed; ask its publisher to publish it with `dgm push`")
    return names
