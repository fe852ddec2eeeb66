"""Publishing a model as a Hub repository that is complete on its own.

All files go into one commit: either everything is there afterwards, or nothing has changed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from dgmcore.errors import DgmError, RegistryError, UsageError, WeightsError
from dgmcore.files.verify import sha256_of
from dgmcore.hub import client as hubclient
from dgmcore.hub.client import check_repo
from dgmcore.loading import weights
from dgmcore.registry.parts import PARTS, with_parts

from . import card

if TYPE_CHECKING:
    from dgmcore.registry.find import Located

__all__ = ["Pushed", "push"]

#: What a repository may hold that is no model yet.
_SCAFFOLD = {".gitattributes", "README.md", "LICENSE", ".gitignore"}


@dataclass(frozen=True)
class Pushed:
    """What was published, or would be."""

    repo: str
    url: str
    files: dict[str, int]  #: sizes by path
    card: str
    commit: str | None  #: None for a dry run
    changed: bool


def push(name: str, repo: str, *, dry_run: bool = False) -> Pushed:
    """Publishes an entry: config, weights, model card, samples, licence, and the entries of its parts.

    Arguments:
        name: The model, as for :func:`dgmcore.load`.
        repo: The repository, `USER/REPO`; made if it does not exist.
        dry_run: Only find out what would be published; nothing is sent.

    Returns:
        The files and the card. Publishing the same again changes nothing.

    Raises:
        DgmError: If the entry is not complete, or the Hub refuses; then nothing is published.
    """

    from dgmcore.registry.find import find

    check_repo(repo)
    located = with_parts(find(name))
    with tempfile.TemporaryDirectory(prefix="dgm-push-") as folder:
        files = _files(located, repo, Path(folder))
        sizes = {path: file.stat().st_size for path, file in files.items()}
        text = files["README.md"].read_text(encoding="utf-8")
        url = f"{hubclient.host()}/{repo}"
        if dry_run:
            return Pushed(repo, url, sizes, text, None, False)
        commit, changed = _send(files, repo, located[0].entry.name)
    return Pushed(repo, url, sizes, text, commit, changed)


# --- what is published -----------------------------------------------------------------------------


def _files(located: list[Located], repo: str, folder: Path) -> dict[str, Path]:
    """Returns the files of the repository by their path in it."""

    top, *parts = located
    names = [p.entry.name for p in located]
    if len(set(names)) < len(names):
        raise RegistryError(f"{top.entry.name} is composed of two entries of one name", "rename one of them")
    files: dict[str, Path] = {}
    for place in located:
        prefix = "" if place is top else f"{PARTS}/{place.entry.name}/"
        _add_entry(files, place, prefix, folder, dict(_renamed(place, located)))
    picture = _picture(top, folder)
    if picture is not None:
        files["samples.png"] = picture
    entries = [p.entry for p in parts]
    _add_text(files, folder, "LICENSE", card.licence_text([top.entry, *entries]))
    text = card.model_card(top.entry, repo, entries, capabilities=_capabilities(top), picture=picture is not None)
    _add_text(files, folder, "README.md", text)
    return dict(sorted(files.items()))


def _renamed(place: Located, located: list[Located]) -> Iterator[tuple[str, str]]:
    """Yields how each part that an entry names is called inside the repository: by its bare name."""

    from dgmcore.registry.parts import find_part, identity

    published = {identity(p): p.entry.name for p in located}
    folders = [Path(p.folder) for p in located if p.folder]
    for name in place.entry.part_names():
        yield name, published[identity(find_part(name, folders))]


def _add_entry(files: dict[str, Path], place: Located, prefix: str, folder: Path, renamed: dict[str, str]) -> None:
    from dgmcore.entry import write_entry

    entry = msgspec.structs.replace(place.entry, parts=_rename(place.entry.parts, renamed))
    if entry.weights is not None:
        source = weights.locate(place)
        sha256 = entry.weights.sha256 or sha256_of(source)
        stated = msgspec.structs.replace(
            entry.weights, file="model.safetensors", hub=None, sha256=sha256, size=source.stat().st_size
        )
        entry = msgspec.structs.replace(entry, weights=stated)
        files[f"{prefix}model.safetensors"] = source
    files[f"{prefix}model.yaml"] = write_entry(entry, folder / prefix / "model.yaml")


def _rename(parts: Mapping[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    return {
        key: renamed.get(part, part)
        if isinstance(part, str)
        else msgspec.structs.replace(part, parts=_rename(part.parts, renamed))
        for key, part in parts.items()
    }


def _add_text(files: dict[str, Path], folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    files[name] = path


def _capabilities(located: Located) -> list[str]:
    from dgmcore import plugins

    known = plugins.architectures()
    return known[located.entry.architecture].capabilities if located.entry.architecture in known else []


def _picture(located: Located, folder: Path) -> Path | None:
    """Returns the entry's picture of samples; one is drawn where it has none and the model can."""

    if located.folder and (Path(located.folder) / "samples.png").is_file():
        return Path(located.folder) / "samples.png"
    from dgmcore.sampling.pictures import kind_of

    if "generator" not in _capabilities(located) or kind_of(tuple(located.entry.data.event_shape)) is None:
        return None
    from dgmcore.loading.load import load
    from dgmcore.sampling.draw import sample
    from dgmcore.sampling.pictures import picture

    model = load(str(located.folder.absolute()) if located.folder else located.full_name)
    n = 16 if kind_of(tuple(model.event_shape)) == "image" else 1000
    return picture(model, sample(model, n, seed=0), folder / "samples.png")


