"""The calls to `huggingface_hub`: bounded in time, with progress, their failures in two lines.

Works with every `huggingface_hub` from 0.30 on, whichever HTTP library that uses.
"""

from __future__ import annotations

import errno
import inspect
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ..errors import DgmError, RegistryError, UsageError, WeightsError

if TYPE_CHECKING:
    from ..entry import Weights

__all__ = [
    "NoFile",
    "brief",
    "cached",
    "discard",
    "download",
    "explain",
    "host",
    "no_connection",
    "offline",
    "patiently",
    "quiet",
    "stated",
    "status_of",
]

#: Seconds to wait before asking again after an answer that may be better next time.
DELAYS = (0.5, 1.5)
#: Bytes that are written at once.
CHUNK = 1 << 20
#: Bytes of a `model.yaml`.
MAX_ENTRY = 1_000_000
_TRANSIENT = (408, 429, 500, 502, 503, 504)
T = TypeVar("T")


class NoFile(RegistryError):
    """The repository is there, the file is not."""


def offline() -> bool:
    """Whether the user has switched the network off (`HF_HUB_OFFLINE`)."""

    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def host() -> str:
    """The address of the Hub."""

    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def cached(repo: str, file: str, revision: str | None) -> Path | None:
    """Returns a file of the client's cache, if it is there."""

    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, file, revision=revision)
    return Path(found) if isinstance(found, str) else None


def discard(path: Path) -> None:
    """Removes a file from the client's cache: the name in the snapshot and the bytes behind it."""

    behind = path.resolve()
    with suppress(OSError):
        path.unlink()
    if behind != path and behind.parent.name == "blobs":
        with suppress(OSError):
            behind.unlink()


class Stated(NamedTuple):
    """What the Hub says of a file: its sha256, its commit and its size."""

    sha256: str
    commit: str
    size: int | None


def stated(repo: str, file: str, revision: str | None, *, name: str = "") -> Stated:
    """Asks the Hub what a large file is, without fetching it.

    Raises:
        DgmError: If the Hub can't be asked, or states no sha256.
    """

    place = f"{repo}/{file}"
    if offline():
        raise _missing(f"{place} was never fetched, and the network is off (HF_HUB_OFFLINE)", repo, name)
    try:
        with quiet():
            head = patiently(lambda: _head(repo, file, revision), hung_up=True)
    except Exception as e:
        raise explain(e, host(), repo, file, revision, name) from e
    if not re.fullmatch(r"[0-9a-f]{64}", head.etag or "") or not head.commit_hash:
        raise WeightsError(
            f"{host()} states no sha256 of {place}, nor does the entry {name}",
            "weights that nobody vouches for are not read",
        )
    return Stated(head.etag, head.commit_hash, head.size)


def download(
    repo: str, file: str, revision: str | None, weights: Weights | None = None, *, name: str = ""
) -> tuple[Path, str | None]:
    """Returns a file of a repository, from the cache where it is current, and its sha256 if that is known.

    What can be known before the first byte (that the file is there, and how large it is) is asked first, so a wrong
    file costs nothing. Without a connection, or offline, the cache's last state counts.

    Raises:
        DgmError: In words for the user.
    """

    from huggingface_hub import hf_hub_download

    hub = host()
    place = f"{repo}/{file}"
    if offline():
        path = _from_cache(repo, file, revision)
        if path is None:
            raise _missing(f"{place} is not in the cache, and the network is off (HF_HUB_OFFLINE)", repo, name)
        return path, None
    try:
        with quiet():
            head = patiently(lambda: _head(repo, file, revision), hung_up=True)
    except Exception as e:
        path = _from_cache(repo, file, revision) if no_connection(e) else None
        if path is not None:
            return path, None
        raise explain(e, hub, repo, file, revision, name) from e
    if weights is None and head.size is not None and head.size > MAX_ENTRY:
        raise RegistryError(
            f"{place} has {head.size:,} bytes, an entry has at most {MAX_ENTRY:,}", "it was not fetched"
        )
    if weights is not None and weights.size is not None and head.size not in (None, weights.size):
        raise WeightsError(
            f"{place} has {head.size:,} bytes on the Hub, the entry {name} says {weights.size:,}",
            "the file was not fetched; ask its publisher, or name another with --revision",
        )
    from .following import Follower

    _sweep(repo)
    follower = Follower(_storage(repo) / "blobs", head.etag, label=name or place, total=head.size)
    extra = {}
    if "tqdm_class" in inspect.signature(hf_hub_download).parameters:
        extra["tqdm_class"] = follower.bar
    try:
        with quiet(), _finer(), follower:
            path = Path(patiently(lambda: hf_hub_download(repo, file, revision=revision, **extra)))
            return path, follower.sha256_of(path)
    except Exception as e:
        raise explain(e, hub, repo, file, revision, name) from e


