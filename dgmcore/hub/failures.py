"""What went wrong between us and a Hub, in two lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

from ..errors import DgmError, RegistryError, UsageError, WeightsError
from ..files.errno_hints import NO_RIGHTS, NO_SPACE, hint_of

__all__ = ["NoFile", "brief", "explain", "hung_up", "is_passing", "no_connection", "status_of"]

_TRANSIENT = (408, 429, 500, 502, 503, 504)
_LOGIN = "set HF_TOKEN to a token with access, or run: hf auth login"


class NoFile(RegistryError):
    """The repository is there, the file is not."""


def explain(error: BaseException, repo: str, file: str = "", revision: str | None = None, name: str = "") -> DgmError:
    """Turns a failure of the client into an error for the user.

    Arguments:
        error: What the client raised.
        repo: The repository.
        file: The file in it that was asked for.
        revision: The revision that was asked for.
        name: The entry that wants the file, for the hint.
    """

    from huggingface_hub import constants

    if isinstance(error, DgmError):
        return error
    hub, place = constants.ENDPOINT, f"{repo}/{file}" if file else repo
    at = f" at revision {revision}" if revision else ""
    for raised, kind, what, hint in _table():
        if isinstance(error, raised):
            words = {"hub": hub, "repo": repo, "file": file, "at": at, "revision": revision}
            return kind(what.format(**words), hint.format(**words))
    for e in _chain(error):
        if isinstance(e, OSError) and e.errno in NO_SPACE:
            return WeightsError(f"no space left for {place}", hint_of(e, "HF_HOME", ""))
        if isinstance(e, OSError) and (e.errno in NO_RIGHTS or isinstance(e, (NotADirectoryError, FileExistsError))):
            return WeightsError(
                f"can't write {place} into the cache: {e.filename or e.strerror}", "set HF_HOME to a writable folder"
            )
    again = f"{{}}, then: dgm pull {name}" if name else "{}"
    reason, hint = _reason(error, hub)
    return WeightsError(f"{reason}, {place} is missing", hint if hint == _LOGIN else again.format(hint))


def _table() -> Iterator[tuple[type[Exception], type[DgmError], str, str]]:
    """Yields the client's exceptions, and for each the error, what it says and its hint; the first that fits counts."""

    from huggingface_hub import errors

    yield (
        errors.HFValidationError,
        UsageError,
        "{repo} is no name of a Hub repository",
        "write USER/REPO",
    )
    yield (
        errors.GatedRepoError,
        WeightsError,
        "{repo} is restricted",
        f"ask for access on {{hub}}/{{repo}}, then {_LOGIN}",
    )
    yield (
        errors.RevisionNotFoundError,
        RegistryError,
        "{repo} has no revision {revision}",
        "see {hub}/{repo} for its branches, tags, commits",
    )
    yield (
        errors.RemoteEntryNotFoundError,
        NoFile,
        "{repo} has no file {file}{at}",
        "see {hub}/{repo} for what it has",
    )
    yield (
        errors.RepositoryNotFoundError,
        RegistryError,
        "there is no repository {repo} on {hub}",
        f"check the name; if it is private, {_LOGIN}",
    )


def _reason(error: BaseException, hub: str) -> tuple[str, str]:
    """Returns why something could not be had, and what to do."""

    status = status_of(error)
    if status in (401, 403):
        return f"{hub} refused access ({status})", _LOGIN
    if status == 429:
        return f"{hub} asks to slow down (429)", "try again in some minutes"
    if status is not None:
        return f"{hub} answered {status}", "try again later"
    if _is_incomplete(error):
        return "the file came incomplete, more than once", "try again later"
    if any(isinstance(e, (_http().TimeoutException, TimeoutError)) for e in _chain(error)):
        return f"{hub} did not answer in time", "try again later"
    if no_connection(error):
        return f"no connection to {hub} ({brief(error)})", "check the network"
    return f"the download failed ({brief(error)})", "try again; HF_HUB_DISABLE_XET=1 fetches it another way"


def status_of(error: BaseException) -> int | None:
    """Returns the HTTP status behind a failure, if there is one."""

    from huggingface_hub.errors import HfHubHTTPError

    return next((e.response.status_code for e in _chain(error) if isinstance(e, HfHubHTTPError)), None)


def no_connection(error: BaseException) -> bool:
    """Whether the Hub could not be reached, or does not work, rather than said no."""

    status = status_of(error)
    if status is not None:
        return status >= 500
    return any(isinstance(e, (_http().HTTPError, ConnectionError)) for e in _chain(error))


def is_passing(error: BaseException) -> bool:
    """Whether an answer may be better in a moment."""

    return status_of(error) in _TRANSIENT or _is_incomplete(error)


def hung_up(error: BaseException) -> bool:
    """Whether the other side closed the connection in the middle."""

    return any(isinstance(e, (_http().RemoteProtocolError, _http().ReadError)) for e in _chain(error))


def brief(error: BaseException) -> str:
    """Returns the first sentence of an error, without addresses and request numbers."""

    text = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return re.sub(r"\s*\(?(https?://\S+|Request ID:.*)", "", text).strip()[:160] or type(error).__name__


def _is_incomplete(error: BaseException) -> bool:
    """Whether a file came with another size than was announced: the client raises a bare `OSError` then."""

    return type(error) is OSError and error.errno is None


def _http() -> ModuleType:
    """Returns the client's HTTP library: `httpx` or, of its second version, `httpx2`."""

    from huggingface_hub.errors import HfHubHTTPError

    return import_module(HfHubHTTPError.__bases__[0].__module__.partition(".")[0])


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen = 0
    while error is not None and seen < 10:
        yield error
        error, seen = error.__cause__ or error.__context__, seen + 1
