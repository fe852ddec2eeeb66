"""The calls to `huggingface_hub`, with patience but not for ever; and what went wrong with them, in two lines."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from importlib import import_module
from typing import Any, NamedTuple, TypeVar

import huggingface_hub
from huggingface_hub import constants, errors

from ..errors import DgmError, RegistryError, UsageError, WeightsError
from ..suggestions import NO_RIGHTS, NO_SPACE, hint_of
from .cache import HUB, check_repo

if not HUB.fullmatch(constants.ENDPOINT):  # before the client takes it apart
    raise UsageError("HF_ENDPOINT is no address of a Hub", "set it to https://... or unset it")

DELAYS = (0.5, 1.5)  # seconds to wait before asking again after an answer that may be better next time
ANSWER = 120.0  # seconds that an answer may take, however steadily it comes
T = TypeVar("T")
#: The client's HTTP library: `httpx`, or `httpx2` from its second version on.
_http: Any = import_module(errors.HfHubHTTPError.__bases__[0].__module__.partition(".")[0])

_LATER = (408, 429, 500, 502, 503, 504)
_LOGIN = "set HF_TOKEN to a token with access, or run: hf auth login"
_WAIT = "wait some minutes"


def offline() -> bool:
    """Whether the user has switched the network off (`HF_HUB_OFFLINE`)."""
    return bool(constants.HF_HUB_OFFLINE)


def host() -> str:
    """Returns the address of the Hub as it may be shown: without a password."""
    return re.sub(r"//[^/@]*@", "//***@", str(constants.ENDPOINT))


class Head(NamedTuple):
    """What the Hub says of a file: the name of its bytes (the sha256 of large ones), its commit and its size."""

    etag: str
    commit: str
    size: int | None


def ask(repo: str, file: str, revision: str | None, name: str = "", lack: str = "is not in the cache") -> Head:
    """Asks the Hub what a file is, without fetching it; `name` is the entry that wants it, for the hint.

    Raises a DgmError in words for the user, also where what the Hub says is no plain name; offline with `lack`.
    """
    check_repo(repo, revision)
    if offline():
        hint = f"with a network, and HF_HUB_OFFLINE unset: dgm pull {name or f'hf://{repo}'}"
        raise WeightsError(f"{repo}/{file} {lack}, and the network is off (HF_HUB_OFFLINE)", hint)
    url = huggingface_hub.hf_hub_url(repo, file, revision=revision)
    try:
        found = patiently(lambda: huggingface_hub.get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT))
    except Exception as e:
        raise explain(e, repo, file, revision, name) from e
    etag, commit = found.etag or "", found.commit_hash or ""
    if not all(re.fullmatch(r"[A-Za-z0-9_-]{1,200}", name) for name in (etag, commit)):  # names of files to be
        what = f"{host()} says of {repo}/{file} what no Hub says: {f'ETag {etag}, commit {commit}'!a:.100}"
        raise WeightsError(what, "nothing was fetched; check HF_ENDPOINT and the network")
    route = found.xet_file_data.refresh_route if found.xet_file_data else url  # the client sends the token there
    if not route.startswith(f"{constants.ENDPOINT}/"):
        raise WeightsError(f"{host()} sends the token for {repo}/{file} elsewhere", "it is not sent; check HF_ENDPOINT")
    return Head(etag, commit, found.size)


def patiently(call: Callable[[], T], seconds: float | None = None) -> T:
    """Calls; after an answer that may be better next time, or none, waits and calls again, twice at most."""
    for delay in DELAYS:
        try:
            return _within(seconds or ANSWER, call)
        except Exception as e:
            cut = any(isinstance(e, (_http.RemoteProtocolError, _http.ReadError)) for e in _chain(e))
            if not (cut or status_of(e) in _LATER or _is_incomplete(e)):
                raise
            time.sleep(delay)
    return _within(seconds or ANSWER, call)


def _within(seconds: float, call: Callable[[], T]) -> T:
    """Waits no longer than so many seconds: the client's own timeouts are those between two bytes."""
    answer: Future[T] = Future()

    def work() -> None:
        try:
            answer.set_result(call())
        except BaseException as e:
            answer.set_exception(e)

    threading.Thread(target=work, daemon=True).start()
    return answer.result(seconds)


