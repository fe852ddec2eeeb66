"""Making registry entries of checkpoints that others publish."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from .. import plugins
from ..entry import Data, Name, Paper
from ..errors import DgmError, PluginError, UsageError, WeightsError
from ..files.folders import user_registry
from ..files.safetensors import TensorInfo
from ..files.tensors import Misfit, copy_tensors
from ..files.verify import sha256_of
from ..hub.cache import split_address
from ..loading.load import build, memory_limit
from ..model import save
from ..plugins.imports import import_string
from ..plugins.provided import imported
from ..plugins.records import Converter
from ..suggestions import did_you_mean
from .foreign import read_checkpoint, tensors_of

if TYPE_CHECKING:
    from torch import Tensor

    from ..model import Model

__all__ = ["Converted", "convert", "convert_part", "options_of", "read_checkpoint", "tensors_of"]

#: What code that was written for other tensors than these raises.
_MISFIT = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@dataclass
class Converted:
    """What a converter makes of a checkpoint.

    A converter is a function `(files: list[Path], options: dict) -> Converted`, registered by the hook
    `dgm_converters`. It must account for every tensor of the file, and raise where it can't.

    Attributes:
        architecture: A registered architecture.
        config: Its config; what is left out takes the class's default.
        state: Tensors by the names of the model built from `architecture`, `config` and `parts`.
        license: The licence of the weights; None where the files don't tell, and the user must.
        data: What the model stands for.
        summary: One line.
        parts: Parts, as in an entry: the name of an entry, or a description of an own part.
        sampling: Defaults of the sampling options.
        papers: The papers.
        tags: Words to search by.
        ema: Whether the weights are an average.
        notes: What else there is to know: whose copyright, which quirks.
        files: The files that were read, where they are not just those given (a folder's).
    """

    architecture: str
    config: dict[str, Any]
    state: dict[str, Tensor]
    license: str | None
    data: Data | Mapping[str, Any]
    summary: str = ""
    parts: dict[str, Any] = field(default_factory=dict)
    sampling: dict[str, Any] = field(default_factory=dict)
    papers: Sequence[Paper | Mapping[str, Any]] = ()
    tags: Sequence[str] = ()
    ema: bool = False
    notes: Sequence[str] = ()
    files: Sequence[Path] = ()


def convert(
    files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    as_: str,
    format: str | None = None,
    out: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Path:
    """Makes a registry entry of a checkpoint.

    Arguments:
        files: The checkpoint, or the files that make up one model, or a folder of them; `hf://USER/REPO@REVISION` for
            a repository, where the format can fetch one.
        as_: The entry's name.
        format: Its format, one of `dgm_converters`; found from the files where it is left out.
        out: The folder that the entry's folder is made in; the user's own registry if left out.
        options: What the files don't say, for the converter; `license`, `summary` and `url` for the entry.

    Returns:
        The entry's folder.

    Raises:
        DgmError: If a file can't be read, its format is unknown, or a tensor is unknown or missing.
    """
    given = [os.fspath(f) for f in ([files] if isinstance(files, (str, os.PathLike)) else files)]
    paths = [_fetch(f, format, options) if f.startswith("hf://") else Path(f) for f in given]
    for path in paths:
        if not path.exists():
            raise UsageError(f"there is no file {path}", "check the path")
    if not paths:
        raise UsageError("no file to convert", "name the checkpoint's file")
    _check_name(as_)
    told = {key: options.pop(key) for key in ("license", "summary", "url") if key in options}
    format, converted, model = _convert(paths, format, options)
    license = told.get("license", converted.license)
    if not license:
        raise UsageError(
            f"{paths[0].name} does not state the licence of its weights",
            "find out, then --set license=... (an SPDX name)",
        )
    folder = Path(out) / as_ if out is not None else user_registry() / as_
    return save(
        model,
        folder,
        name=as_,
        license=str(license),
        data=converted.data,
        summary=str(told.get("summary", converted.summary)),
        architecture=converted.architecture,
        ema=converted.ema,
        sampling=converted.sampling,
        training={"source": _source(converted, paths, format, str(license), told.get("url"))},
        papers=converted.papers,
        tags=converted.tags,
    )


def _fetch(name: str, format: str | None, options: dict[str, Any]) -> Path:
    """Returns the folder of a Hub repository: the work of `fetch(repo, revision, options)` in a converter's module."""
    repo, revision = split_address(name)
    for known in plugins.converters().values():
        if format in (None, known.format):
            with suppress(AttributeError, ImportError):
                fetch = import_string(f"{known.import_.partition(':')[0]}:fetch")
                break
    else:
        raise UsageError(f"no converter fetches {name}", "download its files, then: dgm convert FILE... --as NAME")
    options.setdefault("url", name)
    return Path(fetch(repo, revision, options))


def _source(converted: Converted, paths: list[Path], format: str, license: str, url: Any) -> dict[str, Any]:
    """Returns what an entry says of the files that its weights come from."""
    files = [{"file": p.name, "sha256": sha256_of(p)} for p in converted.files or paths]
    source: dict[str, Any] = {**files[0]} if len(files) == 1 else {"files": files}
    source |= {"format": format, "license": converted.license or license}
    source |= {"url": url} if url is not None else {}
    source |= {"notes": list(converted.notes)} if converted.notes else {}
    return source


def _check_name(name: str) -> None:
    try:
        msgspec.convert(name, Name)
    except msgspec.ValidationError:
        raise UsageError(f"{name} is no name for an entry", "use a-z, 0-9 and -, such as my-model") from None


def _convert(paths: list[Path], format: str | None, options: dict[str, Any]) -> tuple[str, Converted, Model]:
    known = plugins.converters()
    if format is not None:
        if format not in known:
            raise UsageError(f"there is no format {format}", did_you_mean(format, known))
        return _try(format, known[format], paths, options)
    tried = _detect(paths, known, options)
    if len(tried) == 1:
        return tried[0]
    if tried:
        names = ", ".join(name for name, *_ in tried)
        raise UsageError(f"{paths[0].name} could be any of {names}", f"say which: --format {tried[0][0]}")
    raise UsageError(
        f"no converter knows {', '.join(p.name for p in paths)}",
        f"say which format it is and why it fails is shown: --format {' | '.join(sorted(known)) or '(none known)'}",
    )


def _detect(
    paths: list[Path], known: Mapping[str, Converter], options: dict[str, Any]
) -> list[tuple[str, Converted, Model]]:
    """Returns what the converters that can make a model of the files make of them.

    A converter's module may settle ties with a function `detect(files) -> format | None`.
    """
    for path in paths:  # errors of the files themselves are not a matter of formats
        if path.suffix not in (".json",) and path.is_file():
            read_checkpoint(path, allow=(Namespace,))
    tried: list[tuple[str, Converted, Model]] = []
    for name, record in sorted(known.items()):
        try:
            tried.append(_try(name, record, paths, options))
        except (DgmError, *_MISFIT):
            continue  # made for other files
    if len(tried) > 1:
        for name, *_ in tried:
            module = known[name].import_.partition(":")[0]
            try:
                chosen = import_string(f"{module}:detect")(paths)
            except AttributeError:
                continue
            tried = [t for t in tried if t[0] == chosen] or tried
    return tried


def _try(format: str, record: Converter, paths: list[Path], options: dict[str, Any]) -> tuple[str, Converted, Model]:
    """Runs a converter, builds the model that it describes, and fills it."""
    function = imported(record.plugin, f"converter {format}", record.import_)
    try:
        converted = function(list(paths), dict(options))
    except _MISFIT as e:
        reason = f"the tensor {e.args[0]} is missing" if isinstance(e, KeyError) else f"{type(e).__name__}: {e}"
        raise WeightsError(
            f"the checkpoint does not fit the format {format}: {reason}", "try another --format; --debug shows more"
        ) from e
    if not isinstance(converted, Converted):
        raise PluginError(f"the converter {format} returns no Converted", "correct the plugin")
    with memory_limit(_header(converted.state), f"the format {format}"):
        model = build(converted.architecture, converted.config, converted.parts, init=False)
    fill(model, converted.state, format)
    return format, converted, model.eval()


def _header(state: Mapping[str, Tensor]) -> dict[str, TensorInfo]:
    """Returns tensors as the header of a file has them, those that are the same counted once."""
    header, end = {}, 0
    for name, tensor in {id(tensor): (name, tensor) for name, tensor in state.items()}.values():
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = TensorInfo(dtype=str(tensor.dtype), shape=tuple(tensor.shape), data_offsets=(begin, end))
    return header


def convert_part(format: str, files: Sequence[Path], options: Mapping[str, Any]) -> Converted:
    """Returns what the converter of another format makes of files, for formats that are composed of others.

    Raises:
        PluginError: If no plugin provides the format.
    """
    known = plugins.converters()
    if format not in known:
        raise PluginError(f"no installed plugin reads the format {format}", "install the plugin that does")
    converted: Converted = import_string(known[format].import_)(list(files), dict(options))
    return converted


def options_of(options: Mapping[str, Any], **known: Any) -> dict[str, Any]:
    """Returns a converter's options, defaults filled in.

    Raises:
        UsageError: For an option that the format does not have.

    Example:
        >>> options_of({"steps": 4}, steps=8, dataset="moons")
        {'steps': 4, 'dataset': 'moons'}
    """
    for key in options:
        if key not in known:
            raise UsageError(f"this format has no option {key}", did_you_mean(key, known))
    return {**known, **options}


def fill(model: Model, state: Mapping[str, Tensor], format: str) -> None:
    """Copies converted tensors into a model, after checking that all are there and all fit.

    Raises:
        WeightsError: With the tensors that are missing, unknown, of another shape, or not finite.
    """
    targets = list(model.own_groups())
    kinds = {name: t.dtype for group in targets for name, t in group.items() if t.is_floating_point()}
    # a number may be finite in the file's type and not in the model's
    cast = {k: v.to(kinds.get(k, v.dtype)) if v.is_floating_point() else v for k, v in state.items()}
    try:
        copy_tensors(targets, cast, cast=True)
    except Misfit as e:
        raise WeightsError(
            f"the checkpoint does not fit the format {format}: {e}",
            "try another --format, or --set what the config should be",
        ) from None
