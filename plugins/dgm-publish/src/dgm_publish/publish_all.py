"""Publishing all models of a registry, each in a repository of its own, and writing into their entries where they are.

What was interrupted completes when it is repeated: what is published and unchanged costs a few questions and no bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from dgmcore import plugins
from dgmcore.entry import HubFile, read_entry, write_entry
from dgmcore.errors import DgmError, RegistryError
from dgmcore.files.verify import sha256_of
from dgmcore.hub.cache import check_repo
from dgmcore.loading.weights import beside, open_weights
from dgmcore.registry.find import Located, find, with_parts

from .publish import Pushed, push

__all__ = ["Step", "publish_all"]


class Step(msgspec.Struct, frozen=True):
    """One entry of :func:`publish_all`: the `place`-th of `total`."""

    name: str
    place: int
    total: int
    pushed: Pushed | None  #: None where there is nothing to publish
    why: str = ""  #: the reason for that
    recorded: bool = False  #: whether its `model.yaml` was rewritten


def publish_all(
    namespace: str, *, record: bool = False, dry_run: bool = False, sign: Path | None = None
) -> Iterator[Step]:
    """Publishes every entry with weights of the registry, as `NAMESPACE/NAME`, entries before what is composed of them.

    The registry is that of `$DGM_REGISTRY`, or that of the checkout; models of the user's own and those of plugins are
    left alone, and so are weights that lie in a repository of somebody else.

    Arguments:
        namespace: The user or organisation.
        record: Write the repository and the commit into `weights.hub` of each entry, when it has been published.
        dry_run: Only find out what would be published; nothing is sent and nothing written.
        sign: A private key's file, to sign each with.

    Yields:
        What was done for each entry, as soon as it is done.

    Raises:
        DgmError: For the first entry that can't be published; those before it are, and recorded.
    """

    entries = _entries()
    for located in entries:
        check_repo(f"{namespace}/{located.entry.name}")
    for place, located in enumerate(entries, 1):
        name, repo = located.entry.name, f"{namespace}/{located.entry.name}"
        step = Step(name, place, len(entries), None)
        why = _nothing_to_do(located, repo)
        if why:
            yield msgspec.structs.replace(step, why=why)
            continue
        try:
            pushed = push(located.full_name, repo, dry_run=dry_run, sign=sign)
            recorded = record and pushed.commit is not None and _record(located, repo, pushed.commit)
        except DgmError as e:
            what = f"{name}, number {place} of {len(entries)}: {e.what}"
            raise type(e)(what, f"{e.hint}; the same command goes on from here") from e
        yield msgspec.structs.replace(step, pushed=pushed, recorded=recorded)


def _entries() -> list[Located]:
    """Returns the entries of the registry, parts first: an entry is made of more entries than any of its parts."""

    rows = plugins.current.index().rows
    origin = "environment" if any(row.origin == "environment" for row in rows) else "core"
    found = [find(row.full_name) for row in rows if row.origin == origin]
    if not found:
        what = "there is no registry to publish: this is no checkout of dgmcore, and DGM_REGISTRY names no folder"
        raise RegistryError(what, "DGM_REGISTRY=./registry dgm push --all ..., or one model: dgm push NAME --repo ...")
    return sorted(found, key=lambda located: (len(with_parts(located)), located.entry.name))


def _nothing_to_do(located: Located, repo: str) -> str:
    """Returns why an entry is not to be published; nothing where it is."""

    weights = located.entry.weights
    if weights is None:
        return "it has no weights"
    if weights.hub is not None and weights.hub.repo != repo and beside(located) is None:
        return f"its weights are in {weights.hub.repo}"
    return ""


def _record(located: Located, repo: str, commit: str) -> bool:
    """Writes where the weights are into an entry's `model.yaml`; returns whether that was news."""

    path = Path(located.folder)
    entry = read_entry(path)
    if entry.weights is None:
        raise RegistryError(f"{path} has changed meanwhile and has no weights", "look at it, then push again")
    sha256 = entry.weights.sha256 or _hashed(located)
    weights = msgspec.structs.replace(entry.weights, sha256=sha256, hub=HubFile(repo=repo, revision=commit))
    if weights == entry.weights:
        return False
    write_entry(msgspec.structs.replace(entry, weights=weights), path)
    return True


def _hashed(located: Located) -> str:
    with open_weights(located) as (_, file):
        return sha256_of(file)
