"""Publishing a model as a Hub repository that is complete on its own.

All files go into one commit: either everything is there afterwards, or nothing has changed.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from dgmcore import plugins
from dgmcore.entry import ENTRY_FILE, PARTS, WEIGHTS_FILE, Entry, dump_entry, read_entry
from dgmcore.errors import DgmError, RegistryError, UsageError, WeightsError
from dgmcore.files.safetensors import read_header
from dgmcore.files.verify import open_regular, sha256_of
from dgmcore.hub.cache import check_repo, repo_folder, source_of
from dgmcore.hub.client import brief, host, no_connection, offline, patiently, status_of
from dgmcore.hub.fetch import fetch_text
from dgmcore.loading.weights import open_weights
from dgmcore.registry.find import Located, find, find_part, identity, with_parts

from .card import licence_text, model_card
from .signature import SIGNATURE
from .signature import sign as signed

if TYPE_CHECKING:
    from huggingface_hub import HfApi, ModelInfo

__all__ = ["Pushed", "push"]

#: What a repository may hold that is no model yet.
_SCAFFOLD = {".gitattributes", "README.md", "LICENSE", ".gitignore"}
PICTURE = "samples.png"
_PNG = b"\x89PNG\r\n\x1a\n"
#: The file whose requests the Hub counts as downloads.
CONFIG = "config.json"


class Pushed(msgspec.Struct, frozen=True):
    """What was published, or would be."""

    repo: str
    url: str
    files: dict[str, int]  #: sizes by path
    card: str
    commit: str | None  #: None for a dry run
    changed: bool


def push(name: str, repo: str, *, dry_run: bool = False, sign: str | os.PathLike[str] | None = None) -> Pushed:
    """Publishes an entry: config, weights, model card, samples, licence, and the entries of its parts.

    Arguments:
        name: The model, as for :func:`dgmcore.load`.
        repo: The repository, `USER/REPO`; made if it does not exist.
        dry_run: Only find out what would be published; nothing is sent.
        sign: A private key's file, to sign entries and weights with (see :mod:`dgm_publish.signature`).

    Returns:
        The files and the card. Publishing the same again changes nothing.

    Raises:
        DgmError: If the entry is not complete, or the Hub refuses; then nothing is published.
    """

    check_repo(repo)
    located = with_parts(find(name))
    with ExitStack() as stack:
        files = _files(located, repo, stack)
        if sign is not None:
            files[SIGNATURE] = signed(files, located[0].entry.name, Path(sign).expanduser(), _signature(repo))
        sizes = {
            path: len(content) if isinstance(content, bytes) else _size(content) for path, content in files.items()
        }
        readme = files["README.md"]
        assert isinstance(readme, bytes)
        pushed = Pushed(repo, f"{host()}/{repo}", sizes, readme.decode(), None, False)
        if dry_run:
            return pushed
        commit, changed = _send(files, repo, located[0].entry.name)
    return msgspec.structs.replace(pushed, commit=commit, changed=changed)


# --- what is published -----------------------------------------------------------------------------


def _files(located: list[Located], repo: str, stack: ExitStack) -> dict[str, bytes | BinaryIO]:
    """Returns what the files of the repository hold, by their path in it; weights are open until `stack` is closed."""

    top = located[0]
    if len({p.entry.name for p in located}) < len(located):
        raise RegistryError(f"{top.entry.name} is composed of two entries of one name", "rename one of them")
    files: dict[str, bytes | BinaryIO] = {}
    published: dict[int, Entry] = {}
    for place in located:
        for owner in (top, place):  # an entry, or the folder of a part, may be a link too
            _check_inside(owner, place.folder / ENTRY_FILE)
        inside = "" if place is top else f"{PARTS}/{place.entry.name}/"
        entry = msgspec.structs.replace(
            public(place.entry), parts=_rename(place.entry.parts, dict(_renamed(place, located)))
        )
        if entry.weights is not None:
            file = files[f"{inside}{WEIGHTS_FILE}"] = _weights(place, stack)
            sha256 = entry.weights.sha256 or _hashed(file)
            stated = msgspec.structs.replace(
                entry.weights, file=WEIGHTS_FILE, hub=None, sha256=sha256, size=_size(file)
            )
            entry = msgspec.structs.replace(entry, weights=stated)
        files[f"{inside}{ENTRY_FILE}"] = dump_entry(entry)
        published[id(place)] = entry
    files[CONFIG] = _config(top.entry)
    picture = _picture(top)
    if picture is not None:
        files[PICTURE] = picture
    entries = list(published.values())
    files["LICENSE"] = licence_text(entries).encode()
    text = model_card(entries[0], repo, entries[1:], capabilities=_capabilities(top), picture=picture is not None)
    files["README.md"] = text.encode()
    return dict(sorted(files.items()))


def public(entry: Entry) -> Entry:
    """Returns an entry without the folders of this machine: of files of one's own only the names are published."""

    def bare(name: str) -> str:
        return os.path.basename(name.rstrip("/")) if os.path.isabs(name) else name

    def command(text: str) -> str:
        return " ".join(map(bare, text.split(" ")))

    metrics = tuple(
        msgspec.structs.replace(m, against=m.against and bare(m.against), command=m.command and command(m.command))
        for m in entry.metrics
    )
    data = msgspec.structs.replace(entry.data, dataset=bare(entry.data.dataset))
    return msgspec.structs.replace(entry, data=data, metrics=metrics)


