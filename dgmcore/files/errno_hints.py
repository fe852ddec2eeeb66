"""What to do when the system refuses to read or write."""

from __future__ import annotations

import errno

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
