"""Looks at an installation and says what is wrong with it and what to do."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from ..calls.by_plugins import lacking
from ..calls.listing import weights_path
from ..console import size
from ..entry import Weights
from ..errors import DgmError
from ..files.folders import environment_registries, user_cache, user_data
from ..files.safetensors import read_header
from ..files.verify import Mismatch, open_verified
from ..hub.cache import HUB, hub_cache
from ..plugins import current
from ..plugins.index import Index, Row
from ..plugins.sources import discover, limit
from ..suggestions import did_you_mean
from ..version import __version__

__all__ = ["TOPICS", "Finding", "examine"]

LITTLE = 1_000_000_000  # bytes of disk space


class Finding(NamedTuple):
    """What one check found: `status` is `ok`, `warn` (it works, but not as you may think) or `fail`."""

    status: str
    subject: str
    text: str
    hint: str = ""


def examine(*topics: str) -> Iterator[Finding]:
    """Yields the findings of all checks, or of some :data:`TOPICS`.

    The index is compiled anew, so every plugin is tried.
    """
    for topic, check in TOPICS.items():
        if not topics or topic in topics:
            try:
                yield from check()
            except Exception as e:
                hint = "run `dgm --debug doctor` and report the traceback"
                yield Finding("fail", topic, f"{type(e).__name__}: {e}", hint)


def _versions() -> Iterator[Finding]:
    yield Finding("ok", "python", f"{platform.python_version()} at {sys.prefix}, {platform.platform()}")
    try:
        core = metadata.distribution("dgmcore")
    except metadata.PackageNotFoundError:
        yield Finding("fail", "dgmcore", "is not installed, only on the path", "pip install dgmcore, or its checkout")
        return
    here = os.path.dirname(__file__)
    yield Finding("ok", "dgmcore", f"{core.version} at {here}")
    if core.version != __version__:
        what = f"{core.version} is installed, but {__version__} runs, from {here}"
        yield Finding("fail", "dgmcore", what, "reinstall it, and look at PYTHONPATH")
    seen: set[str] = set()
    for distribution in [core, *_plugin_distributions()]:
        yield from _python(distribution)
        for needed in _requirements(distribution):
            if str(needed) not in seen:
                seen.add(str(needed))
                found = _package(needed)
                if distribution is core:
                    yield found
                elif found.status != "ok":
                    yield found._replace(text=f"{found.text}, wanted by {distribution.metadata['Name']}")


def _plugin_distributions() -> Iterator[metadata.Distribution]:
    for source in discover():
        if source.kind == "installed" and source.distribution:
            with suppress(metadata.PackageNotFoundError):
                yield metadata.distribution(source.distribution)


def _python(distribution: metadata.Distribution) -> Iterator[Finding]:
    """Yields that a distribution does not want this Python, if that is so."""
    wanted = distribution.metadata["Requires-Python"]
    with suppress(InvalidSpecifier):
        if wanted and not SpecifierSet(wanted).contains(platform.python_version(), prereleases=True):
            what = f"{platform.python_version()} does not fit {wanted}, which {distribution.metadata['Name']} wants"
            yield Finding("fail", "python", what, "use another python")


def _requirements(distribution: metadata.Distribution) -> Iterator[Requirement]:
    """Yields what a distribution needs, its extras left out."""
    for text in distribution.requires or []:
        with suppress(InvalidRequirement):
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                yield needed


def _package(needed: Requirement) -> Finding:
    try:
        version = metadata.version(needed.name)
    except metadata.PackageNotFoundError:
        return Finding("fail", needed.name, "is not installed", f"pip install '{needed.name}{needed.specifier}'")
    if not needed.specifier.contains(version, prereleases=True):
        what = f"{version} does not fit {needed.specifier}"
        return Finding("fail", needed.name, what, f"pip install -U '{needed.name}{needed.specifier}'")
    return Finding("ok", needed.name, version)


def _cache() -> Iterator[Finding]:
    places = [
        ("cache", user_cache(), "the index is compiled for every command: set XDG_CACHE_HOME to a place you can write"),
        ("hub cache", Path(hub_cache()), "set HF_HOME to a place that you can write"),
        ("current folder", _folder(os.getcwd, ""), "go to a folder that you can write, or use --out"),
        (
            "temporary folder",
            _folder(tempfile.gettempdir, os.environ.get("TMPDIR", "/tmp")),
            "set TMPDIR to a folder that you can write; `dgm push` needs it",
        ),
    ]
    for subject, folder, hint in places:
        try:
            if subject.endswith("cache"):
                folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as e:
            yield Finding("fail" if subject == "hub cache" else "warn", subject, f"{folder}: {e.strerror or e}", hint)
            continue
        free = shutil.disk_usage(folder).free
        if free < LITTLE:
            yield Finding("warn", subject, f"{folder}: only {size(free)} free", "free some disk space")
        else:
            yield Finding("ok", subject, f"{folder}, {size(free)} free")
    yield Finding("ok", "your files", f"{user_data()} (plugins, registry, data)")


def _folder(found: Callable[[], str], otherwise: str) -> Path:
    try:
        return Path(found())
    except OSError:  # it was deleted, or can't be written
        return Path(otherwise)


def _installation() -> Iterator[Finding]:
    index = current.rebuild(anew=True)
    yield from _plugins(index)
    for package, what in lacking().items():
        yield Finding("warn", package, f"is not installed: it brings {', '.join(what)}", f"pip install {package}")
    yield from _entries(index)


def _plugins(index: Index) -> Iterator[Finding]:
    for plugin in index.plugins:
        subject, source = f"plugin {plugin.name}", plugin.source
        if plugin.status == "ok":
            yield Finding("ok", subject, f"{source.distribution or source.location} {source.version or ''}".strip())
        for error in plugin.errors:
            status = "warn" if plugin.status == "blocked" else "fail"
            yield Finding(status, subject, f"{plugin.status}: {error.what}", error.hint)
    known = {n for p in index.plugins for n in (p.name, p.source.distribution) if n}
    for name in sorted((limit() or set()) - known):
        yield Finding("fail", "DGM_PLUGINS", f"there is no plugin {name}", did_you_mean(name, known))
    if index.path is None:
        yield Finding("warn", "index", "could not be stored", "make the cache writable, and mend what is broken")
    else:
        yield Finding("ok", "index", f"{len(index.plugins)} plugins, {len(index.rows)} entries in {index.path}")


def _entries(index: Index) -> Iterator[Finding]:
    for folder in environment_registries():
        if not folder.is_dir():
            yield Finding("fail", "DGM_REGISTRY", f"there is no folder {folder}", "correct the variable")
    for bad in index.invalid:
        yield Finding("fail", "entry", bad.what, bad.hint)
    entries = {name: row.entry() for row in index.rows for name in (row.name, row.full_name)}
    told, known = lacking(), index.provided.architectures
    for row in index.rows:
        entry, subject = row.entry(), f"entry {row.full_name}"
        own = {entry.architecture, *(part.architecture for part in entry.own_parts())} - set(known)
        for kind in [] if entry.package in told else sorted(own):
            perhaps = f", perhaps {' or '.join(told)}" if told else ""
            hint = f"install the plugin that provides it{perhaps}, or mend that plugin"
            yield Finding("warn", subject, f"no plugin provides the architecture {kind}", hint)
        for part in entry.part_names():
            if part not in entries:
                yield Finding("warn", subject, f"its part {part} is no model here", did_you_mean(part, entries))
            elif (kind := entries[part].architecture) not in known:
                hint = f"pip install {entries[part].package or 'the plugin that does'}"
                yield Finding("warn", subject, f"no plugin provides the architecture {kind} of its part {part}", hint)
        if row.ambiguous:
            yield Finding("warn", subject, "several plugins have this name", f"call it {row.full_name}")
        if row.overrides:
            yield Finding("ok", subject, f"overrides {', '.join(row.overrides)}")
        if entry.weights is not None:
            yield from _weights(row, entry.weights, subject)


def _weights(row: Row, weights: Weights, subject: str) -> Iterator[Finding]:
    """Compares a weights file, beside the entry or in the Hub's cache, with what the entry says of it."""
    path = weights_path(row.folder, weights)
    if path is None:
        if weights.hub is None:
            missing = f"its weights {os.path.join(row.folder, weights.file)} are missing"
            yield Finding("warn", subject, missing, "put the file there, or train it again")
        return
    hint = "get the file again: `git lfs pull`, or `dgm pull`, or reinstall"
    try:
        with open(path, "rb") as file:
            if file.read(24) == b"version https://git-lfs.":
                yield Finding("fail", subject, f"{path} is a pointer of git-lfs, not the file", "run `git lfs pull`")
                return
        open_verified(path, weights.size, weights.sha256).close()
        read_header(path)
    except Mismatch as e:
        yield Finding("fail", subject, f"{path}: {e.why}", hint)
    except OSError as e:
        yield Finding("fail", subject, f"{path}: {e.strerror or e}", "check its permissions")
    except DgmError as e:
        yield Finding("fail", subject, e.what, e.hint)


