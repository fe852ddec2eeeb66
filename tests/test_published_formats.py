"""Checkpoints of NVAE and VAEBM: made with the published names, converted, and compared with a second writing."""

from __future__ import annotations

import argparse
import json

import published_nvae as theirs
import pytest
import torch
import torch.nn.functional as F

import dgmcore
from dgmcore.entry import read_entry
from dgmcore.errors import DgmError
from dgmcore.noise import IndexedNoise
from dgmcore.plugins.provided import converters

HEADS = {"gaussian": 6, "logistics": 100, "bernoulli": 1}


def test_the_names_are_the_published_ones(reference):
    keys = json.loads((reference / "keys" / "nvae_vaebm.json").read_text())
    made = {
        "nvae_small": theirs.shapes(),
        "nvae_small_nf_dmol": theirs.shapes(latents=3, flows=1, head=100),
        "ebm_cifar32_c8": theirs.energy_shapes(),
        "ebm_celeba64_c8": theirs.energy_shapes(blocks="1d 1 2d 2 2d 4 4d 4"),
        "ebm_mnist_c8": theirs.energy_shapes(blocks="1d 1 2d 2", image=1),
    }
    for name, shapes in made.items():
        assert {k: list(v) for k, v in shapes.items()} == keys[name], name


def save(path, state, **more):
    """A checkpoint as a parallel run writes it: prefixes, the run's arguments, the optimiser's state."""
    wrapped = {f"module.{k}": v for k, v in state.items()}
    torch.save({"state_dict": wrapped, "optimizer": {"state": {0: torch.ones(2)}}, "epoch": 1, **more}, path)
    return path


@pytest.mark.parametrize("decoder", HEADS)
@pytest.mark.parametrize("flows", [0, 1])
def test_nvae_equals_a_second_writing(decoder, flows, tmp_path):
    image = 1 if decoder == "bernoulli" else 3
    state = theirs.fill(theirs.shapes(image, 32, latents=3, flows=flows, head=HEADS[decoder]))
    residual = bool(flows)  # either posterior with either encoder
    arguments = argparse.Namespace(res_dist=residual, dataset="cifar10", num_x_bits=8)
    file = save(tmp_path / "checkpoint.pt", state, args=arguments)
    options = {"pad": 0, "event_shape": [1, 32, 32]} if image == 1 else {}
    model = dgmcore.load(dgmcore.convert(file, "theirs", "nvae", tmp_path, **options))
    assert (model.config.decoder, model.config.flows, model.config.residual_posterior) == (decoder, flows, residual)
    assert "non-commercial" in model.entry.license and model.entry.data.dataset == "cifar10"
    eps = IndexedNoise(0, 2).named(model.noise_shapes["z"])
    x = IndexedNoise(1, 2).uniform(image, 32, 32)
    with torch.no_grad():
        want = theirs.generate(state, list(eps.values()))
        assert (model._logits(model._generate(eps)[0]) - want).abs().max() <= 1e-5 * max(1, float(want.abs().max()))
        mean = {"gaussian": lambda v: theirs.normal(v[:, :3], v[:, 3:])[0].clamp(-1, 1), "bernoulli": torch.sigmoid}
        if decoder in mean:
            assert (model.push({"z": eps}) - mean[decoder](want)).abs().max() <= 1e-5
        own = model.encode(x if decoder == "bernoulli" else 2 * x - 1)
        for (name, code), other in zip(own.items(), theirs.codes(state, x, residual), strict=True):
            assert (code - other).abs().max() <= 1e-5, name


@pytest.fixture
def pair(tmp_path):
    vae, energy = theirs.fill(theirs.shapes()), theirs.fill(theirs.energy_shapes(), 1)
    arguments = argparse.Namespace(res_dist=True, dataset="cifar10")
    files = [save(tmp_path / "energy.pth", energy), save(tmp_path / "vae.pt", vae, args=arguments)]
    return files, vae, energy


