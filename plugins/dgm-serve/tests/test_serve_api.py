"""The API says what the library and the command line say."""

from __future__ import annotations

import base64
import http.client
import io
import json
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from dgm_serve.api.noise_space import directions, noise_of, pad_name
from dgm_serve.catalog import calls
from PIL import Image

import dgmcore
from dgmcore.noise import IndexedNoise


def test_models_are_those_of_the_list(client):
    models = client.get("/api/models").json
    assert [m["name"] for m in models] == [m["name"] for m in dgmcore.list_models()]
    assert {"summary", "license", "picture", "weights"} <= models[0].keys()
    flows = client.ask("GET", "/api/models?family=flows&pattern=moons").json
    assert flows and all(m["family"] == "flows" and "moons" in m["name"] for m in flows)
    assert client.ask("GET", "/api/models?family=nonsense").status == 400


def test_a_model_is_its_info_with_schemas(client):
    model = client.get("/api/models/vae-fashion").json
    info = dgmcore.info("vae-fashion")
    assert {key: model[key] for key in info} == info
    schema = model["options_schema"]["properties"]
    assert schema["temperature"] == {"type": "number", "minimum": 0.0, "maximum": 1e6, "default": 1.0}
    assert schema["mean"]["default"] is True  # the entry's default, not the class's
    assert set(model["tilt_schema"]["properties"]) >= {"steps", "step_size", "sampler"}
    assert client.get("/api/models/core/vae-fashion").status == 404  # one name for each


def test_samples_are_those_of_the_command_line(client, tmp_path):
    out = tmp_path / "x.npy"
    set_ = ["--set", "temperature=0.7"]
    command = ["sample", "vae-fashion", "-n", "5", "--seed", "3", *set_, "--out", str(out)]
    subprocess.run([sys.executable, "-m", "dgmcore", *command], check=True, capture_output=True)
    ask = {"model": "vae-fashion", "n": 5, "seed": 3, "options": {"temperature": 0.7}}
    answer = client.post("/api/sample", **ask)
    assert np.array_equal(answer.floats, np.load(out))
    assert client.post("/api/sample", **ask | {"n": 1, "start": 4}).floats[0] == pytest.approx(
        np.load(out)[4], abs=1e-5
    )
    archive = np.load(io.BytesIO(client.post("/api/sample", **ask, format="npz").body))
    assert np.array_equal(archive["samples"], np.load(out))


def test_a_picture_is_that_of_the_command_line(client, tmp_path):
    path = tmp_path / "x.png"
    model = dgmcore.load("vae-mnist-2d")
    from dgmcore.sampling import sample_to

    sample_to(path, model, 4, seed=1)
    body = client.post("/api/sample", model="vae-mnist-2d", n=4, seed=1, format="png").body
    with Image.open(io.BytesIO(body)) as ours, Image.open(path) as theirs:
        assert ours.size == theirs.size and ours.tobytes() == theirs.tobytes()


def test_a_trajectory_ends_at_the_samples(client):
    ask = {"model": "vae-fashion", "n": 2, "seed": 5, "tilt": "energy-fashion", "weight": 1.5}
    ask["options"] = {"steps": 3, "step_size": 0.1}
    events = client.get("/api/trajectory", **ask).events
    assert [name for name, _ in events] == ["begin", "state", "state", "state", "state", "end"]
    assert events[0][1]["shape"] == [2, 1, 28, 28]
    first, last = (np.frombuffer(base64.b64decode(events[i][1]["x"]), "<f4") for i in (1, -2))
    assert np.array_equal(first, dgmcore.sample("vae-fashion", 2, seed=5).numpy().ravel())
    assert np.array_equal(last, client.post("/api/sample", **ask).floats.ravel())
    energies = [data["energy"] for name, data in events if name == "state"]
    with torch.no_grad():
        score = dgmcore.load("energy-fashion").score(torch.from_numpy(first.copy()).view(2, 1, 28, 28))
    assert energies[0] == pytest.approx(-float(score.mean()), rel=1e-4)
    assert events[1][1]["low"] <= energies[0] <= events[1][1]["high"]


