"""What errors offer: the nearest known name, what to do about a refusal of the system, and what to install."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Iterator
from typing import Any

MAX_WORD = 200  # a longer word is no misspelling, and comparing takes its time
LIKENESS = 0.65  # of difflib's ratio: what is farther fetched helps nobody


def nearest(word: str, known: Iterable[str], n: int = 3) -> list[str]:
    """Returns up to `n` of the `known` words, the nearest to `word` first; those that it is a part of are near too.

    Example:
        >>> nearest("flow", ["flows", "glow-fashion", "vaeflow-fashion", "ddpm-moons"])
        ['flows', 'vaeflow-fashion']
    """
    from difflib import get_close_matches  # imported on failure only

    if len(word) > MAX_WORD:
        return []
    names = {name.lower(): name for name in sorted(set(known), reverse=True)}
    close = get_close_matches(word.lower(), names, n, LIKENESS)
    whole = [name for name in names if len(word) > 2 and word.lower() in name and name not in close]
    return [names[name] for name in [*close, *sorted(whole)][:n]]


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "", *, n: int = 3) -> str:
    """Returns a hint that offers up to `n` of the known words, the nearest to `word` first.

    Arguments:
        word: What was written.
        known: What could have been meant.
        otherwise: The hint where none is near; by default all that are known.
        n: How many are offered at most.
    """
    known = sorted(known)
    close = nearest(word, known, n)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return otherwise or (f"known: {', '.join(known)}" if known else "none are known")


def words_at(info: Any, path: str) -> list[str]:
    """Returns the words that are known at a path, such as `a[...].b`, inside a type: keys of a struct, or choices."""
    kinds = [info]
    for part in re.findall(r"[A-Za-z_]\w*|\[[^\]]*\]", path):
        kinds = [inner for kind in kinds for inner in _inside(kind, part)]
    keys = [f.encode_name for kind in kinds for f in getattr(kind, "fields", ())]
    return keys + [str(value) for kind in kinds for value in getattr(kind, "values", ())]


def _inside(kind: Any, part: str) -> Iterator[Any]:
    """Yields the types of a field `part`, or of the elements (`[...]`), of one of msgspec's types; of a union all."""
    if part.startswith("["):
        inner = [getattr(kind, name) for name in ("item_type", "value_type") if hasattr(kind, name)]
        inner += getattr(kind, "item_types", ())[:1]
    else:
        inner = [f.type for f in getattr(kind, "fields", ()) if f.encode_name == part]
    for one in inner:
        yield from getattr(one, "types", (one,))


# --- of the system ----------------------------------------------------------------------------------

NO_SPACE = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})
NO_RIGHTS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_HINTS = {
    **dict.fromkeys(NO_SPACE, "free some disk space, or choose another disk"),
    **dict.fromkeys(NO_RIGHTS, "check the permissions, or choose a folder that you may write to"),
    errno.EISDIR: "it is a folder: choose the name of a file",
    errno.ENOTDIR: "it is, or lies in, a file: choose another name",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOENT: "check the path",
}


def hint_of(error: OSError, setting: str, other: str) -> str:
    """Returns what to do about a failure of the system: `setting`, such as `--out`, chooses the place; else `other`."""
    hint = _HINTS.get(error.errno or 0)
    return f"{hint} with {setting}" if hint and error.errno != errno.ENOENT else hint or other


# --- what is not installed --------------------------------------------------------------------------

#: The distributions that bring calls and commands that the core has a name for.
PACKAGES = {
    **dict.fromkeys(("train", "finetune", "describe_architecture", "list_architectures", "recipe"), "dgm-train"),
    **dict.fromkeys(("place_of_process", "join_processes", "agree", "pour_together"), "dgm-train"),
    **dict.fromkeys(("eval", "stats", "evaluate", "extractor", "compare", "differences"), "dgm-eval"),
    **dict.fromkeys(("push", "pull_signed"), "dgm-publish"),
    **dict.fromkeys(("replay", "describe_file", "requirements", "digest"), "dgm-replay"),
    **dict.fromkeys(("verify", "rm", "cache", "schema"), "dgm-replay"),
    **dict.fromkeys(("export", "as_distribution", "write_figure", "preview"), "dgm-export"),
    **dict.fromkeys(("serve", "page"), "dgm-serve"),
    **dict.fromkeys(("given", "asked", "invert", "metropolis"), "dgm-given"),
    **dict.fromkeys(("interpolate", "reconstruct", "animate", "save_gif"), "dgm-latent"),
    **dict.fromkeys(("open_pictures", "read_picture", "read_file", "read_csv"), "dgm-data"),
    **dict.fromkeys(
        ("new-plugin", "check-plugin", "check_model", "parametrize_with_checks", "summarize"), "dgm-authors"
    ),
}

#: What a user asked for, of calls that are not named as commands are.
ASKED_BY = {
    **dict.fromkeys(("asked", "given"), "--given, or more than one --tilt,"),
    **dict.fromkeys(("animate", "save_gif"), "an animation"),
    **dict.fromkeys(("place_of_process", "join_processes", "agree", "pour_together"), "sharing work among processes"),
    **dict.fromkeys(("open_pictures", "read_picture", "read_file"), "reading pictures"),
    **dict.fromkeys(("describe_architecture", "list_architectures"), "saying what architectures can be told"),
    "read_csv": "reading tables",
    "describe_file": "saying how a file was made",
    "requirements": "the list of plugins for pip",
    "write_figure": "a figure as .svg or .pdf",
    "preview": "--preview",
    "pull_signed": "checking a signature",
    "metropolis": "the sampler metropolis",
    "invert": "finding the code of data",
}
