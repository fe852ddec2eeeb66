"""The registry entry: everything that `model.yaml` may say.

Only msgspec is imported here: listing models needs no torch.
"""

# annotations are not postponed here: msgspec would evaluate each of them at every start

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from .config import Config, default_of, parse
from .errors import RegistryError
from .files.atomic import replacing

SCHEMA = 1
#: The files of an entry's folder, and the folder of the entries that a published one is composed of.
ENTRY_FILE = "model.yaml"
WEIGHTS_FILE = "model.safetensors"
PARTS = "parts"

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]*\Z", max_length=100)]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
FileName = Annotated[
    str, msgspec.Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*\Z", max_length=200)
]
PackageName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\Z", max_length=100)]
Repo = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+\Z", max_length=200)]
Bytes = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
Bound = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]


class HubFile(Config):
    """A file on the Hub. `revision` is a commit, a tag or a branch.

    `trust` says what to do where the entry knows no sha256: refuse the file, or record the sha256 that the Hub states
    at the first fetch, and hold every later one to it.
    """

    repo: Repo
    file: FileName = WEIGHTS_FILE
    revision: str | None = None
    trust: Literal["sha256", "first-fetch"] = "sha256"


class Weights(Config):
    """Where the weights are and what they must be. `ema` says whether they are an average."""

    file: FileName = WEIGHTS_FILE
    sha256: Sha256 | None = None
    size: Bytes | None = None
    hub: HubFile | None = None
    ema: bool = False
    parameters: Bytes | None = None
    dtype: Literal["float16", "bfloat16"] | None = None  # of the file's numbers; loading widens them to the model's
    layout: str = "dgmcore"  # or what the architecture's `tensor_names` knows: names of another library's files


class Data(Config):
    """The data that a model stands for; images have their channels first."""

    dataset: str
    event_shape: tuple[int, ...]
    range: tuple[Bound, Bound] | None = None  # None: unbounded
    levels: Annotated[int, msgspec.Meta(ge=2, le=65_536)] | None = None  # 256 for 8-bit images
    options: dict[str, Any] = {}  # of the data set, as in the recipe: the noise of moons, ...


class Metric(Config):
    """One measurement with its protocol; records with other protocols can't be compared."""

    name: str
    value: float
    n: int | None = None
    n_real: int | None = None
    unit: str | None = None
    features: str | None = None
    features_sha256: Sha256 | None = None
    resize: int | None = None
    against: str | None = None
    sampling: dict[str, Any] = {}
    seed: int | None = None
    weights: str | None = None  # "ema" or "raw"
    floor: float | None = None  # real against real, same protocol
    std: float | None = None
    interval: tuple[float, float] | None = None  # of the value expected by this protocol, 95 %
    command: str | None = None


class Training(Config):
    """How the weights came to be."""

    recipe: str | None = None
    seed: int | None = None
    steps: int | None = None
    hardware: str | None = None
    hours: float | None = None
    source: dict[str, Any] = {}  # converted weights: file, sha256, format, url
    made: dict[str, Any] = {}  # digests of recipe and data, versions
    notes: str | None = None  # what a run of the recipe in one go would not repeat


class Paper(Config):
    title: str
    url: str | None = None
    authors: str | None = None
    year: int | None = None


class PartSpec(Config):
    """A part that is this model's own; its weights are in the model's file."""

    architecture: str
    config: dict[str, Any] = {}
    parts: dict[str, "str | PartSpec"] = {}


class Entry(Config, kw_only=True):
    """One model of the registry (design: registry entries)."""

    schema: int
    name: Name
    architecture: str
    package: PackageName | None = None  # the distribution that brings the architecture, for those who lack it
    license: str
    data: Data
    summary: str = ""
    config: dict[str, Any] = {}
    parts: dict[str, str | PartSpec] = {}  # an entry's name (weights shared) or an own part
    weights: Weights | None = None
    sampling: dict[str, Any] = {}
    noise: Literal[1, 2] = 1  # the version of the noise that it draws by: :mod:`dgmcore.noise`
    metrics: tuple[Metric, ...] = ()
    training: Training | None = None
    papers: tuple[Paper, ...] = ()
    tags: tuple[str, ...] = ()

    def part_names(self) -> list[str]:
        """Returns the names of the entries that it is composed of, those inside its own parts included."""
        return [part for part in _walked(self.parts) if isinstance(part, str)]

    def own_parts(self) -> list[PartSpec]:
        """Returns the parts that are its own, those inside of them included."""
        return [part for part in _walked(self.parts) if isinstance(part, PartSpec)]


