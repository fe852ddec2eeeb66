"""Names from elsewhere become names of files and folders: what is no plain name is refused."""

from __future__ import annotations

import re

from ..errors import RegistryError, UsageError, WeightsError

__all__ = ["check_head", "check_parts", "check_repo"]

_REPO = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9_])?/[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_REVISION = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._+-]*(/[A-Za-z0-9_-][A-Za-z0-9._+-]*)*")
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,200}")


def check_repo(repo: str, revision: str | None = None) -> str:
    """Returns the name of a repository, if it and that of its revision are names on a Hub.

    Raises:
        UsageError: If not.
    """
    if not _REPO.fullmatch(repo) or "--" in repo or ".." in repo or repo.endswith(".git") or len(repo) > 96:
        raise UsageError(f"{repo[:200]} is no name of a Hub repository", "write USER/REPO")
    if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision or len(revision) > 200):
        raise UsageError(f"{revision[:200]} is no revision of {repo}", "name a commit, a tag or a branch")
    return repo


def check_head(etag: str, commit: str, host: str, file: str) -> None:
    """Refuses what a server says of a file, called `file`, with a :class:`WeightsError` if it is no plain name."""
    if not _PLAIN.fullmatch(etag) or not _PLAIN.fullmatch(commit):
        what = f"{host} says of {file} what no Hub says: {f'ETag {etag}, commit {commit}'!a:.100}"
        raise WeightsError(what, "nothing was fetched; check HF_ENDPOINT and the network")


def check_parts(names: list[str], repo: str) -> list[str]:
    """Returns the names of the parts of an entry of `repo`, if they are bare: a stranger's lead to no other place.

    Raises:
        RegistryError: If one is a path, an address or a full name.
    """
    odd = next((name for name in names if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name)), None)
    if odd is not None:
        what = f"an entry of {repo} names the part {odd[:100]!r}, which is no bare name"
        raise RegistryError(what, "it is not followed; ask its publisher to publish it with `dgm push`")
    return names
