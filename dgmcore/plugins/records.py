"""What is known of plugins, as typed records; among them :class:`Provides`, the table of what they can provide."""

# annotations are not postponed here: msgspec would evaluate each of them at every start

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args, get_type_hints

import msgspec
from msgspec import field

from ..suggestions import did_you_mean

# what hooks say is text: fields of these types are the keys of their dicts, the first is the name
Key = Annotated[str, msgspec.Meta(max_length=200)]
Line = Annotated[str, msgspec.Meta(max_length=2000)]
_IMPORT = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


class Provided(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One thing that a plugin provides."""

    plugin: str = ""


class Function(Provided):
    """A function, or a command, by its import string `module:name`."""

    name: Key
    import_: Key = field(name="import")
    summary: Line = ""


class Command(Provided):
    """A typer app."""

    name: Key
    help: Key
    import_: Key = field(name="import")


class Features(Provided):
    """The entry whose features metrics of a data set compare."""

    dataset: Key
    entry: Key
    summary: Line = ""


class Converter(Provided):
    """A function that reads a format of foreign checkpoints."""

    format: Key
    import_: Key = field(name="import")
    summary: Line = ""
    license: Line = ""


class Option(msgspec.Struct):
    """An option of a model's sampling."""

    type: str
    default: Any = None


class Architecture(Provided):
    """A class of models, and what the class says: capabilities, and options of sampling."""

    name: Key
    family: Key
    import_: Key = field(name="import")
    summary: Line = ""
    paper: Line = ""
    capabilities: list[str] = []
    likelihood: str | None = None
    sampling: dict[str, Option] = {}


class Provides(msgspec.Struct, omit_defaults=True):
    """The table of kinds: what a plugin provides, or all of them together.

    The hook of a row is `dgm_KIND`. It returns dicts, which become the struct named here, by the struct's first key.
    A new kind is a row here and its hookspec in :mod:`dgmcore.hookspecs`.
    """

    architectures: dict[str, Architecture] = {}
    datasets: dict[str, Function] = {}
    metrics: dict[str, Function] = {}
    features: dict[str, Features] = {}
    converters: dict[str, Converter] = {}
    commands: dict[str, Command] = {}
    samplers: dict[str, Function] = {}
    operators: dict[str, Function] = {}
    calls: dict[str, Function] = {}
    registries: list[str] = []  # folders of entries: paths, no records


HOOKS = [f"dgm_{kind}" for kind in Provides.__struct_fields__]
#: The struct of each kind that has records.
KINDS: dict[str, type[Provided]] = {
    kind: get_args(hint)[1] for kind, hint in get_type_hints(Provides).items() if hint != list[str]
}


def hook_keys(record: type[Provided]) -> tuple[list[str], list[str]]:
    """Returns the keys that a hook's dict needs, the name first, and those that it may have."""
    keys = [f for f in msgspec.structs.fields(record) if f.type in (Key, Line)]
    return [f.encode_name for f in keys if f.required], [f.encode_name for f in keys if not f.required]


def checked(record: type[Provided], item: object, plugin: str) -> Provided:
    """Returns the record that a dict of a hook describes; raises a ValueError with what is wrong if it is none."""
    if not isinstance(item, Mapping):
        raise ValueError(f"{item!r:.60} is not a dict")
    needed, optional = hook_keys(record)
    for key in needed:
        if key not in item:
            raise ValueError(f"{dict(item)!r:.80} lacks the key {key}")
    for key, value in item.items():
        if key not in (*needed, *optional):
            raise ValueError(f"unknown key {key!r}, {did_you_mean(str(key), [*needed, *optional], n=1)}")
        if isinstance(value, str) and not value.isprintable():
            raise ValueError(f"{key} must be one short printable line, not {value!r:.60}")
        if key == "import" and isinstance(value, str) and not _IMPORT.fullmatch(value):
            raise ValueError(f"import must read module:name, not {value!r:.60}")
    return msgspec.convert({**item, "plugin": plugin}, record)


Status = Literal["ok", "broken", "incompatible", "blocked"]
#: What blocks a plugin by the user's choice; whatever else does wants to be told.
NOT_NAMED = "not named in DGM_PLUGINS"


class Source(msgspec.Struct, frozen=True):
    """Where a plugin is."""

    name: str
    kind: Literal["builtin", "installed", "file"]
    value: str  # its module, or `module:object`
    distribution: str | None = None  # that brings it; none brings a file
    version: str | None = None
    location: str = ""  # the folder that the distribution was found in, or the file


class Problem(msgspec.Struct, omit_defaults=True):
    """What is wrong with a plugin, and what to do about it; for authors also where it was raised."""

    what: str
    hint: str
    traceback: str | None = None
    status: Status = "broken"
    passing: bool = False  # the machine's fault, such as a lack of memory: it is not remembered


class PluginRecord(msgspec.Struct, omit_defaults=True):
    """Everything that is known of a plugin."""

    source: Source
    provides: Provides = field(default_factory=Provides)  # with names that other plugins had first
    problems: list[Problem] = []
    clashes: list[Problem] = []  # with the names of others, settled whenever the index is compiled
    files: list[str] = []  # that all this depends on

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def errors(self) -> list[Problem]:
        """All that is wrong with it."""
        return [*self.problems, *self.clashes]

    @property
    def status(self) -> Status:
        return self.errors[-1].status if self.errors else "ok"
