"""Fetching entries and weights from the Hugging Face Hub, through its own client.

The client keeps the cache, the locks and the resuming; what it does not do is done here: bytes are compared with
the entry's sha256 whatever the source, a file that is not what it should be leaves the cache, being offline
is decided before the client is asked, and every failure is said in two lines.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from ..console import say
from ..errors import DgmError, UsageError, WeightsError
from ..files.safetensors import read_header
from ..files.verify import mismatch
from ..hub import client as hubclient
from ..hub import first_fetch as pins
from ..hub.client import check_repo
from ..registry.find import find
from ..registry.listing import list_models
from ..registry.parts import with_parts
from . import weights as files

if TYPE_CHECKING:
    from ..entry import Weights
    from ..registry.find import Located

__all__ = ["Pulled", "fetch_weights", "pull"]


class Pulled(NamedTuple):
    """What :func:`pull` did for one entry."""

    name: str
    path: Path | None  #: the verified weights; None where an entry has none of its own
    size: int
    license: str


def pull(names: str | Iterable[str] = (), *, all: bool = False, revision: str | None = None) -> list[Pulled]:
    """Fetches the weights of models and of all their parts, and verifies them.

    Arguments:
        names: Names as for :func:`dgmcore.load`.
        all: Every model of the registry that has weights somewhere.
        revision: Commit, tag or branch on the Hub, instead of the entries' own.

    Returns:
        A record of each entry, each once.

    Raises:
        DgmError: For the first model that fails, after all others were tried.
    """

    wanted = [names] if isinstance(names, str) else list(names)
    if all:
        wanted += [m["name"] for m in list_models() if _has_source(find(m["name"]))]
    done: dict[str, Pulled] = {}
    failures: list[tuple[str, DgmError]] = []
    for name in dict.fromkeys(wanted):
        try:
            if name.startswith("hf://") and revision is not None:
                name = f"{name.partition('@')[0]}@{revision}"
            for i, located in enumerate(with_parts(find(name))):
                own = revision if i == 0 and not name.startswith("hf://") else None
                done[located.full_name] = _pull_one(located, own)
        except DgmError as e:
            failures.append((name, e))
    if failures:
        what = failures[0][1].what
        if len(wanted) > 1:
            what = f"{len(failures)} of {len(wanted)} models failed ({', '.join(n for n, _ in failures)}): {what}"
        raise type(failures[0][1])(what, failures[0][1].hint)
    return list(done.values())


def _has_source(located: Located) -> bool:
    weights = located.entry.weights
    return weights is not None and (weights.hub is not None or files.beside(located) is not None)


def _pull_one(located: Located, revision: str | None) -> Pulled:
    entry = located.entry
    path = files.locate(located, revision) if entry.weights is not None else None
    return Pulled(entry.name, path, path.stat().st_size if path else 0, entry.license)


# --- entries and their weights ---------------------------------------------------------------------


def fetch_weights(located: Located, revision: str | None = None) -> Path:
    """Returns the verified weights of an entry from the cache or the Hub.

    Raises:
        WeightsError: If they can't be had, or are not what the entry says.
    """

    entry = located.entry
    weights = entry.weights
    assert weights is not None
    source = _source_of(located)
    if source is not None:
        repo, commit, prefix = source
        return _fetch(repo, prefix + weights.file, revision or commit, weights, entry.name)
    if weights.hub is not None:
        known, commit = _trusted(weights, revision or weights.hub.revision, entry.name)
        return _fetch(weights.hub.repo, weights.hub.file, commit, known, entry.name)
    missing = Path(located.folder or ".") / weights.file
    recipe = entry.training.recipe if entry.training else None
    hint = f"train it: dgm train {recipe}" if recipe else "put the file there, or name its repository in weights.hub"
    if revision is not None and missing.is_file():
        raise UsageError(f"{entry.name} is not on a Hub, so it has no revision {revision}", "leave out --revision")
    raise WeightsError(f"the weights of {entry.name} are not here: {missing}", hint)


def _trusted(weights: Weights, revision: str | None, name: str) -> tuple[Weights, str | None]:
    """Returns weights with their sha256, and the revision to fetch; recorded now if the entry trusts a first fetch."""

    place = weights.hub
    assert place is not None
    if weights.sha256 is not None or place.trust != "first-fetch":
        return weights, revision
    check_repo(place.repo)
    pin = pins.find(place.repo, place.file, revision)
    if pin is None:
        found = hubclient.stated(place.repo, place.file, revision, name=name)
        pin = pins.Pin(sha256=found.sha256, commit=found.commit, size=found.size)
        # only what has come, and is what the Hub stated, is written down
        _fetch(place.repo, place.file, pin.commit, _with(weights, pin), name)
        pin = pins.record(place.repo, place.file, revision, pin)
        say(f"{name}: recorded the sha256 {pin.sha256[:12]}... of {place.repo} at {pin.commit[:12]}; it must stay that")
    return _with(weights, pin), pin.commit


def _with(weights: Weights, pin: pins.Pin) -> Weights:
    return msgspec.structs.replace(weights, sha256=pin.sha256, size=pin.size)


def _source_of(located: Located) -> tuple[str, str, str] | None:
    """Returns repository, commit and folder (`parts/NAME/` or nothing) of an entry in the client's cache."""

    for parent in [Path(located.folder), *Path(located.folder).parents] if located.folder else []:
        if parent.parent.name == "snapshots" and parent.parent.parent.name.startswith("models--"):
            repo = parent.parent.parent.name.removeprefix("models--").replace("--", "/", 1)
            inside = Path(located.folder).relative_to(parent).as_posix()
            return repo, parent.name, "" if inside == "." else f"{inside}/"
    return None


# --- files -----------------------------------------------------------------------------------------


def _fetch(repo: str, file: str, revision: str | None, weights: Weights | None = None, name: str = "") -> Path:
    """Returns a file of a repository, verified if `weights` say what it must be."""

    check_repo(repo, revision)
    if weights is None:
        return hubclient.download(repo, file, revision, name=name)[0]
    if weights.sha256 is None:
        raise WeightsError(
            f"the entry {name} gives no sha256 for {repo}/{file}", "weights from a Hub are only read if it does"
        )
    path, digest = hubclient.cached(repo, file, revision), None
    for _ in range(3):  # what the cache has, and two downloads
        if path is None:
            path, digest = hubclient.download(repo, file, revision, weights, name=name)
        try:
            reason = mismatch(path, weights, digest)
            if reason is None:
                read_header(path)  # bytes that the entry vouches for, but no weights: another try brings the same
                return path
        except WeightsError as e:
            hubclient.discard(path)
            raise WeightsError(e.what.replace(str(path), f"{repo}/{file}"), e.hint) from None
        except OSError as e:  # another process has refused the same file meanwhile
            reason = f"it left the cache ({e.strerror})"
        if hubclient.offline():
            break
        hubclient.discard(path)
        path = None
    raise WeightsError(
        f"{repo}/{file} is not what the entry {name} describes: {reason}",
        "it is not used; ask its publisher, or name another with --revision",
    )