def test_a_long_way_is_thinned_to_what_a_page_can_hold(client):
    options = {"steps": 250, "sampler": "metropolis", "step_size": 0.3}
    ask = {"model": "vae-25gaussians", "tilt": "ebm-25gaussians", "n": 50, "options": options}
    events = client.get("/api/trajectory", **ask).events
    kept: list[int] = []
    for name, data in events:
        if name == "thin":
            kept = [k for k in kept if k % data["stride"] == 0]
        elif name == "state":
            kept.append(data["number"])
    assert len(kept) <= 98 and kept[0] == 0 and kept[-1] == 250 and len(set(np.diff(kept[:-1]))) == 1
    acceptance = [data["acceptance"] for name, data in events if name == "state"]
    assert acceptance[0] is None and 0 < acceptance[-1] < 1


def test_scores_are_those_of_the_library(client):
    data = [[0.0, 0.0], [1.0, 0.5]]
    said = client.post("/api/score", model="realnvp-moons", data=data).json
    assert (said["kind"], said["unit"], said["n"]) == ("exact", "nats", 2)
    assert said["values"] == pytest.approx(dgmcore.score("realnvp-moons", data).values.tolist())
    x = dgmcore.sample("vae-fashion", 2)
    pixels = np.rint((x.numpy() + 1) * 127.5).clip(0, 255).astype(np.uint8)
    said = client.post("/api/score", model="energy-fashion", pixels=base64.b64encode(pixels.tobytes()).decode()).json
    assert said["kind"] == "critic" and said["bits_per_dim"] is None
    assert said["values"] == pytest.approx(dgmcore.score("energy-fashion", pixels).values.tolist(), rel=1e-4)


def test_a_heat_map_integrates_to_one(client):
    answer = client.post("/api/density", model="realnvp-moons", x=-3, y=-3, side=7, grid=200)
    assert np.exp(answer.floats.astype(np.float64)).sum() * (7 / 200) ** 2 == pytest.approx(1, abs=0.05)
    row = answer.floats[20, 100]  # rows come from the top
    at = [[-3 + 100.5 * 7 / 200, 4 - 20.5 * 7 / 200]]
    assert row == pytest.approx(float(dgmcore.score("realnvp-moons", at).values[0]), rel=1e-4)
    assert client.post("/api/density", model="vae-fashion", x=0, y=0, side=1).status == 400


def test_a_reconstruction_is_the_library_s(client):
    x = dgmcore.sample("vae-fashion", 2)
    answer = client.post("/api/reconstruct", model="vae-fashion", data=x.tolist()).floats
    model = dgmcore.load("vae-fashion")
    with torch.no_grad():
        back = model.decode(model.encode(x)).clamp(-1, 1)
    assert answer[0] == pytest.approx(x.numpy(), abs=1e-6) and answer[1] == pytest.approx(back.numpy(), abs=1e-5)


def test_the_pad_pushes_its_points(client):
    assert client.post("/api/latent", model="vae-mnist-2d").json == {"dimensions": 2, "pad": "z"}
    assert client.post("/api/latent", model="vae-fashion").json == {"dimensions": 100, "pad": None}
    model = dgmcore.load("vae-mnist-2d")
    with torch.no_grad():
        expected = model.push({"z": torch.tensor([[0.5, -1.0]])}).clamp(0, 1)
    assert client.post("/api/push", model="vae-mnist-2d", z=[[0.5, -1.0]]).floats == pytest.approx(expected.numpy())
    assert client.post("/api/push", model="vae-fashion", z=[[0.5, -1.0]]).status == 400


def test_a_walk_goes_from_sample_to_sample(client):
    walk = client.post("/api/walk", model="vae-fashion", a=2, b=7, seed=4, steps=5).floats
    x = dgmcore.sample("vae-fashion", 8, seed=4).numpy()
    assert walk[0] == pytest.approx(x[2], abs=1e-4) and walk[-1] == pytest.approx(x[7], abs=1e-4)
    assert np.abs(walk[2] - walk[0]).max() > 0.1