def _walked(parts: Mapping[str, str | PartSpec]) -> Iterator[str | PartSpec]:
    for part in parts.values():
        yield part
        if isinstance(part, PartSpec):
            yield from _walked(part.parts)


def read_entry(path: str | os.PathLike[str]) -> Entry:
    """Reads a `model.yaml`, strictly.

    Raises:
        RegistryError: With the file, the key path, what was expected and the nearest known key.
    """
    path = Path(path) / (ENTRY_FILE if os.path.isdir(path) else "")
    return _parsed(path, str(path))


def _parsed(text: Path | bytes, source: str) -> Entry:
    from .files import yaml

    data = yaml.read(text)
    if not isinstance(data, dict):
        raise RegistryError(f"{source}: no mapping but {type(data).__name__}", "an entry is `key: value` lines")
    schema = data.get("schema")
    if isinstance(schema, int) and not isinstance(schema, bool) and schema != SCHEMA:
        hint = "upgrade dgmcore: pip install -U dgmcore" if schema > SCHEMA else f"write schema: {SCHEMA}"
        raise RegistryError(f"{source}: schema: {schema} is not known here, this dgmcore reads {SCHEMA}", hint)
    entry = parse(Entry, data, source=source)
    for what, hint in _faults(entry):
        raise RegistryError(f"{source}: {what}", hint)
    return entry


def _faults(entry: Entry) -> Iterator[tuple[str, str]]:
    """Yields what is wrong that the types can't say, and what to do about it."""
    shape, bounds, hub = entry.data.event_shape, entry.data.range, entry.weights and entry.weights.hub
    if not shape or min(shape) < 1:
        yield f"data.event_shape: {[*shape]} has no positive sizes", "for example [3, 64, 64]"
    if bounds and not bounds[0] < bounds[1]:
        yield "data.range: the lower end comes first", "for example [-1, 1]"
    if entry.data.levels and not bounds:
        yield "data.levels: without a range they are none", "say data.range too"
    if not entry.license.strip():
        yield "license: is empty", "name the licence of these weights, such as apache-2.0"
    for own in (part for part, spec in entry.parts.items() if spec == entry.name):
        yield f"parts.{own}: the entry is a part of itself", "name another entry"
    if hub and any(place.startswith(".") for place in f"{hub.repo}/{hub.revision or ''}".split("/")):
        yield f"weights.hub: {hub.repo}@{hub.revision} is no repository", "write USER/REPO"
    if hub and hub.revision is not None and not re.fullmatch(r"[A-Za-z0-9._/+-]{1,200}", hub.revision):
        yield f"weights.hub.revision: {hub.revision!r:.60} is none", "a commit, tag or branch"


def check_part(name: str, repo: str) -> None:
    """Refuses, with a :class:`RegistryError`, a part that would lead an entry of a repository to another place."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
        what = f"an entry of {repo} names the part {name[:100]!r}, which is no bare name"
        raise RegistryError(what, "it is not followed; ask its publisher to publish it with `dgm push`")


def write_entry(entry: Entry, path: str | os.PathLike[str]) -> Path:
    """Writes a `model.yaml` atomically: the file `path`, or one in this folder, which is made if need be."""
    path = Path(path) / ("" if os.fspath(path).endswith((".yaml", ".yml")) else ENTRY_FILE)
    with replacing(path) as file:
        file.write(dump_entry(entry))
    return path


def dump_entry(entry: Entry) -> bytes:
    """Returns what a `model.yaml` says, without defaults; raises a RegistryError if nobody could read just that."""
    from .files import yaml

    text = yaml.dump(_plain(entry)).encode()
    if _plain(_parsed(text, f"entry {entry.name}")) != _plain(entry):
        raise RegistryError(f"entry {entry.name} would be read as something else", "leave out odd characters")
    return text


def _plain(value: Any) -> Any:
    """Returns plain data of a struct without the fields that equal their defaults."""
    if isinstance(value, msgspec.Struct):
        held = [(f, getattr(value, f.name)) for f in msgspec.structs.fields(value)]
        return {f.encode_name: _plain(v) for f, v in held if v != default_of(f)}
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value