def _head(repo: str, file: str, revision: str | None) -> Any:
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url

    return get_hf_file_metadata(hf_hub_url(repo, file, revision=revision), timeout=constants.HF_HUB_ETAG_TIMEOUT)


def _from_cache(repo: str, file: str, revision: str | None) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repo, file, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def _storage(repo: str) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"


def _sweep(repo: str) -> None:
    """Removes what killed downloads left behind; those that are still running hold a lock."""

    from filelock import FileLock, Timeout

    storage = _storage(repo)
    for left in storage.glob("blobs/*.*.incomplete"):
        etag = left.name.split(".")[0]
        lock = storage.parent / ".locks" / storage.name / f"{etag}.lock"
        with suppress(OSError, Timeout, NotImplementedError), FileLock(lock, timeout=0):
            left.unlink()


# --- patience, quiet, and words --------------------------------------------------------------------


def patiently(call: Callable[[], T], *, hung_up: bool = False) -> T:
    """Calls; after an answer that may be better next time, waits and calls again, twice at most.

    Arguments:
        call: What to do.
        hung_up: Whether a server that hung up is asked again; for downloads the client does that itself.
    """

    for delay in DELAYS:
        try:
            return call()
        except Exception as e:
            if not _passing(e) and not (hung_up and _hung_up(e)):
                raise
            time.sleep(delay)
    return call()


def _passing(error: BaseException) -> bool:
    """Whether an answer may be better in a moment."""
    return status_of(error) in _TRANSIENT or "Consistency check failed" in str(error)


def _hung_up(error: BaseException) -> bool:
    return any(type(e).__name__ in ("RemoteProtocolError", "RemoteDisconnected", "ReadError") for e in _chain(error))


@contextmanager
def quiet() -> Iterator[None]:
    """Silences the client's own log and bars, unless the user asked for its log."""

    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    logger = logging.getLogger("huggingface_hub")
    level, bars = logger.level, not are_progress_bars_disabled()
    if not os.environ.get("HF_HUB_VERBOSITY") and not os.environ.get("HF_DEBUG"):
        logger.setLevel(logging.CRITICAL)
    if bars:
        disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(level)
        if bars:
            enable_progress_bars()


@contextmanager
def _finer() -> Iterator[None]:
    """Makes the client write every megabyte instead of every ten: progress is seen, and hashing can follow."""

    from huggingface_hub import constants

    usual = getattr(constants, "DOWNLOAD_CHUNK_SIZE", None)
    if usual is None:
        yield
        return
    constants.DOWNLOAD_CHUNK_SIZE = min(usual, CHUNK)
    try:
        yield
    finally:
        constants.DOWNLOAD_CHUNK_SIZE = usual


def status_of(error: BaseException) -> int | None:
    """Returns the HTTP status behind a failure, if there is one."""

    for e in _chain(error):
        code = getattr(getattr(e, "response", None), "status_code", None)
        if code is not None:
            return int(code)
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen = 0
    while error is not None and seen < 10:
        yield error
        error, seen = error.__cause__ or error.__context__, seen + 1


_HTTP_LIBRARIES = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3")