# --- sending ---------------------------------------------------------------------------------------


def _send(files: Mapping[str, Path], repo: str, name: str) -> tuple[str, bool]:
    """Makes the one commit; returns it, and whether it changed anything."""

    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    if hubclient.offline():
        raise UsageError("nothing can be published offline", "unset HF_HUB_OFFLINE and push again")
    api = HfApi(library_name="dgmcore")
    with _explained(repo), hubclient.quiet():
        before = _before(api, repo, name)
        if before is None:
            hubclient.patiently(lambda: api.create_repo(repo, exist_ok=True), hung_up=True)
            before = _before(api, repo, name)
        assert before is not None
        there = {s.rfilename for s in before.siblings or []}
        gone = [p for p in sorted(there) if p.startswith(f"{PARTS}/") and p not in files]
        operations: list[Any] = [CommitOperationDelete(path_in_repo=p) for p in gone]
        opened = []
        try:
            for path, file in files.items():
                # open files travel by plain HTTP, which every Hub understands
                opened.append(file.open("rb"))
                operations.append(CommitOperationAdd(path_in_repo=path, path_or_fileobj=opened[-1]))
            done = api.create_commit(
                repo,
                operations,
                commit_message=f"Publish {name} with dgm",
                parent_commit=before.sha,
                num_threads=1,  # two files of equal content would be read through one handle at once
            )
        finally:
            for file in opened:
                file.close()
    return str(done.oid), done.oid != before.sha


def _before(api: Any, repo: str, name: str) -> Any:
    """Returns the state of a repository that may be written to, or None where there is none.

    Raises:
        RegistryError: If it holds something else.
    """

    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = hubclient.patiently(lambda: api.model_info(repo), hung_up=True)
    except RepositoryNotFoundError:
        return None
    there = {s.rfilename for s in info.siblings or []}
    if "model.yaml" in there:
        from dgmcore.entry import read_entry

        path, _ = hubclient.download(repo, "model.yaml", info.sha)
        try:
            held = read_entry(path).name
        except DgmError:
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
        hub = hubclient.host()
        status = hubclient.status_of(e)
        token = "set HF_TOKEN to a token that may write, or run: hf auth login"
        if status == 401 or type(e).__name__ == "LocalTokenNotFoundError":
            error = WeightsError(f"{hub} refused the token, nothing was published", token)
        elif status == 403:
            error = WeightsError(f"{hub} does not let you write to {repo}", f"choose a --repo of your own, or {token}")
        elif status in (409, 412):
            error = WeightsError(f"{repo} was changed by somebody else meanwhile", "look at it, then push again")
        elif hubclient.no_connection(e):
            reason = f"it answered {status}" if status else hubclient.brief(e)
            error = WeightsError(f"the connection to {hub} was lost ({reason}), nothing was published", "push again")
        else:
            error = WeightsError(f"can't publish {repo}: {hubclient.brief(e)}", "nothing was published; push again")
        raise error from e