def _settings() -> Iterator[Finding]:
    names = ("HF_ENDPOINT", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "DGM_DATA", "DGM_REGISTRY", "DGM_PLUGINS")
    found = [f"{name}={os.environ[name]}" for name in names if name in os.environ]
    found = [re.sub(r"//[^/@]*@", "//***@", setting) for setting in found]  # a password in a URL
    yield Finding("ok", "settings", ", ".join(found) or "none in the environment")
    endpoint = os.environ.get("HF_ENDPOINT")
    if endpoint and not HUB.fullmatch(endpoint):
        hint = "set it to https://... or unset it"
        yield Finding("fail", "HF_ENDPOINT", f"{endpoint} is no address of a Hub", hint)
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        yield Finding("warn", "HF_HUB_OFFLINE", "the network is switched off", "unset it to pull or push")
    for folder in filter(None, os.environ.get("DGM_DATA", "").split(os.pathsep)):
        if not os.path.isdir(os.path.expanduser(folder)):
            yield Finding("fail", "DGM_DATA", f"there is no folder {folder}", "correct the variable")
    token = "HF_TOKEN" in os.environ or _token_file().is_file()
    yield Finding("ok", "hub token", "there is one" if token else "none: enough to pull public models, not to push")


def _token_file() -> Path:
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return Path(os.environ.get("HF_TOKEN_PATH") or os.path.join(home, "token")).expanduser()


