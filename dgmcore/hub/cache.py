"""The Hugging Face cache: where it is, and what is in it, without importing `huggingface_hub`.

Its layout is documented [1]: in the folder of a repository, `refs/BRANCH` holds a commit, and `snapshots/COMMIT/FILE`
is a link to the bytes, `blobs/ETAG`.

References:
    [1] https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path

from ..errors import UsageError
from ..files.atomic import replacing

_REPO = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9_])?/[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_REVISION = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._+-]*(/[A-Za-z0-9_-][A-Za-z0-9._+-]*)*")
_PORT = r"([0-5]?[0-9]{1,4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"

#: An address that `HF_ENDPOINT` may have.
HUB = re.compile(rf"https?://([^/\s@]*@)?[^/\s@:]+(:{_PORT})?(/[^\s?#]*)?")


def hub_cache() -> str:
    """Returns the folder of the Hugging Face cache, as `huggingface_hub` decides it."""
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    folder = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or os.path.join(home, "hub")
    return os.path.expanduser(os.path.expandvars(folder))


def check_repo(repo: str, revision: str | None = None) -> None:
    """Refuses, with a :class:`UsageError`, what is no name of a repository, or of a revision, on a Hub."""
    if not _REPO.fullmatch(repo) or "--" in repo or ".." in repo or repo.endswith(".git") or len(repo) > 96:
        raise UsageError(f"{repo[:200]} is no name of a Hub repository", "write USER/REPO")
    if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision or len(revision) > 200):
        raise UsageError(f"{revision[:200] or '@'} is no revision of {repo}", "name a commit, a tag or a branch")


def split_address(name: str) -> tuple[str, str | None]:
    """Returns the repository and the revision that `hf://USER/REPO@REVISION` names; raises as :func:`check_repo`."""
    repo, at, revision = name.removeprefix("hf://").partition("@")
    check_repo(repo, revision if at else None)
    return repo, revision if at else None


def repo_folder(repo: str) -> Path:
    """Returns the folder of a repository `USER/REPO`."""
    return Path(hub_cache(), f"models--{repo.replace('/', '--')}")


def source_of(folder: Path) -> tuple[str, str, str] | None:
    """Returns repository, commit and folder (such as `parts/NAME/`, or nothing) of a folder in a snapshot."""
    for parent in (folder, *folder.parents):
        if parent.parent.name == "snapshots" and parent.parent.parent.name.startswith("models--"):
            repo = parent.parent.parent.name.removeprefix("models--").replace("--", "/", 1)
            inside = folder.relative_to(parent).as_posix()
            return repo, parent.name, "" if inside == "." else f"{inside}/"
    return None


def is_commit(revision: str | None) -> bool:
    """Whether a revision is a whole commit, which never changes, rather than a branch or a tag."""
    return revision is not None and re.fullmatch(r"[0-9a-f]{40}", revision) is not None


def cached(repo: str, file: str, revision: str | None, *, small: bool = False) -> Path | None:
    """Returns a file of a repository, as it was when the revision was last asked for; None if it is not there.

    A small one is read: if it is damaged, it leaves the cache.
    """
    folder, commit = repo_folder(repo), ""
    with suppress(OSError, ValueError):
        commit = (folder / "refs" / (revision or "main")).read_text(encoding="ascii").strip()
    for name in (commit if re.fullmatch(r"[0-9a-zA-Z]{1,64}", commit) else None, revision):
        if name and (path := folder / "snapshots" / name / file).is_file():
            if not (small and is_damaged(path, bytes_name(path))):
                return path
            discard(path)
    return None


def store(file: Path, repo: str, name: str, revision: str | None, commit: str, etag: str) -> Path:
    """Moves a fetched file to the bytes in the cache, and returns its path there: the file `name` of a commit."""
    folder = repo_folder(repo)
    path, blob = folder / "snapshots" / commit / name, folder / "blobs" / etag
    path.parent.mkdir(parents=True, exist_ok=True)
    os.replace(file, blob)
    path.unlink(missing_ok=True)
    try:
        path.symlink_to(os.path.relpath(blob, path.parent))
    except FileExistsError:  # another process was as fast
        pass
    except OSError:  # no links here: the file itself lies in the snapshot
        os.replace(blob, path)
    if not is_commit(revision):
        with replacing(folder / "refs" / (revision or "main")) as ref:
            ref.write(commit.encode())
    return path


def discard(path: Path) -> None:
    """Removes a file from the cache: the name in the snapshot, and the bytes and links that it leads to."""
    while True:
        behind = path.parent / os.readlink(path) if path.is_symlink() else None
        with suppress(OSError):
            path.unlink()
        if behind is None or hub_cache() not in os.path.abspath(behind):
            return
        path = behind


def bytes_name(path: Path) -> str:
    """Returns what the bytes of a file are called: its ETag where links lead there, else its own name."""
    return os.path.basename(os.readlink(path)) if path.is_symlink() else path.name


def is_damaged(path: Path, etag: str) -> bool:
    """Whether a small file is not what its ETag says: git's SHA-1 of it, or the sha256 of what is stored as large."""
    data = path.read_bytes()
    git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    return bool(re.fullmatch(r"[0-9a-f]{40,64}", etag)) and etag not in (git, hashlib.sha256(data).hexdigest())