def no_connection(error: BaseException) -> bool:
    """Whether the Hub could not be reached, or does not work, rather than said no."""

    status = status_of(error)
    if status is not None:
        return status >= 500
    return any(type(e).__module__.split(".")[0] in _HTTP_LIBRARIES or isinstance(e, ConnectionError)
               for e in _chain(error))  # fmt: skip


def explain(
    error: BaseException, hub: str, repo: str, file: str = "", revision: str | None = None, name: str = ""
) -> DgmError:
    """Turns a failure of the client into an error for the user."""

    if isinstance(error, DgmError):
        return error
    kinds = {kind.__name__ for kind in type(error).__mro__}
    place, at = f"{repo}/{file}" if file else repo, f" at revision {revision}" if revision else ""
    status = status_of(error)
    token = "set HF_TOKEN to a token with access, or run: hf auth login"
    if "HFValidationError" in kinds:
        return UsageError(f"{repo} is no name of a Hub repository", "write USER/REPO")
    if "GatedRepoError" in kinds:
        return WeightsError(f"{repo} is restricted", f"ask for access on {hub}/{repo}, then {token}")
    if "RevisionNotFoundError" in kinds:
        return RegistryError(f"{repo} has no revision {revision}", f"see {hub}/{repo} for its branches, tags, commits")
    if "EntryNotFoundError" in kinds and "LocalEntryNotFoundError" not in kinds:
        return NoFile(f"{repo} has no file {file}{at}", f"see {hub}/{repo} for what it has")
    if "RepositoryNotFoundError" in kinds:
        return RegistryError(f"there is no repository {repo} on {hub}", f"check the name; if it is private, {token}")
    if status in (401, 403):
        return WeightsError(f"{hub} refused access to {place} ({status})", token)
    if status == 429:
        return WeightsError(f"{hub} asks to slow down (429), {place} is missing", "try again in some minutes")
    if status is not None:
        return WeightsError(f"{hub} answered {status}, {place} is missing", _again(name, "try again later"))
    for e in _chain(error):
        if isinstance(e, OSError) and e.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return WeightsError(f"no space left for {place}", "free some disk space, or set HF_HOME to another disk")
        if isinstance(e, OSError) and e.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            return WeightsError(
                f"can't write {place} into the cache: {e.filename or e.strerror}", "set HF_HOME to a writable folder"
            )
    if "Consistency check failed" in str(error):
        return WeightsError(f"{place} came incomplete, more than once", _again(name, "try again later"))
    if any("Timeout" in type(e).__name__ for e in _chain(error)):
        return WeightsError(f"{hub} did not answer in time, {place} is missing", _again(name, "try again later"))
    if no_connection(error):
        return WeightsError(
            f"no connection to {hub} ({brief(error)}), {place} is missing", _again(name, "check the network")
        )
    return WeightsError(f"can't fetch {place}: {brief(error)}", "run again with --debug for the traceback")


def _again(name: str, hint: str) -> str:
    return f"{hint}, then: dgm pull {name}" if name else hint


def _missing(what: str, repo: str, name: str) -> WeightsError:
    return WeightsError(what, f"with a network, and HF_HUB_OFFLINE unset: dgm pull {name or f'hf://{repo}'}")


def brief(error: BaseException) -> str:
    """The first sentence of an error, without addresses and request numbers."""

    text = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return re.sub(r"\s*\(?(https?://\S+|Request ID:.*)", "", text).strip()[:160] or type(error).__name__


REPO = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9_])?/[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")


REVISION = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")


def check_repo(repo: str, revision: str | None = None) -> str:
    """Returns the name of a repository, if it and that of its revision are names on a Hub.

    Raises:
        UsageError: If not.
    """

    if not REPO.fullmatch(repo) or "--" in repo or ".." in repo or repo.endswith(".git") or len(repo) > 96:
        raise UsageError(f"{repo[:200]} is no name of a Hub repository", "write USER/REPO")
    if revision is not None and (not REVISION.fullmatch(revision) or ".." in revision or len(revision) > 200):
        raise UsageError(f"{revision[:200]} is no revision of {repo}", "name a commit, a tag or a branch")
    return repo