def _device() -> Iterator[Finding]:
    try:
        import torch
    except Exception as e:
        what = f"can't be imported: {type(e).__name__}: {e}"
        yield Finding("fail", "torch", what, "pip install --force-reinstall torch")
        return
    try:
        if torch.ones(2).numpy().sum() != 2:
            yield Finding("fail", "torch", "1 + 1 is not 2 here", "pip install --force-reinstall torch numpy")
    except RuntimeError as e:
        first = str(e).splitlines()[0]
        yield Finding("fail", "torch", f"does not work with numpy: {first}", "pip install --force-reinstall numpy")
    if torch.version.cuda is None and os.path.exists("/proc/driver/nvidia/version"):
        hint = "install a torch with CUDA, see https://pytorch.org/get-started"
        yield Finding("warn", "device", "there is an NVIDIA driver, but this torch is for the CPU", hint)
    devices = [f"cpu with {torch.get_num_threads()} threads"]
    try:
        for i in range(torch.cuda.device_count()):
            torch.zeros(1, device=f"cuda:{i}").add_(1)
            devices.append(f"cuda:{i} {torch.cuda.get_device_name(i)}, {size(torch.cuda.mem_get_info(i)[0])} free")
        if torch.backends.mps.is_available():
            devices.append("mps")
    except Exception as e:
        first = str(e).splitlines()[0] if str(e) else ""
        yield Finding("fail", "device", f"{type(e).__name__}: {first}", "check the driver, or use --device cpu")
    yield Finding("ok", "device", "; ".join(devices))


#: The checks, in the order in which they are made.
TOPICS: dict[str, Callable[[], Iterator[Finding]]] = {
    "versions": _versions,
    "caches": _cache,
    "index": _installation,
    "settings": _settings,
    "device": _device,
}
