"""Fetching weights: those of models, and of all that they are composed of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from ..errors import DgmError
from ..loading.weights import beside, open_weights
from ..registry.find import Located, find, with_parts
from .listing import list_models

__all__ = ["Pulled", "pull"]


class Pulled(NamedTuple):
    """What :func:`pull` did for one entry."""

    name: str
    path: Path | None  #: the verified weights; None where an entry has none of its own
    size: int
    license: str


def pull(
    names: str | Iterable[str] = (),
    *,
    all: bool = False,
    revision: str | None = None,
    report: Callable[[Pulled], object] | None = None,
) -> list[Pulled]:
    """Fetches the weights of models and of all their parts, and verifies them.

    Arguments:
        names: Names as for :func:`dgmcore.load`.
        all: Every model of the registry that has weights somewhere.
        revision: Commit, tag or branch on the Hub, instead of the entries' own.
        report: Is called with each record as soon as it is there, also of those that are pulled where others fail.

    Returns:
        A record of each entry, each once.

    Raises:
        DgmError: If models fail, after all others were tried: which, and why each.
    """
    wanted = [names] if isinstance(names, str) else list(names)
    if all:
        known = {model["name"]: find(model["name"]) for model in list_models()}
        wanted += [n for n, x in known.items() if x.entry.weights and (x.entry.weights.hub or beside(x))]
    done: dict[str, Pulled] = {}
    failures: dict[str, DgmError] = {}
    for name in dict.fromkeys(wanted):
        on_hub = name.startswith("hf://")
        try:
            located = with_parts(find(f"{name.partition('@')[0]}@{revision}" if on_hub and revision else name))
            for i, part in enumerate(located):
                if part.full_name not in done:
                    done[part.full_name] = _pull_one(part, None if on_hub or i else revision)
                    if report:
                        report(done[part.full_name])
        except DgmError as e:
            failures[name] = e
    if failures:
        first = next(iter(failures.values()))
        each = "; ".join(f"{name}: {error.what}" for name, error in failures.items())
        what = f"{len(failures)} of {len(wanted)} failed: {each}" if len(wanted) > 1 else first.what
        raise type(first)(what, first.hint)
    return list(done.values())


def _pull_one(located: Located, revision: str | None) -> Pulled:
    entry = located.entry
    if entry.weights is None:
        return Pulled(entry.name, None, 0, entry.license)
    with open_weights(located, revision) as (path, _):
        return Pulled(entry.name, path, path.stat().st_size, entry.license)
