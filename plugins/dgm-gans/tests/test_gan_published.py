"""Published weights give the published outputs, here against an independent writing of the networks."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from dgm_gans.convert import rh_gan
from dgm_gans.models import RHGAN

import dgmcore
from dgmcore.errors import UsageError, WeightsError


def generator(state, z):
    h = F.linear(z, state["fc.weight"], state["fc.bias"]).reshape(-1, 64, 7, 7)
    h = F.conv_transpose2d(norm(state, "bn2", h).relu(), state["conv2.weight"], state["conv2.bias"], 2, 1)
    h = F.conv_transpose2d(norm(state, "bn1", h).relu(), state["conv1.weight"], state["conv1.bias"], 2, 1)
    return h.sigmoid()


def discriminator(state, x):
    h = F.conv2d(2 * x - 1, state["conv1.weight"], state["conv1.bias"], 2, 1)
    h = F.conv2d(F.leaky_relu(norm(state, "bn1", h), 0.2), state["conv2.weight"], state["conv2.bias"], 2, 1)
    h = F.leaky_relu(norm(state, "bn2", h), 0.2)
    return F.linear(h.flatten(1), state["fc.weight"], state["fc.bias"])[:, 0]


def norm(state, name, h):
    mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    scale, shift = state[f"{name}.weight"], state[f"{name}.bias"]
    view = (1, -1, 1, 1)
    return (h - mean.view(view)) / (var.view(view) + 1e-5).sqrt() * scale.view(view) + shift.view(view)


def random_state(network):
    g = torch.Generator().manual_seed(0)
    return {
        name: t if not t.is_floating_point() else torch.rand(t.shape, generator=g) * 0.2 + ("var" in name) * 0.5
        for name, t in network.state_dict().items()
    }


@pytest.fixture
def files(tmp_path):
    model = RHGAN()
    states = [random_state(model.generator), random_state(model.discriminator)]
    paths = [tmp_path / "g.pt", tmp_path / "d.pt"]
    for state, path in zip(states, paths, strict=True):
        torch.save(state, path)
    return states, paths


def check(states, paths):
    converted = rh_gan(paths, {})
    model = RHGAN(converted.config)
    model.load_state_dict(converted.state)
    model.eval()
    z = torch.randn(8, 2, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        x = model.push({"z": z})
        assert (x - generator(states[0], z)).abs().max() <= 1e-5
        assert (model.score(x) - discriminator(states[1], x)).abs().max() <= 1e-4


def test_made_files(files):
    states, paths = files
    check(states, paths)
    check(states, paths[::-1])


def test_wrapped_files_become_an_entry(files, tmp_path):
    states, paths = files
    for state, path in zip(states, paths, strict=True):
        torch.save({"model": {f"module.{k}": v for k, v in state.items()}, "optimizer": {}, "epoch": 2}, path)
    check(states, paths)
    model = dgmcore.load(dgmcore.convert(paths, "theirs", "rh-gan", tmp_path))
    assert model.entry.license == "MIT" and len(model.entry.training.source["files"]) == 2
    del states[0]["conv1.bias"]
    torch.save({**states[0], "more": torch.ones(1)}, paths[0])
    with pytest.raises(WeightsError, match=r"generator\.\S+ is missing.*generator\.more is unknown"):
        dgmcore.convert(paths, "other", "rh-gan", tmp_path)


def test_two_generators_are_refused(files):
    _, paths = files
    with pytest.raises(UsageError, match="same kind"):
        rh_gan([paths[0], paths[0]], {})


def test_published_files(reference):
    folder = reference / "deepgenerativemodelingintro" / "DCGAN"
    paths = [folder / "trainDCGAN-vaeInit-g.pt", folder / "trainDCGAN-vaeInit-d.pt"]
    check([torch.load(p, map_location="cpu", weights_only=True) for p in paths], paths)