def test_vaebm_is_made_of_both_files(pair, tmp_path):
    files, vae, energy = pair
    folder = dgmcore.convert(files, "theirs", None, tmp_path, url="https://example.org")  # the format is found out
    model = dgmcore.load(folder)
    eps = IndexedNoise(0, 2).named(model.parts["base"].noise_shapes["z"])
    x = IndexedNoise(1, 2).uniform(3, 32, 32)
    with torch.no_grad():
        want = theirs.normal(*theirs.generate(vae, list(eps.values())).chunk(2, 1))[0].clamp(-1, 1)
        assert (model.parts["base"].push({"z": eps}) - want).abs().max() <= 1e-5
        want = theirs.energy(energy, x)
        got = model.critic_score(2 * x - 1)  # ours are in [-1, 1]
        assert (got + want).abs().max() <= 1e-5 * max(1, float(want.abs().max()))
    entry = read_entry(folder)
    assert entry.sampling == {"steps": 16, "step_size": 8e-5, "final_mean": ["x"]}, "as the authors draw"
    assert model.config.potential == "published" and "non-commercial" in entry.license
    source = entry.training.source
    assert source["format"] == "vaebm" and "non-commercial" in source["license"]
    assert [f["file"] for f in source["files"]] == ["energy.pth", "vae.pt"]
    assert all(len(f["sha256"]) == 64 for f in source["files"])
    samples = dgmcore.sample(f"{folder}", 2, steps=2)
    assert samples.shape == (2, 3, 32, 32) and samples.abs().max() <= 1


def test_the_energy_alone(pair, tmp_path):
    files, _, energy = pair
    model = dgmcore.load(dgmcore.convert(files[0], "theirs", "vaebm-energy", tmp_path))
    x = IndexedNoise(1, 2).uniform(3, 32, 32)
    want = theirs.energy(energy, x)
    with torch.no_grad():
        assert (model.score(2 * x - 1) + want).abs().max() <= 1e-5 * max(1, float(want.abs().max()))


