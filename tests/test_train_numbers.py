"""Every number of a recipe and of every phase's options, at 0, -1, something huge and NaN.

What is accepted trains two steps and leaves a finite entry, or stops in two lines; what is not is refused in two lines.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from dgm_authors.subject import Subject
from dgm_train.recipe import PhaseRecipe, Recipe
from msgspec import inspect
from safetensors.torch import load_file

import dgmcore
from dgmcore.data.spec import DataSpec
from dgmcore.errors import DgmError, PluginError
from dgmcore.loading.load import build
from dgmcore.plugins import architecture, architectures
from dgmcore.plugins.imports import import_string

Keys = tuple[str | int, ...]
HUGE = {int: 10**12, float: 1e30}
BATCH = 8
RECIPE = {
    "schema": 1,
    "name": "odd",
    "architecture": "realnvp",
    "config": {"dim": 2, "hidden": [8]},
    "data": {"dataset": "moons"},
    "license": "CC0-1.0",
    "threads": 1,
}
PHASE = {"phase": "likelihood", "batch_size": BATCH, "steps": 2}
#: Examples of architectures that have none of their own.
PARTS = {
    "vaebm": {
        "base": {"architecture": "mlp-vae", "config": {"hidden": [8]}},
        "critic": {"architecture": "mlp-energy", "config": {"hidden": [8]}},
    }
}


@pytest.fixture(scope="module", autouse=True)
def here(tmp_path_factory):
    """A folder of its own, all plugins that are installed, and no pictures, which take longer than two steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("numbers"))
        patch.delenv("DGM_PLUGINS", raising=False)
        patch.setattr("dgm_train.results.entries.draw_picture", lambda *_: False)
        yield


def numbers_of(kind: type[msgspec.Struct]) -> list[tuple[Keys, type]]:
    """Returns the path and the type of every number in a struct, its structs and its tuples."""
    found = inspect.type_info(kind)
    assert isinstance(found, inspect.StructType)
    return [n for f in found.fields for n in _numbers_in(f.type, (f.name,))]


def _numbers_in(kind: inspect.Type, path: Keys) -> Iterator[tuple[Keys, type]]:
    match kind:
        case inspect.IntType():
            yield path, int
        case inspect.FloatType():
            yield path, float
        case inspect.UnionType(types=types):
            for inner in types:
                yield from _numbers_in(inner, path)
        case inspect.TupleType(item_types=types):
            for i, inner in enumerate(types):
                yield from _numbers_in(inner, (*path, i))
        case inspect.StructType(fields=fields) if kind.cls not in (DataSpec, PhaseRecipe):  # those have their own turn
            for field in fields:
                yield from _numbers_in(field.type, (*path, field.name))
        case inspect.DictType(value_type=inner) if path[-1] == "start":  # the noises of a VAEBM
            yield from _numbers_in(inner, (*path, "x"))


def odd_values(kind: type) -> dict[str, float]:
    return {"zero": kind(0), "minus": kind(-1), "huge": HUGE[kind], "nan": math.nan}


def changed(data: dict[str, Any], path: Keys, value: Any, whole: tuple[float, ...]) -> dict[str, Any]:
    """Returns data with one number changed; the others of a tuple are those of `whole`."""
    head, *rest = path
    if rest and isinstance(rest[0], int):
        return {**data, head: [value if i == rest[0] else x for i, x in enumerate(whole)]}
    return {**data, head: changed(data.get(head, {}), tuple(rest), value, whole) if rest else value}


def two_steps(recipe: dict[str, Any], what: str) -> str:
    """Trains, and returns `accepted` or the error."""
    folder = Path("runs") / recipe["name"]
    shutil.rmtree(folder, ignore_errors=True)
    try:
        dgmcore.train(recipe)
    except DgmError as e:
        assert e.what and e.hint and "\n" not in e.what + e.hint, what
        assert not list(folder.rglob("model.yaml")), what
        return f"{e.what} ({e.hint})"
    except Exception as e:
        raise AssertionError(f"{what}: {type(e).__name__}: {e}") from e
    state = load_file(folder / "registry" / recipe["name"] / "model.safetensors")
    assert all(t.isfinite().all() for t in state.values() if t.is_floating_point()), f"{what}: the entry is not finite"
    return "accepted"


# --- recipes -----------------------------------------------------------------------------------------