def test_directions_are_singular_vectors_of_the_jacobian():
    model = dgmcore.load("vae-fashion")
    eps = noise_of(model, seed=1, index=0)
    zero = torch.zeros(1, 1, 28, 28)
    jacobian = torch.autograd.functional.jacobian(lambda z: model.push({"z": z, "x": zero}).flatten(), eps["z"])
    _, values, right = torch.linalg.svd(jacobian.view(784, 100))
    found = torch.stack([d["z"][0] for d in directions(model, eps)])
    assert torch.allclose(found.norm(dim=1), torch.ones(4), atol=1e-4)
    assert abs(float(found[0] @ right[0])) > 0.95
    reached = (jacobian.view(784, 100) @ found.T).norm(dim=0)
    assert bool((reached > 0.8 * values[:4]).all())
    assert pad_name(model) is None and IndexedNoise(1, 1).named({"z": (100,)})["z"].equal(eps["z"])


def test_a_model_is_loaded_once_and_dropped_when_unused(client):
    shelf = client.service.shelf
    for name in ("nice-moons", "maf-moons"):
        client.post("/api/sample", model=name, n=2)
    with shelf.taken("nice-moons") as (first,), shelf.taken("maf-moons"):
        pass
    with shelf.taken("nice-moons") as (second,):
        assert first is second
    others = ("iaf-moons", "nsf-moons", "realnvp-moons", "otflow-moons", "vae-25gaussians", "ddpm-moons")
    for name in (*others, "maf-moons"):
        client.post("/api/sample", model=name, n=1)
    assert len(shelf.names()) <= client.service.limits.models
    assert "nice-moons" not in shelf.names() and shelf.names()[-1] == "maf-moons"


def test_work_ends_when_the_client_leaves(client):
    client.post("/api/sample", model="vae-fashion", n=1)
    ask = {"model": "vae-fashion", "tilt": "energy-fashion", "options": {"steps": 5000}}  # takes minutes
    headers = {"Authorization": f"Bearer {client.service.token}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=0.5)
    connection.request("POST", "/api/sample", json.dumps(ask), headers)
    with pytest.raises(TimeoutError):
        connection.getresponse()
    connection.close()
    began = time.monotonic()
    assert client.post("/api/sample", model="vae-fashion", n=1).status == 200  # waits for the model
    assert time.monotonic() - began < 20
    assert not client.service.desk.running


def test_training_goes_on_where_it_was_paused(client):
    points = IndexedNoise(0, 60).normal(2).tolist()
    begun = client.post("/api/train", model="nice-moons", points=points).json
    runs = client.service.runs.slices(begun["run"], 20, 40)
    first = next(runs)
    runs.close()
    second = next(client.service.runs.slices(begun["run"], 20, 40))
    assert (first["step"], second["step"]) == (20, 40)
    assert len(base64.b64decode(second["points"])) == 8 * 1000 and second["grid"] in (64, 128)
    assert client.post("/api/train", model="vae-fashion", points=points).status == 400
    assert client.get("/api/train/nosuchrun").status == 400
    folder = client.service.runs._runs[begun["run"]].folder
    assert folder.exists()
    client.service.runs.close()
    assert not folder.exists()


def test_completions_keep_what_is_known(client):
    if "given" not in calls():
        assert (
            client.post("/api/given", model="vae-mnist-2d", pixels=base64.b64encode(bytes(784)).decode()).status == 400
        )
        return
    x = dgmcore.sample("vae-mnist-2d", 1, seed=3).numpy()
    pixels = np.rint(x * 255).astype(np.uint8)
    mask = np.zeros((28, 28), np.uint8)
    mask[:14] = 1
    coded = {"pixels": base64.b64encode(pixels.tobytes()).decode(), "mask": base64.b64encode(mask.tobytes()).decode()}
    few = {"particles": 256, "steps": 20, "warmup": 20}
    found = client.post("/api/given", model="vae-mnist-2d", n=3, options=few, **coded).floats
    assert found.shape == (3, 1, 28, 28)
    drawn = dgmcore.sample("vae-mnist-2d", 30).numpy()
    assert np.abs(found - x)[:, :, :14].mean() < 0.5 * np.abs(drawn - x)[:, :, :14].mean()
    assert client.post("/api/given", model="vae-mnist-2d", pixels=coded["pixels"], mask="AAAA").status == 400
    assert client.post("/api/given", model="realnvp-moons", data=[[0, 0]]).status == 400
