"""Files from a Hub: out of the cache where they are there, else fetched, checked, and only then given a name there.

The client writes into a hidden folder of ours. So no name that a server chooses reaches the cache, and nothing that is
not what it should be can be found in it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import huggingface_hub
from filelock import FileLock
from tqdm import tqdm  # type: ignore[import-untyped]

from ..console import progress, say
from ..entry import ENTRY_FILE, PARTS, check_part, read_entry
from ..errors import DgmError, RegistryError, WeightsError
from ..files.atomic import hidden
from ..files.safetensors import read_header
from ..files.verify import Mismatch, open_verified, remember
from . import first_fetch
from .cache import bytes_name, cached, check_repo, discard, hub_cache, is_commit, is_damaged, repo_folder, store
from .client import Head, NoFile, ask, explain, host, no_connection, offline, patiently

#: Bytes of a `model.yaml`.
MAX_ENTRY = 1_000_000
#: How many entries a model may be composed of, and how many seconds it may take to fetch them.
MAX_PARTS = 64
MAX_SECONDS = 600
#: A download may take ten minutes, and a second for so many bytes.
SLOWEST = 10_000


def fetch_text(repo: str, file: str, revision: str | None = None) -> Path:
    """Returns a small file of a repository in the cache, as it is now; without a connection as it was last seen.

    Raises a DgmError if it can't be had: a NoFile where the repository does not have it.
    """
    check_repo(repo, revision)
    here = cached(repo, file, revision, small=True)
    if here is not None and (is_commit(revision) or offline()):
        return here
    try:
        head = ask(repo, file, revision)
    except WeightsError as e:
        if here is not None and e.__cause__ is not None and no_connection(e.__cause__):
            return here
        raise
    if head.size is not None and head.size > MAX_ENTRY:
        what = f"{repo}/{file} has {head.size:,} bytes, an entry has at most {MAX_ENTRY:,}"
        raise RegistryError(what, "it was not fetched")
    return cached(repo, file, head.commit, small=True) or _download(repo, file, revision, head, MAX_ENTRY, None)


def fetch_weights(
    repo: str, file: str, revision: str | None, size: int | None, sha256: str | None, *, name: str
) -> tuple[Path, BinaryIO]:
    """Returns weights of a repository in the cache, and the file open: what is read from it was verified.

    What can be known before the first byte (that the file is there, and how large it is) is asked first, so a wrong
    file costs nothing. A damaged file leaves the cache and is fetched again; what comes damaged is fetched once more.

    Raises a WeightsError if they can't be had, or are not what the entry `name` says.
    """
    check_repo(repo, revision)
    if sha256 is None:
        what = f"the entry {name} gives no sha256 for {repo}/{file}"
        raise WeightsError(what, "weights from a Hub are only read if it does")
    path, reason = cached(repo, file, revision), ""
    for _ in range(2 + (path is not None)):
        try:
            here = path or _download_weights(repo, file, revision, size, sha256, name)
            return here, open_verified(here, size, sha256)
        except FileNotFoundError:  # another process has removed it meanwhile
            pass
        except Mismatch as e:
            reason = e.why
            # a file that is what its name says is no damage: the revision has moved on, or the entry is wrong
            if path is not None and not offline() and bytes_name(path) in (sha256, path.name):
                discard(path)
        if reason and offline():
            break
        path = None
    what = f"{repo}/{file} is not what the entry {name} describes: {reason or 'it left the cache'}"
    raise WeightsError(what, "it is not used; ask its publisher, or name another with --revision")


def fetch_first(repo: str, file: str, revision: str | None, *, name: str) -> first_fetch.Pin:
    """Returns what a file was when it was first fetched; fetches it now, and records it, if it never was.

    Raises a WeightsError if it can't be had, or the Hub states no sha256 of it.
    """
    known = first_fetch.find(repo, file, revision)
    if known is not None:
        return known
    head = ask(repo, file, revision, name, "was never fetched")
    if not re.fullmatch(r"[0-9a-f]{64}", head.etag):
        what = f"{host()} states no sha256 of {repo}/{file}, nor does the entry {name}"
        raise WeightsError(what, "weights that nobody vouches for are not read")
    # only what has come, and is what the Hub stated, is written down
    fetch_weights(repo, file, head.commit, head.size, head.etag, name=name)[1].close()
    made = first_fetch.Pin(sha256=head.etag, commit=head.commit, size=head.size)
    made = first_fetch.record(repo, file, revision, made)
    say(f"{name}: recorded the sha256 {made.sha256[:12]}... of {repo} at {made.commit[:12]}; it must stay that")
    return made


def fetch_entry(repo: str, revision: str | None = None) -> Path:
    """Fetches the entry of a Hub repository, with those of its parts, and returns its folder in the cache.

    Without a connection the last known state of the revision is used. Weights are fetched when they are needed.
    Without a revision it is the commit whose signature was checked, if one was.

    Raises a DgmError if the repository or its `model.yaml` can't be had, or it names more than a published entry may.
    """
    signed = first_fetch.find(repo, "model.sig", None) if revision is None else None
    try:
        folder = fetch_text(repo, ENTRY_FILE, signed.commit if signed else revision).parent
    except NoFile as e:
        what = f"{repo} holds no model.yaml: it is no dgm model"
        raise RegistryError(what, "see `dgm push` for what publishes one") from e
    ends = time.monotonic() + MAX_SECONDS
    names = read_entry(folder).part_names()
    for name in names:  # which grows
        check_part(name, repo)
        if len(set(names)) > MAX_PARTS or time.monotonic() > ends:
            what = f"{repo} is composed of more than {MAX_PARTS} entries, or they come too slowly"
            raise RegistryError(what, "ask its publisher")
        with suppress(NoFile):  # then it is an entry of the local registry
            part = fetch_text(repo, f"{PARTS}/{name}/{ENTRY_FILE}", folder.name)
            names += [n for n in read_entry(part).part_names() if n not in names]
    return folder


def _download_weights(repo: str, file: str, revision: str | None, size: int | None, sha256: str, name: str) -> Path:
    head = ask(repo, file, revision, name)
    if size is not None and head.size not in (None, size):
        what = f"{repo}/{file} has {head.size:,} bytes on the Hub, the entry {name} says {size:,}"
        raise WeightsError(what, "the file was not fetched; ask its publisher, or name another with --revision")
    limit = size or head.size
    if limit is None:
        what = f"neither the Hub nor the entry {name} says how large {repo}/{file} is"
        raise WeightsError(what, "it was not fetched; write weights.size into the entry")
    path = _download(repo, file, revision, head, limit, sha256, name)
    with suppress(DgmError):  # the Hub counts as downloads the questions for this file, if a repository has it
        ask(repo, "config.json", head.commit, name)
    return path


def _download(
    repo: str, file: str, revision: str | None, head: Head, limit: int, sha256: str | None, name: str = ""
) -> Path:
    """Fetches a file into a hidden folder, checks it there if it has a sha256, and returns its path in the cache."""
    folder = repo_folder(repo)
    blob, lock = folder / "blobs" / head.etag, Path(hub_cache(), ".locks", folder.name, f"{head.etag}.lock")

    def come(options: dict[str, Any]) -> None:
        came = Path(huggingface_hub.hf_hub_download(repo, file, **options))
        if sha256 is None and is_damaged(came, head.etag):
            came.unlink()
            raise OSError("not what its ETag says")  # as the client says it of a wrong size: it is asked for again

    try:
        for parent in (blob.parent, lock.parent):
            parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            here = cached(repo, file, head.commit)
            if here is not None and bytes_name(here) == head.etag:  # another process has fetched it meanwhile
                return here
            with hidden(blob, folder=True) as stage:
                label, seconds = name or f"{repo}/{file}", 600 + limit / SLOWEST
                with progress(label, head.size, "bytes") as advance:
                    options: Any = {"local_dir": stage, "cache_dir": stage.parent, "revision": head.commit}
                    options["tqdm_class"] = _meter(label, limit, time.monotonic() + seconds, advance)
                    patiently(lambda: come(options), seconds)
                if sha256 is not None:
                    with open_verified(stage / file, limit, sha256) as came:
                        read_header(came)
                path = store(stage / file, repo, file, revision, head.commit, head.etag)
            if sha256 is not None:
                remember(path, sha256)
            return path
    except Exception as e:
        raise explain(e, repo, file, revision, name) from e


def _meter(label: str, limit: int, ends: float, advance: Callable[[float], None]) -> type[Any]:
    """Returns a class for what the client reports its progress to: it passes it on, and ends what would never end.

    It is a `tqdm` that shows nothing. Of a file in Xet storage the client reports twice, what came and what was
    written, or to one bar that can take both.
    """
    received = 0.0

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any):
            super().__init__(disable=True, total=kwargs.get("total"))

        def update(self, n: float | None = 1) -> None:  # fewer than none where the client starts again
            nonlocal received
            received += max(n or 0, 0)
            if received > 3 * limit + (1 << 20):
                what = f"the server sends more of {label} than the {limit:,} bytes that it may have"
                raise WeightsError(what, "nothing was kept; try again later, or ask its publisher")
            if time.monotonic() > ends:
                what = f"{label} comes so slowly that it would not end"
                raise WeightsError(what, "nothing was kept; try again with a faster network")
            advance(n or 0)

        def update_transfer(self, n: float) -> None:
            pass

        def set_transfer_postfix_str(self, text: str, refresh: bool = True) -> None:
            pass

    return Bar