def _config(entry: Entry) -> bytes:
    """Returns a few words for the Hub, which counts the requests for this file; `model.yaml` says everything."""

    words = {"architectures": [entry.architecture], "library_name": "dgmcore", "name": entry.name}
    return (json.dumps(words, indent=2) + "\n").encode()


def _weights(place: Located, stack: ExitStack) -> BinaryIO:
    """Returns the verified weights of an entry, which are in its own folder or the Hub's cache, and are safetensors."""

    path, file = stack.enter_context(open_weights(place))
    _check_inside(place, path)
    read_header(file)
    file.seek(0)
    return file


def _check_inside(place: Located, path: Path) -> None:
    """Refuses a link that leads out of the entry's folder: what it leads to may be private."""

    if not path.is_relative_to(place.folder):
        return  # from the Hub, verified
    source = source_of(place.folder)
    root = repo_folder(source[0]) if source else place.folder
    if not path.resolve().is_relative_to(root.resolve()):
        raise UsageError(
            f"{path} is a link out of its folder", "copy what it leads to into the folder, if it is public"
        )


def _renamed(place: Located, located: list[Located]) -> Iterator[tuple[str, str]]:
    """Yields how each part that an entry names is called inside the repository: by its bare name."""

    published = {identity(p): p.entry.name for p in located}
    folders = [p.folder for p in located]
    for name in place.entry.part_names():
        yield name, published[identity(find_part(name, folders))]


