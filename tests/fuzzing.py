"""Hostile inputs from fixed seeds, and the judge that says whether a reader bore them.

A mutation starts from something valid and changes its bytes or its structure. Whatever comes in, a reader either
takes it or refuses it with a `DgmError` that has a hint: no other exception, no more than 2 s of one core, no more
than 512 MB, nothing written outside of the folder that it was given, nothing run, nothing asked of a network.

`DGM_FUZZ=20 pytest tests -k fuzz` tries twenty times as many inputs.
"""

from __future__ import annotations

import copy
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dgmcore.cli.failures import explain, lines
from dgmcore.errors import DgmError

SECONDS = 2.0  # of one core, for one input
MEMORY = 512 * 2**20

#: Each corpus and how many inputs it has.
CORPORA = {
    "safetensors": 2500, "weights": 300, "checkpoints": 300,
    "npy": 900, "npz": 500, "csv": 900, "idx": 400, "images": 700, "zips": 400,
    "entries": 1400, "recipes": 1000, "yaml": 800, "options": 300, "names": 400,
    "hooks": 900, "entry points": 250, "index": 400, "records": 250, "configs": 400,
}  # fmt: skip

FACTOR = int(os.environ.get("DGM_FUZZ", "1"))

#: Pieces that parsers stumble over, for inputs of bytes.
WORDS = [
    b"", b"0", b"-1", b"1e9", b"1e999", b"99999999999999999999", b"0x7fffffff", b"null", b"true", b"NaN",
    b"Infinity", b"nan", b'"', b"'", b"{", b"}", b"[", b"]", b",", b":", b"&a ", b"*a",
    b"!!python/object/apply:os.system [touch pwned]", b"? ", b"- ", b"\n", b"\r", b"\t", b"\0", b"\xff",
    b"\xfe\xff", b"\xef\xbb\xbf", b"\xc3\x28", b"\xed\xa0\x80", b"\\u0000", b"\\ud800", b"../", b"/etc/passwd",
    b"%s%n", b"\x1b[31m", b"PK\x03\x04", b"\x93NUMPY", b"\x80\x04cos\nsystem\n", b"a" * 300, b"[" * 60,
    b"\xe2\x80\xae",
]  # fmt: skip

#: Values that no key expects.
VALUES = [
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf"),
    "", " ", "nan", "1", "x" * 3000, "a\nb", "\x1b[2J", "\0", "\u202e", "\ud800", "../../etc/passwd", "/etc/passwd",
    "a/../../b", "hf://../..", "~root", "CON", ".", "..", "-rf", "${HOME}", "__class__", [], [[]], {}, [None],
    {"": ""}, {"a": {"a": {"a": 1}}}, ["a"] * 300, [0] * 300, [10**9, 10**9, 10**9], [-1, -1], list(range(40)),
]  # fmt: skip


