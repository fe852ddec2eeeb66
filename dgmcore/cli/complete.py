"""Shell completion of names, from the index: no plugin and no torch is imported for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from glob import escape as glob_escape
from glob import glob

import typer

from ..calls.listing import info, list_models
from ..errors import DgmError
from ..interfaces import CAPABILITIES
from ..plugins import current
from ..plugins.provided import provided


def model_names(incomplete: str) -> list[tuple[str, str]]:
    """Names of models with their summaries."""
    rows = [row for row in current.index().rows if not row.hidden and row.shown_name.startswith(incomplete)]
    return [(row.shown_name, entry.summary or entry.data.dataset) for row in rows for entry in (row.entry(),)]


def described(incomplete: str) -> list[tuple[str, str]]:
    """Names of models and of architectures with their summaries, for `dgm info`."""
    kinds = [(name, kind.summary) for name, kind in provided().architectures.items() if name.startswith(incomplete)]
    return [*model_names(incomplete), *kinds]


def families(incomplete: str) -> list[str]:
    """Families of architectures."""
    return starting({record.family for record in provided().architectures.values()}, incomplete)


def datasets(incomplete: str) -> list[str]:
    """Data sets that plugins provide."""
    return starting(set(provided().datasets), incomplete)


def capabilities(incomplete: str) -> list[str]:
    """Names of the interfaces of a model."""
    return starting(set(CAPABILITIES), incomplete)


def critics(incomplete: str) -> list[str]:
    """Names of models that judge, for `--tilt`."""
    return starting({model["name"] for model in list_models(can="critic")}, incomplete)


def data(incomplete: str) -> list[str]:
    """Data sets with their splits, and files."""
    splits = {f"{name}:{split}" for name in datasets("") for split in ("train", "test")}
    files = {path + os.sep if os.path.isdir(path) else path for path in glob(f"{glob_escape(incomplete)}*")}
    return starting(splits | files, incomplete)


def options(context: typer.Context, incomplete: str) -> list[str]:
    """Options of the model that is on the line, for `--set`."""
    name = context.params.get("name") or next(iter(context.args), "")  # the line is not complete yet
    try:
        return starting({f"{key}=" for key in info(name)["options"]}, incomplete)
    except DgmError:
        return []


def subjects(incomplete: str) -> list[tuple[str, str]]:
    """Names of plugins, architectures and models, for `dgm check-plugin`."""
    names = starting({plugin.name for plugin in current.index().plugins}, incomplete)
    return [*((name, "a plugin") for name in names), *described(incomplete)]


def untrusted(incomplete: str) -> list[str]:
    """Files of the plugin folder that do not run, for `dgm plugins --trust`."""
    found = {p.name for p in current.index().plugins if p.status == "blocked" and p.source.kind == "file"}
    return starting(found, incomplete)


def formats(incomplete: str) -> list[str]:
    """Formats of checkpoints that plugins convert."""
    return starting(set(provided().converters), incomplete)


def operators(incomplete: str) -> list[str]:
    """How something was seen, for `--operator`."""
    return starting({f"{name}:" for name in provided().operators}, incomplete)


def among(*words: str) -> Callable[[str], list[str]]:
    """Completes by one of a few words."""
    return lambda incomplete: starting(set(words), incomplete)


def starting(words: set[str], incomplete: str) -> list[str]:
    """Words that start as the incomplete one, sorted."""
    return sorted(w for w in words if w.startswith(incomplete))
