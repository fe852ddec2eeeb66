"""What the page is told to show: views made of what a model can, controls, and words that give the same elsewhere."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dgm_serve.app import PAGE
from dgm_serve.shown.fields import options
from dgm_serve.shown.views import views_of

import dgmcore


def _run(python: str):
    """Runs what the page gives to copy; returns its variables."""
    names: dict = {}
    exec(python, names)
    return names


def _command(command: str, out: Path) -> np.ndarray:
    """Runs what the page gives to copy, into a file of numbers."""
    words = shlex.split(command)
    assert words[0] == "dgm"
    subprocess.run([sys.executable, "-m", "dgmcore", *words[1:], "--out", str(out)], check=True, capture_output=True)
    return np.load(out)


def test_the_page_is_as_small_as_it_says():
    """The JavaScript and the style sheet, in bytes as they are written: docs/serve.md says how many."""
    files = [path for path in PAGE.rglob("*") if path.suffix in (".js", ".css")]
    assert sum(path.stat().st_size for path in files) <= 69_000


@pytest.mark.parametrize(
    "ask",
    [
        {"model": "realnvp-moons", "n": 5, "seed": 3},
        {"model": "vae-fashion", "n": 2, "seed": 1, "start": 3, "options": {"temperature": 0.7, "mean": False}},
        {
            "model": "vae-25gaussians",
            "n": 4,
            "tilt": "ebm-25gaussians",
            "weight": 1.5,
            "options": {"steps": 3, "step_size": 0.1, "sampler": "metropolis"},
        },
    ],
)
def test_the_words_of_samples_draw_the_same(client, tmp_path, ask):
    answer = client.post("/api/sample", **ask)
    facts = answer.facts
    assert np.allclose(_run(facts["python"])["x"].numpy(), answer.floats, atol=1e-5)
    drawn = _command(facts["command"], tmp_path / "x.npy")[-ask["n"] :]
    assert np.allclose(drawn, answer.floats, atol=1e-5)


def test_the_words_of_a_way_make_a_film_of_it(client):
    begin = client.get("/api/trajectory", model="ddpm-moons", n=2, seed=1).events[0][1]
    assert begin["command"] == "dgm sample ddpm-moons -n 2 --seed 1 --trajectory ddpm-moons.gif"


def test_the_words_of_the_pad_and_of_scores_say_the_same(client, capsys):
    answer = client.post("/api/push", model="vae-mnist-2d", z=[[0.5, -1.25]])
    made = _run(answer.facts["python"])["x"].clamp(0, 1)
    assert np.allclose(made.numpy(), answer.floats, atol=1e-6)
    assert "python" not in client.post("/api/push", model="vae-mnist-2d", z=[[0, 0], [1, 1]]).facts
    said = client.post("/api/score", model="realnvp-moons", data=[[0.5, 0.25]]).json
    assert said["meaning"] == "an exact log-likelihood"
    _run(said["python"])
    assert f"{said['values'][0]:.3f}"[:5] in capsys.readouterr().out
    x = dgmcore.sample("vae-fashion", 1)
    said = client.post("/api/reconstruct", model="vae-fashion", data=x.flatten().tolist())
    assert said.facts["command"] == "dgm reconstruct vae-fashion picture.png"
    assert said.facts["error"] == pytest.approx(
        float(np.sqrt(((said.floats[0] - said.floats[1]) ** 2).mean())), rel=1e-4
    )


def test_text_is_quoted_for_the_shell_and_for_python():
    from dgm_serve.api.asking import Ask
    from dgm_serve.shown.words import sample_words

    words = sample_words(Ask(model="m", options={"path": "a b; rm", "which": [1, None], "mean": True}))
    assert shlex.split(words["command"])[7:] == [
        "--set",
        "path=a b; rm",
        "--set",
        "which=[1, null]",
        "--set",
        "mean=true",
    ]
    assert "path='a b; rm', which=[1, None], mean=True" in words["python"]


def _entry(**more):
    entry = {
        "name": "m",
        "family": "vaes",
        "plugin": "vaes",
        "available": True,
        "capabilities": [],
        "event_shape": [1, 28, 28],
        "dataset": "fashion",
        "parts": {},
        "phases": [],
        "options_schema": {},
        "tilt_schema": {"properties": {"steps": {"type": "integer", "minimum": 0, "default": 50}}},
    }
    return entry | more


def _views(entry, *others, calls=()):
    found = views_of(entry, [entry, *others], calls)
    return {view["view"]: view for view in found["views"]}, found


def test_views_are_those_of_capabilities():
    assert list(_views(_entry())[0]) == ["about"]
    critic = _entry(name="c", capabilities=["critic"])
    other = _entry(name="o", capabilities=["critic", "density"], dataset="mnist")
    views, found = _views(_entry(capabilities=["generator", "pushforward"]), other, critic)
    assert list(views) == ["samples", "noise", "tilt", "about"] and found["kind"] == "image"
    assert views["tilt"]["controls"]["critic"] | {"default": None} == {
        "title": "critic",
        "enum": ["c", "o"],  # of the same data first
        "texts": ["c", "o (mnist)"],
        "default": None,
    }
    assert views["tilt"]["controls"]["o.steps"]["default"] == 20
    assert list(_views(critic)[0]) == ["density", "about"]  # there is nothing to tilt
    assert _views(critic)[0]["density"]["title"] == "Score"
    assert list(_views(_entry(capabilities=["generator"], available=False))[0]) == ["about"]
    assert list(_views(_entry(capabilities=["generator"], plugin=None))[0]) == ["about"]
    plane = _entry(capabilities=["generator"], event_shape=[2], phases=["fit"])
    assert "train" not in _views(plane)[0] and "train" in _views(plane, calls=["train"])[0]


def test_a_slider_goes_to_near_bounds_else_to_a_few_times_the_default():
    schema = {
        "near": {"type": "number", "minimum": 0.0, "maximum": 1.0, "default": 0.5},
        "far": {"type": "number", "exclusiveMinimum": 0.0, "maximum": 1e6, "default": 0.1},
        "whole": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}], "default": None},
        "which": {"enum": ["a", "b"], "default": "b"},
        "switch": {"type": "boolean", "default": True},
        "list": {"type": "array", "default": []},
    }
    found = options({"properties": schema})
    assert list(found) == ["o.near", "o.far", "o.whole", "o.which", "o.switch"]
    assert found["o.near"]["slider"][:2] == [0.0, 1.0]
    assert found["o.far"]["slider"][1] == pytest.approx(0.25) and found["o.far"]["maximum"] == 1e6
    assert found["o.whole"]["slider"] == [1, 20, 1] and found["o.whole"]["default"] is None
    assert found["o.which"]["default"] == "b" and found["o.switch"]["type"] == "boolean"
