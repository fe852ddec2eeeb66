"""Entries: read, write, find and list them (design: registry entries)."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import RegistryError, UsageError, did_you_mean

if TYPE_CHECKING:
    from .entry import Entry

__all__ = ["ENTRY_FILE", "Located", "find", "info", "list_models", "read_entry", "write_entry"]

ENTRY_FILE = "model.yaml"


@dataclass(frozen=True)
class Located:
    """An entry and where it was found.

    Attributes:
        entry: The entry.
        folder: The folder it is in; weights are looked for here first.
        origin: `core`, a plugin's name, `user`, `environment`, `folder` or `hub`.
        full_name: The name that no other entry has: `origin/name`, or the folder or repository.
        overrides: The full names of entries that this one hides.
    """

    entry: Entry
    folder: Path | None
    origin: str
    full_name: str
    overrides: list[str] = field(default_factory=list)


def read_entry(path: str | os.PathLike[str]) -> Entry:
    """Reads a `model.yaml`, strictly.

    Raises:
        RegistryError: With the file, the key path, what was expected and the nearest known key.
    """

    from . import yaml
    from .config import parse
    from .entry import SCHEMA, Entry

    path = Path(path)
    if path.is_dir():
        path = path / ENTRY_FILE
    data = yaml.read(path)
    if not isinstance(data, dict):
        raise RegistryError(f"{path}: expected a mapping, got {type(data).__name__}", "an entry is `key: value` lines")
    schema = data.get("schema")
    if isinstance(schema, int) and not isinstance(schema, bool) and schema != SCHEMA:
        hint = "upgrade dgmcore: pip install -U dgmcore" if schema > SCHEMA else f"write schema: {SCHEMA}"
        raise RegistryError(f"{path}: schema: {schema} is not known here, this dgmcore reads {SCHEMA}", hint)
    entry = parse(Entry, data, source=str(path))
    _check(entry, path)
    return entry


def _check(entry: Entry, path: Path) -> None:
    """Checks what the types can't say."""

    shape = entry.data.event_shape
    if not shape or any(d < 1 for d in shape):
        raise RegistryError(f"{path}: data.event_shape: {list(shape)} has no positive sizes", "for example [3, 64, 64]")
    if entry.data.range is not None and not entry.data.range[0] < entry.data.range[1]:
        raise RegistryError(f"{path}: data.range: the lower end comes first", "for example [-1, 1]")
    if not entry.license.strip():
        raise RegistryError(f"{path}: license: is empty", "name the licence of these weights, such as apache-2.0")
    for part, spec in entry.parts.items():
        if spec == entry.name:
            raise RegistryError(f"{path}: parts.{part}: the entry is a part of itself", "name another entry")


def write_entry(entry: Entry, path: str | os.PathLike[str]) -> Path:
    """Writes a `model.yaml` atomically: keys in the order of :class:`Entry`, defaults left out, configs complete.

    Arguments:
        path: The file, or a folder (made if need be) that gets one.
    """

    import tempfile

    from . import yaml

    path = Path(path)
    if path.suffix not in (".yaml", ".yml"):
        path = path / ENTRY_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(yaml.dump(_plain(entry)))
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _plain(value: Any) -> Any:
    """Returns plain data of a struct without the fields that equal their defaults."""

    import msgspec

    if isinstance(value, msgspec.Struct):
        plain = {}
        for f in msgspec.structs.fields(value):
            v = getattr(value, f.name)
            default = f.default_factory() if f.default_factory is not msgspec.NODEFAULT else f.default
            if f.required or v != default:
                plain[f.encode_name] = _plain(v)
        return plain
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


def find(name: str | os.PathLike[str]) -> Located:
    """Finds an entry by name, by `plugin/name`, by folder (`./my-model`) or on the Hub (`hf://user/repo@revision`).

    Raises:
        RegistryError: If there is none (with the nearest three names), several, or an invalid one.
    """

    name = os.fspath(name)
    if name.startswith("hf://"):
        from . import hub

        repo, _, revision = name.removeprefix("hf://").partition("@")
        if repo.count("/") != 1 or not all(repo.split("/")):
            raise UsageError(f"{name} names no Hub repository", "write hf://USER/REPO or hf://USER/REPO@REVISION")
        folder = Path(hub.fetch_entry(repo, revision or None))
        return Located(read_entry(folder), folder, "hub", name)
    if _is_path(name):
        return _in_folder(name)
    folders = _scan()
    short = name.rpartition("/")[2]
    for origin, folder in folders.get(short, []):
        if name in (short, f"{origin}/{short}"):
            hidden = [f"{o}/{short}" for o, f in folders[short] if f != folder]
            return Located(read_entry(folder), folder, origin, f"{origin}/{short}", hidden)
    if "/" in name and os.path.isfile(os.path.join(name, ENTRY_FILE)):
        return _in_folder(name)
    raise RegistryError(f"no model is called {name}", did_you_mean(name, folders))


def _is_path(name: str) -> bool:
    return name.startswith((".", "~")) or os.path.isabs(name) or name.endswith(("/", os.sep, ".yaml"))


def _in_folder(name: str) -> Located:
    folder = Path(name).expanduser().absolute()
    if folder.name == ENTRY_FILE:
        folder = folder.parent
    if not (folder / ENTRY_FILE).is_file():
        what = f"{name} holds no {ENTRY_FILE}" if folder.is_dir() else f"there is no folder {name}"
        raise RegistryError(what, "name a folder that `dgm train` or `dgm convert` wrote, or a model of `dgm list`")
    return Located(read_entry(folder), folder, "folder", str(folder))


def _scan() -> dict[str, list[tuple[str, Path]]]:
    from . import plugins
    from .folders import environment_registries, user_registry

    places = [("environment", p) for p in environment_registries()] + [("user", user_registry())]
    places += [(p["name"], Path(f)) for p in plugins.plugins() for f in p["registries"]]
    found: dict[str, list[tuple[str, Path]]] = {}
    for origin, place in places:
        if place.is_dir():
            for file in sorted(place.glob(f"*/{ENTRY_FILE}")):
                found.setdefault(file.parent.name, []).append((origin, file.parent))
    return found


def list_models(
    pattern: str | None = None, *, family: str | None = None, can: str | None = None, dataset: str | None = None
) -> list[dict[str, Any]]:
    """Returns a record of each model, by name (design: list --json)."""

    return [{"name": name} for name in sorted(_scan())]


def info(name: str) -> dict[str, Any]:
    """Returns everything known about a model, as plain data."""

    import msgspec

    return msgspec.to_builtins(find(name).entry)
