"""Looks at an installation and says what is wrong with it and what to do."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from . import discovery, index
from .errors import did_you_mean
from .folders import environment_registries, user_cache, user_data
from .output import size

__all__ = ["Finding", "examine"]

LITTLE = 1_000_000_000  # bytes of disk space


class Finding(NamedTuple):
    """What one check found: `status` is `ok`, `warn` (it works, but not as you may think) or `fail`."""

    status: str
    subject: str
    text: str
    hint: str = ""


def examine() -> Iterator[Finding]:
    """Yields the findings of all checks; the index is compiled anew, so every plugin is tried."""

    yield from _versions()
    yield from _cache()
    try:
        compiled = index.rebuild(anew=True)
    except Exception as e:
        yield Finding("fail", "index", f"{type(e).__name__}: {e}", "run `dgm --debug doctor` and report the traceback")
    else:
        yield from _plugins(compiled)
        yield from _entries(compiled)
    yield from _hub()
    yield from _device()


def _versions() -> Iterator[Finding]:
    yield Finding("ok", "python", f"{platform.python_version()} at {sys.prefix}, {platform.platform()}")
    try:
        core = metadata.distribution("dgmcore")
    except metadata.PackageNotFoundError:
        yield Finding(
            "fail", "dgmcore", "is not installed, only on the path", "pip install dgmcore, or -e its checkout"
        )
        return
    yield Finding("ok", "dgmcore", f"{core.version} at {os.path.dirname(__file__)}")
    try:
        from packaging.requirements import InvalidRequirement, Requirement
    except ImportError:
        yield Finding("warn", "packages", "not checked", "pip install packaging")
        return
    for text in core.requires or []:
        try:
            needed = Requirement(text)
        except InvalidRequirement:
            continue
        if needed.marker is None or needed.marker.evaluate({"extra": ""}):
            yield _package(needed.name, str(needed.specifier), needed.specifier.contains)


def _package(name: str, specifier: str, fits: object) -> Finding:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding("fail", name, "is not installed", f"pip install '{name}{specifier}'")
    if not fits(version, prereleases=True):  # type: ignore[operator]
        return Finding("fail", name, f"{version} does not fit {specifier}", f"pip install -U '{name}{specifier}'")
    return Finding("ok", name, version)


def _cache() -> Iterator[Finding]:
    from .registry import hub_cache

    places = [
        ("cache", user_cache(), "the index is compiled for every command: set XDG_CACHE_HOME to a place you can write"),
        ("hub cache", Path(hub_cache()), "set HF_HOME to a place that you can write"),
        ("current folder", Path.cwd(), "go to a folder that you can write, or use --out"),
    ]
    for subject, folder, hint in places:
        try:
            if subject != "current folder":
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


def _plugins(compiled: index.Index) -> Iterator[Finding]:
    for plugin in compiled.plugins:
        subject = f"plugin {plugin['name']}"
        if plugin["status"] == "ok":
            yield Finding(
                "ok", subject, f"{plugin['distribution'] or plugin['location']} {plugin['version'] or ''}".strip()
            )
        for error in plugin["errors"]:
            status = "warn" if plugin["status"] == "blocked" else "fail"
            yield Finding(status, subject, f"{plugin['status']}: {error['what']}", error["hint"])
    known = {n for p in compiled.plugins for n in (p["name"], p["distribution"]) if n}
    for name in sorted((discovery.limit() or set()) - known):
        yield Finding("fail", "DGM_PLUGINS", f"there is no plugin {name}", did_you_mean(name, known))
    if compiled.path is None:
        yield Finding("warn", "index", "could not be stored", "make the cache writable")
    else:
        yield Finding(
            "ok", "index", f"{len(compiled.plugins)} plugins, {len(compiled.rows)} entries in {compiled.path}"
        )


def _entries(compiled: index.Index) -> Iterator[Finding]:
    for folder in environment_registries():
        if not folder.is_dir():
            yield Finding("fail", "DGM_REGISTRY", f"there is no folder {folder}", "correct the variable")
    for bad in compiled.invalid:
        yield Finding("fail", "entry", bad["what"], bad["hint"])
    names = {name for row in compiled.rows for name in (row["name"], row["full_name"])}
    for row in compiled.rows:
        subject = f"entry {row['full_name']}"
        if row["plugin"] is None:
            hint = "install the plugin that provides it, or mend that plugin"
            yield Finding("warn", subject, f"no plugin provides the architecture {row['architecture']}", hint)
        for part in row["parts"]:
            if part not in names:
                yield Finding("warn", subject, f"its part {part} is no model here", did_you_mean(part, names))
        if row["ambiguous"]:
            yield Finding("warn", subject, "several plugins have this name", f"call it {row['full_name']}")
        if row["overrides"]:
            yield Finding("ok", subject, f"overrides {', '.join(row['overrides'])}")
        path = os.path.join(row["folder"], row["file"]) if row["file"] else None
        if path and row["bytes"] and os.path.isfile(path) and os.path.getsize(path) != row["bytes"]:
            what = f"{path} has {os.path.getsize(path):,} bytes, the entry says {row['bytes']:,}"
            yield Finding("fail", subject, what, "get the file again: `git lfs pull`, or `dgm pull`, or reinstall")


def _hub() -> Iterator[Finding]:
    names = ("HF_ENDPOINT", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "DGM_DATA", "DGM_REGISTRY", "DGM_PLUGINS")
    found = [f"{name}={os.environ[name]}" for name in names if name in os.environ]
    found = [re.sub(r"//[^/@]*@", "//***@", setting) for setting in found]  # a password in a URL
    yield Finding("ok", "settings", ", ".join(found) or "none in the environment")
    token = "HF_TOKEN" in os.environ or _token_file().is_file()
    yield Finding("ok", "hub token", "there is one" if token else "none: enough to pull public models, not to push")


def _token_file() -> Path:
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return Path(os.environ.get("HF_TOKEN_PATH") or os.path.join(home, "token")).expanduser()


def _device() -> Iterator[Finding]:
    try:
        import torch
    except Exception as e:
        yield Finding(
            "fail", "torch", f"can't be imported: {type(e).__name__}: {e}", "pip install --force-reinstall torch"
        )
        return
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
