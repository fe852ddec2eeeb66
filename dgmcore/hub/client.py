"""The calls to `huggingface_hub`, with patience and without its talk."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import huggingface_hub
from huggingface_hub import constants

from ..errors import WeightsError
from ..guards.names import check_head, check_repo
from .failures import explain, is_passing

#: Seconds to wait before asking again after an answer that may be better next time.
DELAYS = (0.5, 1.5)
T = TypeVar("T")


def offline() -> bool:
    """Whether the user has switched the network off (`HF_HUB_OFFLINE`)."""
    return bool(constants.HF_HUB_OFFLINE)


def host() -> str:
    """Returns the address of the Hub."""
    return str(constants.ENDPOINT)


class Head(NamedTuple):
    """What the Hub says of a file: the name of its bytes (the sha256 of large ones), its commit and its size."""

    etag: str
    commit: str
    size: int | None


def ask(repo: str, file: str, revision: str | None, name: str = "", lack: str = "is not in the cache") -> Head:
    """Asks the Hub what a file is, without fetching it; `name` is the entry that wants it, for the hint.

    Raises:
        DgmError: In words for the user. What the Hub says becomes names of files: it is refused if it is no plain name.
            Without a network: with what the file lacks.
    """
    check_repo(repo, revision)
    if offline():
        hint = f"with a network, and HF_HUB_OFFLINE unset: dgm pull {name or f'hf://{repo}'}"
        raise WeightsError(f"{repo}/{file} {lack}, and the network is off (HF_HUB_OFFLINE)", hint)
    url = huggingface_hub.hf_hub_url(repo, file, revision=revision)
    timeout = constants.HF_HUB_ETAG_TIMEOUT
    try:
        with quiet():
            found = patiently(lambda: huggingface_hub.get_hf_file_metadata(url, timeout=timeout))
    except Exception as e:
        raise explain(e, repo, file, revision, name) from e
    etag, commit = found.etag or "", found.commit_hash or ""
    check_head(etag, commit, host(), f"{repo}/{file}")
    return Head(etag, commit, found.size)


def patiently(call: Callable[[], T]) -> T:
    """Calls; after an answer that may be better next time, or none, waits and calls again, twice at most."""
    for delay in DELAYS:
        try:
            return call()
        except Exception as e:
            if not is_passing(e):
                raise
            time.sleep(delay)
    return call()


@contextmanager
def quiet() -> Iterator[None]:
    """Silences the client's own log, unless the user asked for it, and its bars where nobody sees them."""
    utils: Any = huggingface_hub.utils
    logger = logging.getLogger("huggingface_hub")
    level, bars = logger.level, not sys.stderr.isatty() and not utils.are_progress_bars_disabled()
    if not os.environ.get("HF_HUB_VERBOSITY") and not os.environ.get("HF_DEBUG"):
        logger.setLevel(logging.CRITICAL)
    if bars:
        utils.disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(level)
        if bars:
            utils.enable_progress_bars()
