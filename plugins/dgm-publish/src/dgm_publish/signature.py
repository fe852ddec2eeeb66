"""An optional signature of what is published, by a key file: `model-signing`'s, in `model.sig` of a repository.

Signed are the entry, its parts' entries and all weights: what a pull reads. Everybody's `model_signing verify key` can
check it too. Where a signature was once checked, `hf://USER/REPO` means the commit that it was checked at, until a
pull checks another; the key must stay the same.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shutil import copyfileobj
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from dgmcore.calls.pulling import Pulled, pull
from dgmcore.entry import ENTRY_FILE, WEIGHTS_FILE
from dgmcore.errors import PluginError, UsageError, WeightsError
from dgmcore.files.atomic import replacing
from dgmcore.hub import first_fetch as pins
from dgmcore.hub.cache import source_of
from dgmcore.hub.client import NoFile
from dgmcore.hub.fetch import fetch_text
from dgmcore.registry.find import Located, find, with_parts

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

__all__ = ["SIGNATURE", "pull_signed", "sign"]

SIGNATURE = "model.sig"
_KEYS = "make one: openssl ecparam -name prime256v1 -genkey -noout -out KEY; openssl ec -in KEY -pubout -out KEY.pub"


def sign(files: Mapping[str, bytes | BinaryIO], name: str, key: Path, before: bytes | None) -> bytes:
    """Returns a signature of files, by the private key of a file; the one from before, if it is one.

    Arguments:
        files: What is published, by path in the repository; open files are read, and are at their start afterwards.
        name: The entry's name.
        key: A private key on an elliptic curve, PEM, without a password.
        before: What the repository has as its signature.

    Raises:
        UsageError: If that is no such key.
        PluginError: If `model-signing` is not installed.
    """
    signing, _, hashing = _library()
    private = _key(key, "private")
    covered = {f: content for f, content in files.items() if f.rpartition("/")[2] in (ENTRY_FILE, WEIGHTS_FILE)}
    with _staged(covered, name) as folder:
        public, made = folder.parent / "key.pub", folder.parent / SIGNATURE
        public.write_bytes(_pem(private.public_key()))
        if before is not None:
            made.write_bytes(before)
            if _failure(folder, made, public) is None:
                return before
        how = signing.Config().use_elliptic_key_signer(private_key=key)
        how.set_hashing_config(hashing.Config().set_allow_symlinks(True)).sign(folder, made)
        return made.read_bytes()


def pull_signed(name: str, key: str | Path) -> list[Pulled]:
    """Fetches a model of a Hub repository and checks its signature; only then `hf://USER/REPO` means it.

    Arguments:
        name: `hf://USER/REPO`, with `@REVISION` if need be.
        key: The publisher's public key, PEM.

    Returns:
        What :func:`dgmcore.pull` returns.

    Raises:
        UsageError: If it is no repository, or the key is none.
        WeightsError: If there is no signature, it is not by this key, or not of these files, or the repository was
            signed by another key before.
    """
    if not name.startswith("hf://"):
        raise UsageError(f"{name} is no repository, only those are signed", "name hf://USER/REPO")
    _library()
    public = _key(Path(key).expanduser(), "public")
    digest = hashlib.sha256(_pem(public)).hexdigest()
    repo, _, revision = name.removeprefix("hf://").partition("@")
    known, place = pins.find(repo, SIGNATURE, None), pins.path_of(repo, SIGNATURE, None)
    if known is not None and known.sha256 != digest:
        what = f"{repo} was signed by another key before ({known.sha256[:12]}..., now {digest[:12]}...)"
        raise WeightsError(what, f"ask its publisher; to trust the new key, delete {place}")
    top = find(f"hf://{repo}@{revision or 'main'}")
    source = source_of(top.folder)
    assert source is not None
    commit = source[1]
    done = pull(f"hf://{repo}@{commit}")
    try:
        signature = fetch_text(repo, SIGNATURE, commit)
    except NoFile as e:
        what = f"{repo} at {commit[:12]} has no signature {SIGNATURE}"
        raise WeightsError(what, "it is not used as verified; ask its publisher for `dgm push --sign`") from e
    with _staged(_covered(top), top.entry.name) as folder:
        (folder.parent / "key.pub").write_bytes(_pem(public))
        why = _failure(folder, signature, folder.parent / "key.pub")
    if why is not None:
        what = f"the signature of {repo} at {commit[:12]} does not hold: {why}"
        raise WeightsError(what, "it is not used as verified; ask its publisher, or check the key")
    with replacing(place) as stream:
        stream.write(msgspec.json.encode(pins.Pin(sha256=digest, commit=commit)))
    return done


def _covered(top: Located) -> dict[str, bytes | BinaryIO | Path]:
    """Returns the files of a model that were read out of its repository, by their path there."""
    files = [p.folder / ENTRY_FILE for p in with_parts(top)]
    files += [p.folder / p.entry.weights.file for p in with_parts(top) if p.entry.weights is not None]
    return {p.relative_to(top.folder).as_posix(): p for p in files if p.is_relative_to(top.folder)}


@contextmanager
def _staged(files: Mapping[str, bytes | BinaryIO | Path], name: str) -> Iterator[Path]:
    """Yields a folder of that name with nothing but these files; beside it there is room."""
    with tempfile.TemporaryDirectory(prefix="dgm-sign-") as room:
        for file, content in files.items():
            path = Path(room, name, file)
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                path.symlink_to(content.resolve())
            elif isinstance(content, bytes):
                path.write_bytes(content)
            else:
                with path.open("wb") as copy:
                    copyfileobj(content, copy)
                content.seek(0)
        yield Path(room, name)


def _failure(folder: Path, signature: Path, public: Path) -> str | None:
    """Returns why a file is no signature of a folder by a key, or None if it is."""
    _, verifying, hashing = _library()
    how = verifying.Config().use_elliptic_key_verifier(public_key=public)
    try:
        how.set_hashing_config(hashing.Config().set_allow_symlinks(True)).verify(folder, signature)
    except Exception as e:  # a stranger's file: whatever it leads to, it is no signature
        text = str(e)
        if text.startswith("Key mismatch"):
            return "it is by another key"
        if text.startswith("Signature mismatch"):
            changed = sorted({f for f in re.findall(r"[\w./-]+", text) if (folder / f).is_file()})
            return f"other than was signed: {', '.join(changed) or 'which files there are'}"
        return f"{SIGNATURE} is damaged, or no signature"
    return None


def _key(path: Path, kind: str) -> Any:
    """Returns a key of a file."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        data = path.read_bytes()
        read: Any = {
            "private": lambda: serialization.load_pem_private_key(data, None),
            "public": lambda: serialization.load_pem_public_key(data),
        }[kind]
        key = read()
        if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey):
            return key
    except OSError as e:
        raise UsageError(f"can't read the key {path}: {e.strerror}", _KEYS) from e
    except (ValueError, TypeError, UnsupportedAlgorithm):
        pass
    raise UsageError(f"{path} is no {kind} key on an elliptic curve in PEM, without a password", _KEYS)


def _pem(public: PublicKeyTypes) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _library() -> tuple[Any, Any, Any]:
    try:
        from model_signing import hashing, signing, verifying
    except ImportError as e:
        raise PluginError(f"signatures need model-signing ({e})", "pip install 'dgm-publish[sign]'") from e
    return signing, verifying, hashing