class Mutator:
    """Changes things at random, the same way for the same seed."""

    def __init__(self, corpus: str):
        self.corpus = corpus
        self.random = random.Random(corpus if FACTOR == 1 else f"{corpus}/{FACTOR}")

    def __len__(self) -> int:
        return CORPORA[self.corpus] * FACTOR

    def bytes(self, data: bytes, *, within: int | None = None) -> bytes:
        """Returns changed bytes; only the first `within` are changed, if that is given."""

        pick, out = self.random, bytearray(data)
        for _ in range(pick.choice((1, 1, 1, 2, 3, 8))):
            size = min(len(out), within or len(out))
            at, end = sorted((pick.randrange(size + 1), pick.randrange(size + 1)))
            near = min(at + pick.randrange(1, 12), len(out))
            kind = pick.randrange(9)
            if kind == 0 and out:
                out[min(at, len(out) - 1)] ^= 1 << pick.randrange(8)
            elif kind == 1 and out:
                out[min(at, len(out) - 1)] = pick.choice((0, 1, 127, 128, 255, pick.randrange(256)))
            elif kind == 2:
                del out[at:near]
            elif kind == 3:
                out[at:at] = pick.choice(WORDS)
            elif kind == 4:
                out[at:near] = pick.choice(WORDS)
            elif kind == 5:
                out[at:at] = out[at : min(end, at + 200)]
            elif kind == 6:
                del out[at:]
            elif kind == 7:
                width = pick.choice((1, 2, 4, 8))
                bits = 8 * width
                number = pick.choice((0, 1, 2**bits - 1, 2 ** (bits - 1), pick.randrange(2**bits)))
                out[at : at + width] = number.to_bytes(width, pick.choice(("little", "big")))
            else:
                digits = [i for i in range(size) if 48 <= out[i] < 58]
                if digits:
                    out[pick.choice(digits)] = pick.choice(b"0123456789-.e")
        return bytes(out)

    def tree(self, data: Any) -> Any:
        """Returns changed plain data."""

        pick, out = self.random, [copy.deepcopy(data)]
        for _ in range(pick.choice((1, 1, 1, 2, 3))):
            places = list(_places(out))
            holder, key = pick.choice(places)
            kind = pick.randrange(7)
            if kind <= 2:
                holder[key] = copy.deepcopy(pick.choice(VALUES))
            elif kind == 3 and isinstance(holder, dict):
                name = pick.choice((f"{key}s", key[:-1], key.upper(), "__metadata__", "\n", "x" * 2000))
                holder[name] = holder.pop(key)
            elif kind == 4 and isinstance(holder, dict):
                del holder[key]
            elif kind == 5:
                other, place = pick.choice(places)
                holder[key] = copy.deepcopy(other[place])
            else:
                holder[key] = pick.choice(([holder[key]], {"a": holder[key]}, str(holder[key]), [holder[key]] * 3))
        return out[0]


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Yields every place in plain data as a container and a key."""

    for key in list(data) if isinstance(data, dict) else range(len(data)):
        yield data, key
        if isinstance(data[key], (dict, list)):
            yield from _places(data[key])


class Judge:
    """Runs a reader on one input after the other.

    Attributes:
        accepted: How many inputs were taken.
        refused: How many were refused.
    """

    results: list[tuple[str, int, int, float, int]] = []  # of all judges

    def __init__(self, corpus: str):
        self.corpus = corpus
        self.accepted = self.refused = 0
        self.slowest = 0.0

    def __call__(self, read: Callable[[], Any], shown: Any) -> Any:
        """Returns what the reader makes of an input, or None if it is refused."""

        start = time.process_time()
        try:
            value = read()
            self.accepted += 1
        except DgmError as e:
            self.refused += 1
            value = None
            said = lines(*explain(e)[:2])
            assert e.what.strip() and e.hint.strip(), (e, _short(shown))
            assert said.count("\n") == 1 and len(said) < 3000 and all(map(str.isprintable, said.split("\n"))), said
        except Exception as e:
            raise AssertionError(f"{self.corpus}: {type(e).__name__}: {e}; the input was {_short(shown)}") from e
        spent = time.process_time() - start
        self.slowest = max(self.slowest, spent)
        assert spent < SECONDS, f"{self.corpus}: {spent:.1f} s for {_short(shown)}"
        return value


def _short(shown: Any) -> str:
    text = repr(shown)
    return text if len(text) < 3000 else f"{text[:1500]} ... {text[-1500:]}"


@contextmanager
def judging(corpus: str, target: Path) -> Iterator[tuple[Mutator, Judge]]:
    """Yields a mutator and a judge; after the block, memory and the number of inputs are looked at.

    Arguments:
        corpus: The name of the corpus.
        target: The only folder that may be written to.
    """

    judge, before = Judge(corpus), _reset_peak()

    def hang(number: int, frame: Any) -> None:
        raise BaseException(f"{corpus}: an input hangs")

    old = signal.signal(signal.SIGALRM, hang)
    signal.alarm(300)  # a reader that waits for ever uses no core: this ends it
    try:
        with watching(target):
            yield Mutator(corpus), judge
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)
    grown = max(0, _peak() - before)
    count = judge.accepted + judge.refused
    Judge.results.append((corpus, count, judge.accepted, judge.slowest, grown))
    assert count >= CORPORA[corpus] * FACTOR, f"{corpus}: {count} inputs only"
    assert grown < MEMORY, f"{corpus}: {grown / 2**20:.0f} MB"


def _reset_peak() -> int:
    """Starts a new measurement of this process's peak memory, and returns its present use."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    try:
        text = Path("/proc/self/status").read_text()
        return int(text.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# --- what readers may not do ------------------------------------------------------------------------

_FORBIDDEN = {
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "pickle.find_class", "socket.connect",
    "socket.getaddrinfo",
}  # fmt: skip
_WRITING = {
    "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "os.link", "os.symlink",
    "shutil.rmtree",
}  # fmt: skip
_allowed: list[str] = []
_installed = False


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if not _allowed or (event not in _FORBIDDEN and event not in _WRITING and event != "open"):
        return
    if event in _FORBIDDEN:
        raise BaseException(f"a reader did {event}{args!r:.200}")
    if event == "open":
        flags = args[2]
        if not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
            return
    path = args[0]
    if isinstance(path, (str, bytes, os.PathLike)):
        place = os.path.abspath(os.fsdecode(path))
        if not place.startswith(_allowed[0]) and "__pycache__" not in place and place != os.devnull:
            raise BaseException(f"a reader wrote outside of its folder: {event} {place}")


@contextmanager
def watching(target: Path) -> Iterator[None]:
    """While the block runs, writing outside of `target`, starting programs, unpickling and networks are errors."""

    global _installed
    if not _installed:
        sys.addaudithook(_audit)
        _installed = True
    _allowed.append(str(target.absolute()))
    try:
        yield
    finally:
        _allowed.clear()
