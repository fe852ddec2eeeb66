"""Where the Hugging Face cache is, and what it knows, without importing `huggingface_hub`."""

from __future__ import annotations

import os

__all__ = ["commit_of", "hub_cache"]


def commit_of(folder: str, revision: str) -> str | None:
    """Returns the commit that the cache knows for a branch or tag."""

    try:
        with open(os.path.join(folder, "refs", revision), encoding="ascii") as file:
            return file.read(64).strip()
    except (OSError, ValueError):
        return None


def hub_cache() -> str:
    """Returns the folder of the Hugging Face cache, as `huggingface_hub` decides it, without importing that."""

    environ = os.environ
    home = environ.get("HF_HOME") or os.path.join(environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    folder = environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE") or os.path.join(home, "hub")
    return os.path.expanduser(os.path.expandvars(folder))