def test_the_numbers_are_found():
    recipe, phase, data = ({".".join(map(str, p)) for p, _ in numbers_of(k)} for k in (Recipe, PhaseRecipe, DataSpec))
    assert recipe >= {"seed", "threads", "checkpoint_minutes", "checkpoint_steps", "validate_every"}
    assert phase >= {"epochs", "ema", "clip_norm", "optimizer.lr", "optimizer.betas.1", "schedule.factor"}
    assert data >= {"range.0", "levels", "limit", "pad"} and len(recipe | phase | data) > 30


@pytest.mark.parametrize("kind", [Recipe, PhaseRecipe, DataSpec], ids=lambda k: k.__name__)
def test_every_number_of_a_recipe(kind):
    write_data(pictures())
    for path, number in numbers_of(kind):
        for name, value in odd_values(number).items():
            phase, recipe = dict(PHASE), dict(RECIPE)
            if kind is Recipe:
                recipe = changed(recipe, path, value, ())
            elif kind is PhaseRecipe:
                phase = changed(phase_for(path), path, value, (0.9, 0.999))
            else:
                glow = {"event_shape": [1, 8, 8], "steps": [1], "hidden": [4], "top_steps": 1, "top_hidden": 4}
                data = {"dataset": "data.npz", "dequantize": True}
                recipe |= {"architecture": "glow", "config": glow, "data": changed(data, path, value, (-1.0, 1.0))}
            what = f"{kind.__name__}.{'.'.join(map(str, path))}={value}"
            said = two_steps({**recipe, "phases": [phase]}, what)
            if name in ("minus", "nan") and path[0] != "range":
                assert said != "accepted", f"{what} is accepted"


def phase_for(path: Keys) -> dict[str, Any]:
    """Returns a phase in which a number counts."""
    phase: dict[str, Any] = dict(PHASE)
    if path[0] in ("epochs", "minutes"):
        del phase["steps"]
    if path[-1] == "momentum":
        phase["optimizer"] = {"name": "sgd"}
    if path[0] == "schedule":
        phase["schedule"] = {"name": "step" if path[1] in ("every", "factor") else "cosine", "every": 1}
    return phase


# --- the options of phases ---------------------------------------------------------------------------


def write_data(x: np.ndarray) -> dict[str, Any]:
    """Writes data with labels, and returns how a recipe names them."""
    np.savez("data.npz", x_train=x, y_train=np.arange(len(x)) % 2)
    return {"dataset": "data.npz"}


def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (32, 8, 8), np.uint8)


def every_phase() -> dict[str, tuple[str, str]]:
    """Returns an architecture and its name for each phase that some architecture names, by import string."""
    found: dict[str, tuple[str, str]] = {}
    for name in sorted(architectures()):
        with suppress(PluginError):  # one that is installed but not here: `dgm plugins` says so
            for phase, where in architecture(name).phases.items():
                found.setdefault(where, (name, phase))
    return found


def test_the_phases_are_found():
    families = {where.partition(".")[0] for where in every_phase()}
    assert families >= {"dgm_flows", "dgm_vaes", "dgm_ebms", "dgm_gans", "dgm_diffusion", "dgm_hybrids", "dgm_eval"}


@pytest.mark.parametrize("where", sorted(every_phase()))
def test_every_number_of_a_phase(where):
    name, phase = every_phase()[where]
    kind = architecture(name)
    recipe = {**RECIPE, "architecture": name, "config": dict(kind.example), "phases": [{**PHASE, "phase": phase}]}
    recipe["parts"] = PARTS.get(name) or dict(kind.example_parts)
    torch.manual_seed(0)
    model = build(name, recipe["config"], recipe["parts"]).eval()
    # its own samples, which are in the range and of the levels of its data; networks for features draw none
    recipe["data"] = write_data(Subject(name, model, name, kind.data_range).data(32).numpy())
    if limits := vars(model).get("data_range"):  # what the config says of the data, the recipe says too
        recipe["data"]["range"] = list(limits)
    assert two_steps(recipe, name) == "accepted"
    for path, number in numbers_of(import_string(where).Options):
        for odd, value in odd_values(number).items():
            options = changed({}, path, value, (-1.0, 1.0))
            if path[0] in ("levels", "range"):
                options["dequantize"] = True
            what = f"{where}.{'.'.join(map(str, path))}={value}"
            said = two_steps({**recipe, "phases": [{**PHASE, "phase": phase, "options": options}]}, what)
            signed = path[0] in ("range", "mean")  # of a logarithm
            if odd == "nan" or (odd == "minus" and not signed):
                assert said != "accepted", f"{what} is accepted"