@pytest.mark.parametrize(
    ("format", "which", "options", "words"),
    [
        ("vaebm", [0], {}, "needs two files, not 1"),
        ("vaebm", [0, 0], {}, r"not an NVAE and an energy network \(energy.pth: an energy, energy.pth"),
        ("vaebm", [0, 1], {"potentiall": "exact"}, "no option potentiall"),
        ("vaebm", [0, 1], {"base": {"decoder": "logistics"}}, "published|shape"),
        ("vaebm-energy", [0, 1], {}, "needs one file, not 2"),
        ("vaebm-energy", [1], {}, "no energy network"),
        ("nvae", [0], {}, "no NVAE"),
        ("nvae", [1], {"channelss": 3}, "channelss"),
    ],
)
def test_wrong_files_and_options_are_named(pair, tmp_path, format, which, options, words):
    files = [pair[0][i] for i in which]
    with pytest.raises(DgmError, match=words):
        dgmcore.convert(files, "theirs", format, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("stem.bias"), "stem.bias is missing"),
        (lambda s: s.update({"who.weight": torch.ones(1), "b": torch.ones(1)}), "who.weight is unknown, b is unknown"),
        (lambda s: s.update({"stem.bias": torch.ones(3)}), "stem.bias has the shape"),
        (lambda s: s.update({"stem.bias": torch.full((8,), torch.nan)}), "numbers of stem.bias are not finite"),
        (lambda s: s.pop("prior_ftr0"), "prior_ftr0 is missing"),
    ],
)
def test_damaged_nvae_checkpoints_are_named(change, words, tmp_path):
    state = theirs.fill(theirs.shapes())
    change(state)
    with pytest.raises(DgmError, match=words):
        dgmcore.convert(save(tmp_path / "x.pt", state), "theirs", "nvae", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- Ruthotto & Haber's ------------------------------------------------------------------------------


def rh_vae_file(path):
    g = torch.Generator().manual_seed(0)
    shapes = {
        "e.conv1.weight": (32, 1, 4, 4), "e.conv1.bias": (32,), "e.conv2.weight": (64, 32, 4, 4), "e.conv2.bias": (64,),
        "e.fc_mu.weight": (2, 3136), "e.fc_mu.bias": (2,), "e.fc_logvar.weight": (2, 3136), "e.fc_logvar.bias": (2,),
        "g.fc.weight": (3136, 2), "g.fc.bias": (3136,), "g.conv2.weight": (64, 32, 4, 4), "g.conv2.bias": (32,),
        "g.conv1.weight": (32, 1, 4, 4), "g.conv1.bias": (1,),
    }  # fmt: skip
    for name, n in (("g.bn2", 64), ("g.bn1", 32)):
        shapes |= {f"{name}.{k}": (n,) for k in ("weight", "bias", "running_mean", "running_var")}
        shapes |= {f"{name}.num_batches_tracked": ()}
    state = {k: 0.1 * torch.rand(s, generator=g) + 0.5 * k.endswith("var") for k, s in shapes.items()}
    state |= {k: torch.tensor(3) for k in shapes if k.endswith("tracked")}
    return save(path, state), state


def norm(s, name, h):
    mean, var, w, b = (s[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(h, mean, var, w, b)


def test_the_vae_of_ruthotto_and_haber(tmp_path):
    file, s = rh_vae_file(tmp_path / "trainVAE.pt")
    model = dgmcore.load(dgmcore.convert(file, "theirs", None, tmp_path))  # the format is found out
    z, x = IndexedNoise(0, 3).normal(2), IndexedNoise(1, 3).uniform(1, 28, 28)
    h = F.linear(z, s["g.fc.weight"], s["g.fc.bias"]).reshape(-1, 64, 7, 7)
    h = F.conv_transpose2d(norm(s, "g.bn2", h).relu(), s["g.conv2.weight"], s["g.conv2.bias"], 2, 1)
    h = F.conv_transpose2d(norm(s, "g.bn1", h).relu(), s["g.conv1.weight"], s["g.conv1.bias"], 2, 1).sigmoid()
    e = F.conv2d(x, s["e.conv1.weight"], s["e.conv1.bias"], 2, 1).relu()
    e = F.conv2d(e, s["e.conv2.weight"], s["e.conv2.bias"], 2, 1).relu().flatten(1)
    with torch.no_grad():
        assert (model.decode(z) - h).abs().max() <= 1e-5
        assert torch.allclose(
            model.encode(x), F.linear(e, s["e.fc_mu.weight"], s["e.fc_mu.bias"]), rtol=1e-5, atol=1e-5
        )
    assert model.entry.license == "MIT" and "Ruthotto" in model.entry.training.source["notes"][0]


# --- every format ------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", sorted(converters()))
def test_files_of_other_things_are_refused_in_two_lines(format, tmp_path):
    others = [
        {"x": torch.ones(1)},
        {"fc.weight": torch.ones(3), "stem.weight": torch.ones(2), "enc_sampler.0.weight": torch.ones(2)},
        {"conv1.weight": torch.ones(2, 2), "linear.weight": torch.ones(1), "A": torch.ones(1)},
        {"layers.0.s.0.weight": torch.ones(1), "all_modules.0.weight": torch.ones(1), "e.fc_mu.weight": torch.ones(1)},
    ]
    for i, state in enumerate(others):
        torch.save(state, tmp_path / f"{i}.pt")
        for files in ([tmp_path / f"{i}.pt"], [tmp_path / f"{i}.pt", tmp_path / "0.pt"], [tmp_path]):
            with pytest.raises(DgmError) as caught:
                dgmcore.convert(files, "other", format, tmp_path / "out", license="mit")
            assert "\n" not in caught.value.what + caught.value.hint
    assert not (tmp_path / "out").exists()