class NoFile(RegistryError):
    """The repository is there, the file is not."""


def explain(error: BaseException, repo: str, file: str, revision: str | None = None, name: str = "") -> DgmError:
    """Turns a failure of the client to get a file into an error for the user; `name` is the entry that wants it."""
    hub, page = host(), f"see {host()}/{repo} for"
    match error:
        case DgmError():
            return error
        case errors.GatedRepoError():
            return WeightsError(f"{repo} is restricted", f"ask for access on {hub}/{repo}, then {_LOGIN}")
        case errors.RevisionNotFoundError():
            return RegistryError(f"{repo} has no revision {revision}", f"{page} those it has")
        case errors.RemoteEntryNotFoundError():
            at = f" at revision {revision}" if revision else ""
            return NoFile(f"{repo} has no file {file}{at}", f"{page} what it has")
        case errors.RepositoryNotFoundError():
            hint = f"check the name; if it is private, {_LOGIN}"
            return RegistryError(f"there is no repository {repo} on {hub}", hint)
    for e in (e for e in _chain(error) if isinstance(e, OSError)):
        if e.errno in NO_SPACE:
            return WeightsError(f"no space left for {repo}/{file}", hint_of(e, "HF_HOME", ""))
        if e.errno in NO_RIGHTS or isinstance(e, (NotADirectoryError, FileExistsError)):
            what = f"can't write {repo}/{file} into the cache: {e.filename or e.strerror}"
            return WeightsError(what, "set HF_HOME to a writable folder")
    reason, hint = _reason(error)
    return WeightsError(f"{reason}, {repo}/{file} is missing", f"{hint}, then: dgm pull {name}" if name else hint)


def _reason(error: BaseException) -> tuple[str, str]:
    """Returns why something could not be had, and what to do."""
    hub, status = host(), status_of(error)
    if status in (401, 403):
        return f"{hub} refused access ({status})", _LOGIN
    if status == 429:
        return f"{hub} asks to slow down (429)", _WAIT
    if status is not None:
        return f"{hub} answered {status}", _WAIT
    if _is_incomplete(error):
        return "the file came incomplete or damaged, more than once", _WAIT
    if any(isinstance(e, (_http.TimeoutException, TimeoutError)) for e in _chain(error)):
        return f"{hub} did not answer in time", _WAIT
    if no_connection(error):
        return f"no connection to {hub} ({brief(error)})", "check the network"
    return f"the download failed ({brief(error)})", "set HF_HUB_DISABLE_XET=1 to fetch it another way"


def status_of(error: BaseException) -> int | None:
    """Returns the HTTP status behind a failure, if there is one."""
    return next((e.response.status_code for e in _chain(error) if isinstance(e, errors.HfHubHTTPError)), None)


def no_connection(error: BaseException) -> bool:
    """Whether the Hub could not be reached, or does not work, rather than said no."""
    status = status_of(error)
    if status is not None:
        return status >= 500
    return any(isinstance(e, (_http.HTTPError, ConnectionError)) for e in _chain(error))


def brief(error: BaseException) -> str:
    """Returns the first sentence of an error, without addresses and request numbers."""
    text = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return re.sub(r"\s*[('\"]*(https?://[^\s'\"]+['\"]?|Request ID:.*)", "", text).strip()[:160] or type(error).__name__


def _is_incomplete(error: BaseException) -> bool:
    """Whether a file came with another size than was announced: the client raises a bare `OSError` then."""
    return type(error) is OSError and error.errno is None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yields an error and those behind it, ten at most, as they may go in a circle."""
    for _ in range(10):
        if error is not None:
            yield error
            error = error.__cause__ or error.__context__
