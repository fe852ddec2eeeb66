"""Which views of the page a model has, and their controls: made of what it can, and of the models that go with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .fields import choice, count, options, seed, slider

__all__ = ["alike", "views_of"]

Row = Mapping[str, Any]  # of a model, as `dgm list --json`
START = {"steps": 20, "step_size": 0.1}  # of the chain of a tilted model: what VAEBMs are sampled with

#: Of each view its title, and what it is for where the title does not say it.
VIEWS = {
    "samples": ("Samples", ""),
    "noise": ("Noise", "Every sample is made from noise. Move the noise, and watch what it makes."),
    "trajectory": ("Trajectory", "The sampler goes through many states. Drag the slider to see each."),
    "density": ("Density", ""),
    "tilt": (
        "Tilt",
        "Choose a critic and its weight: the generator's noise moves to where the critic judges better. "
        "Same seeds before and after.",
    ),
    "reconstruct": ("Reconstruct", "Data go through their code and back: what is lost on the way?"),
    "given": ("Complete", "Hide a part of the picture with the brush. What could be there?"),
    "compare": ("Compare", ""),
    "train": ("Train", "Draw points, and watch a new model of this kind learn where they are."),
    "about": ("About", ""),
}


def views_of(entry: Row, models: Sequence[Row], calls: Iterable[str]) -> dict[str, Any]:
    """Returns what a page shows of a model.

    Arguments:
        entry: What is known of it, as `dgm info --json`, the schemas of its options and the phases of its training.
        models: All that there are.
        calls: The calls of the core that plugins answer here.

    Returns:
        `kind`, how a datum is shown: as an `image`, as a `point` of the plane, or as a `row` of numbers; `generators`,
        the names of models of the same shape, the nearest first; and `views` in the order of their tabs: each its name,
        its title, what it is for, and its `controls`, a JSON Schema.
    """

    able = set(entry["capabilities"]) if entry["plugin"] and entry["available"] else set()
    generators, bases, critics = (alike(entry, models, what) for what in ("generator", "pushforward", "critic"))
    if "pushforward" in able:
        bases = [entry["name"]]
    elif "critic" in able:
        critics = [entry["name"]]
    kind = _kind(entry["event_shape"])
    learns = "train" in calls and entry["phases"] and not any(isinstance(part, str) for part in entry["parts"].values())
    completes = "given" in calls and ("pushforward" in able or entry["family"] in ("diffusion", "hybrids"))
    fits = {
        "samples": "generator" in able,
        "noise": "pushforward" in able,
        "trajectory": "trajectory" in able,
        "density": able & {"density", "critic"},
        "tilt": able & {"pushforward", "critic"} and bases and critics,
        "reconstruct": "encoder" in able,
        "given": kind == "image" and "generator" in able and completes,
        "compare": "generator" in able and len(generators) > 1,
        "train": kind == "point" and able & {"generator", "density"} and learns,
        "about": True,
    }
    titles = VIEWS if "density" in able else {**VIEWS, "density": ("Score", "")}
    names = {model["name"]: model["dataset"] for model in models}
    near = {n: n if data == entry["dataset"] else f"{n} ({data})" for n, data in names.items()}
    tilts = {name: {other: near[other] for other in found} for name, found in (("base", bases), ("critic", critics))}
    controls = _controls(entry, kind, {n: near[n] for n in generators}, tilts)
    views = [
        {"view": view, "title": title, "lead": lead, "controls": controls.get(view, {})}
        for view, (title, lead) in titles.items()
        if fits[view]
    ]
    return {"kind": kind, "generators": generators, "views": views}


def _controls(
    entry: Row, kind: str, generators: dict[str, str], tilts: dict[str, dict[str, str]]
) -> dict[str, dict[str, Any]]:
    """Returns the properties of the JSON Schema of each view's controls, by name."""

    def n(points: int, most: int) -> dict[str, Any]:
        return count(entry["event_shape"], kind, points, most)

    own, plane = options(entry["options_schema"]), kind == "point"
    others = {name: text for name, text in generators.items() if name != entry["name"]}
    start = {key: {**field, "default": START.get(key, field["default"])} for key, field in _chain(entry).items()}
    directions = {
        f"d{i}": slider(f"direction {i + 1}", 0.0, -4, 4, limits=(-20, 20))
        | {"group": "strongest directions at the first sample"}
        for i in range(4)
    }
    index = {"integer": True, "limits": (0, 10**6)}
    source = {"seed": seed()} if generators else {}
    return {
        "samples": {"seed": seed(), "n": n(2000, 10_000)}
        | ({} if plane else {"lock": slider("lock one (or click it)", None, 0, 63, integer=True, limits=(0, 319))})
        | own,
        "noise": {
            "seed": seed(),
            "a": slider("from sample", 0, 0, 31, **index),
            "b": slider("to sample", 1, 0, 31, **index),
            **directions,
        },
        "trajectory": {"seed": seed(), "n": n(500, 2000)}
        | ({"paths": choice("show", {"lines": "points and paths", "points": "points"})} if plane else {})
        | own,
        "density": {"zoom": slider("zoom", 1.0, 0.25, 4)} if plane else source,
        "tilt": {
            "base": choice("generator", tilts["base"]),
            "critic": choice("critic", tilts["critic"]),
            "weight": slider("weight", 1.0, 0, 2, step=0.05, limits=(-1e6, 1e6)),
            "seed": seed(),
            "n": n(1000, 2000),
            **{name: {**field, "group": "the chain"} for name, field in options({"properties": start}).items()},
        },
        "reconstruct": source,
        "given": {
            "brush": slider(
                "brush", entry["event_shape"][-1] // 9 or 1, 1, entry["event_shape"][-1] // 3 + 1, integer=True
            )
        }
        | source,
        "compare": {"with": choice("with", others), "seed": seed(), "n": n(1000, 5000)},
        "train": {
            "phase": choice("trained by", {name: name for name in entry["phases"]}),
            "learning_rate": slider("learning rate", 1e-3, 1e-4, 1e-2, step=1e-4, limits=(1e-6, 1)),
        },
    }


def _chain(entry: Row) -> dict[str, Any]:
    """The options of a tilted model's chain for which there are no other controls."""
    properties = entry["tilt_schema"]["properties"]
    return {key: field for key, field in properties.items() if key not in ("weight", "start", "final_mean")}


def alike(entry: Row, models: Sequence[Row], capability: str) -> list[str]:
    """Returns the models of a datum's shape that can something: this one, those of its data, what only judges first."""

    def far(other: Row) -> tuple[int, int]:
        distance = 0 if other["name"] == entry["name"] else 1 if other["dataset"] == entry["dataset"] else 2
        return distance, len(other["capabilities"]) if capability == "critic" else 0

    fit = [m for m in models if m["available"] and m["plugin"] and capability in m["capabilities"]]
    return [m["name"] for m in sorted(fit, key=far) if m["event_shape"] == entry["event_shape"]]


def _kind(shape: Sequence[int]) -> str:
    if (len(shape) == 3 and shape[0] in (1, 3)) or (len(shape) == 2 and min(shape) > 1):
        return "image"
    return "point" if list(shape) == [2] else "row"