def _rename(parts: Mapping[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    return {
        key: renamed.get(part, part)
        if isinstance(part, str)
        else msgspec.structs.replace(part, parts=_rename(part.parts, renamed))
        for key, part in parts.items()
    }


def _hashed(file: BinaryIO) -> str:
    digest = sha256_of(file)
    file.seek(0)
    return digest


def _size(content: bytes | BinaryIO) -> int:
    return len(content) if isinstance(content, bytes) else os.fstat(content.fileno()).st_size


def _capabilities(located: Located) -> list[str]:
    known = plugins.architectures()
    return known[located.entry.architecture].capabilities if located.entry.architecture in known else []


def _picture(located: Located) -> bytes | None:
    """Returns the entry's picture of samples; one is drawn where it has none and the model can."""

    path = located.folder / PICTURE
    if path.is_file():
        _check_inside(located, path)
        with open_regular(path) as file:
            content = file.read()
        if not content.startswith(_PNG):
            raise UsageError(f"{path} is no PNG", "make it anew: dgm sample, or delete it, and one is drawn")
        return content
    from dgmcore.sampling.pictures import kind_of

    if "generator" not in _capabilities(located) or kind_of(tuple(located.entry.data.event_shape)) is None:
        return None
    return _drawn(located)


def _drawn(located: Located) -> bytes:
    from dgmcore.loading.load import load
    from dgmcore.sampling.draw import sample
    from dgmcore.sampling.pictures import kind_of, picture

    model = load(located.folder)
    n = 16 if kind_of(tuple(model.event_shape), model.data_levels) == "image" else 1000
    with tempfile.TemporaryDirectory(prefix="dgm-push-") as folder:
        return Path(picture(model, sample(model, n, seed=0), Path(folder) / PICTURE)).read_bytes()


def _signature(repo: str) -> bytes | None:
    """Returns the signature that a repository has: two of the same files differ, and one is enough."""
    try:
        return None if offline() else fetch_text(repo, SIGNATURE).read_bytes()
    except (RegistryError, WeightsError):  # none, or no repository; what else is wrong is said where it is written to
        return None


# --- sending ---------------------------------------------------------------------------------------


def _send(files: Mapping[str, bytes | BinaryIO], repo: str, name: str) -> tuple[str, bool]:
    """Makes the one commit; returns it, and whether it changed anything."""

    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    if offline():
        raise UsageError("nothing can be published offline", "unset HF_HUB_OFFLINE and push again")
    api = HfApi(library_name="dgmcore")
    with _explained(repo), _no_bars():
        before = _before(api, repo, name)
        if before is None:
            patiently(lambda: api.create_repo(repo, exist_ok=True))
            before = _before(api, repo, name)
        assert before is not None
        there = {s.rfilename for s in before.siblings or []}
        gone = [p for p in sorted(there) if p.startswith(f"{PARTS}/") and p not in files]
        done = api.create_commit(
            repo,
            [
                *(CommitOperationDelete(path_in_repo=p) for p in gone),
                # open files travel by plain HTTP, which every Hub understands
                *(CommitOperationAdd(path_in_repo=p, path_or_fileobj=content) for p, content in files.items()),
            ],
            commit_message=f"Publish {name} with dgm",
            parent_commit=before.sha,
            num_threads=1,  # two files of equal content would be read through one handle at once
        )
    return str(done.oid), done.oid != before.sha


@contextmanager
def _no_bars() -> Iterator[None]:
    """Hides the client's bars where nobody sees them."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    seen = sys.stderr.isatty() or are_progress_bars_disabled()
    if not seen:
        disable_progress_bars()
    try:
        yield
    finally:
        if not seen:
            enable_progress_bars()


def _before(api: HfApi, repo: str, name: str) -> ModelInfo | None:
    """Returns the state of a repository that may be written to, or None where there is none.

    Raises:
        RegistryError: If it holds something else.
    """

    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = patiently(lambda: api.model_info(repo))
    except RepositoryNotFoundError:
        return None
    there = {s.rfilename for s in info.siblings or []}
    if ENTRY_FILE in there:
        try:
            held = read_entry(fetch_text(repo, ENTRY_FILE, info.sha)).name
        except RegistryError:
            held = "an entry that can't be read"
        if held != name:
            raise RegistryError(f"{repo} is taken: it holds {held}, not {name}", "choose another --repo")
    elif there - _SCAFFOLD:
        raise RegistryError(
            f"{repo} is taken: it holds {min(there - _SCAFFOLD)}, no dgm model", "choose another --repo"
        )
    return info


@contextmanager
def _explained(repo: str) -> Iterator[None]:
    """Turns failures of the client into errors for the user."""

    try:
        yield
    except DgmError:
        raise
    except Exception as e:
        raise _error(e, repo) from e


def _error(error: Exception, repo: str) -> WeightsError:
    from huggingface_hub.errors import LocalTokenNotFoundError

    hub, status = host(), status_of(error)
    token = "set HF_TOKEN to a token that may write, or run: hf auth login"
    if status == 401 or isinstance(error, LocalTokenNotFoundError):
        return WeightsError(f"{hub} refused the token, nothing was published", token)
    if status == 403:
        return WeightsError(f"{hub} does not let you write to {repo}", f"choose a --repo of your own, or {token}")
    if status in (409, 412):
        return WeightsError(f"{repo} was changed by somebody else meanwhile", "look at it, then push again")
    if no_connection(error):
        reason = f"it answered {status}" if status else brief(error)
        return WeightsError(f"the connection to {hub} was lost ({reason}), nothing was published", "push again")
    return WeightsError(f"can't publish {repo}: {brief(error)}", "nothing was published; push again")
