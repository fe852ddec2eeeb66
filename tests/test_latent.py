"""Walks and reconstructions, as functions and as commands."""

from __future__ import annotations

import json

import pytest
import torch
from dgm_latent import interpolate, reconstruct
from installation import invoke
from toy_models import Ridge, Walk

import dgmcore
from dgmcore import Config, IndexedNoise
from dgmcore.errors import UsageError
from dgmcore.sampling import draw as sampling


def test_files_of_walks_and_reconstructions(tmp_path):
    for name in ("w.png", "w.pdf", "w.svg", "w.gif"):
        interpolate.write_walks(Ridge(), interpolate.between_samples(Ridge(), 2, 4), tmp_path / name)
    x = sampling.sample(Ridge(), 5)
    reconstruct.write_beside(Ridge(), x, x + 0.1, tmp_path / "r.svg")
    assert len(list(tmp_path.iterdir())) == 5


def test_great_circles_keep_the_norm_and_meet_the_ends():
    a, b = torch.randn(2, 50, 3, 4, generator=torch.Generator().manual_seed(0)).double()
    a, b = (x / x.flatten(1).norm(dim=1).view(-1, 1, 1) * 3 for x in (a, b))
    torch.testing.assert_close(interpolate.slerp(a, b, 0.0), a)
    torch.testing.assert_close(interpolate.slerp(a, b, 1.0), b)
    for t in (0.25, 0.5, 0.9):
        between = interpolate.slerp(a, b, t)
        torch.testing.assert_close(between.flatten(1).norm(dim=1), torch.full((50,), 3.0).double())
        torch.testing.assert_close(between, interpolate.slerp(b, a, 1 - t))
    torch.testing.assert_close(interpolate.slerp(a, a, 0.3), a)
    assert torch.isfinite(interpolate.slerp(a, -a, 0.3)).all()


def test_walks_lead_from_sample_to_sample_and_from_datum_to_datum():
    model = Ridge()
    x = sampling.sample(model, 6, seed=4)
    walk = interpolate.between_samples(model, 3, 5, seed=4)
    assert walk.shape == (3, 5, 2)
    torch.testing.assert_close(walk[:, 0], x[0::2])
    torch.testing.assert_close(walk[:, -1], x[1::2])
    walk = interpolate.between_data(model, x, 5)
    torch.testing.assert_close(walk[:, 0], x[0::2])
    torch.testing.assert_close(walk[:, -1], x[1::2])
    torch.testing.assert_close(reconstruct.reconstruct(model, x), x)
    for wrong in (lambda: interpolate.between_samples(Walk(), 1, 3), lambda: reconstruct.as_encoder(Walk())):
        with pytest.raises(UsageError):
            wrong()


def test_walks_keep_to_the_models_sampling_defaults():
    class Noisy(Ridge):
        class Sampling(Config):
            temperature: float = 1.0
            mean: bool = False

        @property
        def noise_shapes(self):
            return {"z": (2,), "x": (2,)}

        def push(self, eps):
            return 2 * eps["z"] + eps["x"]

    model = Noisy()
    model.set_sampling_defaults({"temperature": 0.5, "mean": True})
    eps = IndexedNoise(0, 6).named(model.noise_shapes)
    torch.testing.assert_close(interpolate.between_samples(model, 3, 4)[:, 0], eps["z"][0::2])
    model.set_sampling_defaults({})
    torch.testing.assert_close(interpolate.between_samples(model, 3, 4)[:, 0], (2 * eps["z"] + eps["x"])[0::2])


def test_reconstructions_and_walks(dgm):
    dgm("sample", "pixels", "--out", "images/")
    assert dgm("reconstruct", "pixels", "images", "-n", 5)[1] == "pixels-reconstructions.png\n"
    record = json.loads(dgm("reconstruct", "pixels", "images", "--json", "--out", "r.png")[1])
    assert record["n"] == 16 and record["mean_squared_error"] < 1e-10
    assert dgm("interpolate", "pixels", "--rows", 2, "-n", 5)[1] == "pixels-walk-seed0.png\n"
    for out in ("w.png", "w.gif"):
        assert dgm("interpolate", "ridge", "--out", out)[1] == out + "\n"
        assert dgm("interpolate", "pixels", "--data", "images", "--out", out)[0] == 0
    for out in ("w.pdf", "w.svg"):
        assert dgm("interpolate", "ridge", "--out", out)[1] == out + "\n"
        code, said, err = dgm("interpolate", "pixels", "--out", "x" + out)
        assert (code, said) == (2, "") and "images are not written as" in err
    for arguments, words in (
        (["interpolate", "walk"], "no map of noise"),
        (["reconstruct", "walk", "images"], "no codes"),
        (["interpolate", "pixels", "-n", 1_000_001], "too many points of walks"),
        (["interpolate", "pixels", "--out", "x.npz"], ".gif"),
    ):
        code, out, err = dgm(*arguments)
        assert code == 2 and out == "" and words in err


def test_a_walk_between_ends_that_are_given_is_straight(capsys, tmp_path, monkeypatch):
    from dgm_latent.ends import between_ends

    model = dgmcore.load("vae-mnist-2d")
    walk = between_ends(model, "-1,-1", "1", 5)
    codes = torch.linspace(-1, 1, 5)[:, None].expand(5, 2)
    with torch.no_grad():
        torch.testing.assert_close(walk[0], model.decode(codes))
        gan = dgmcore.load("wgan-mnist")
        torch.testing.assert_close(between_ends(gan, "-1", "1,1", 5)[0], gan.push({"z": codes}))
    monkeypatch.chdir(tmp_path)
    assert invoke(capsys, "interpolate", "vae-mnist-2d", "--from", "-1,-1", "--to", "1,1", "-n", "20")[0] == 0
    assert (tmp_path / "vae-mnist-2d-walk.png").is_file()


def test_a_walk_between_data_that_are_given(tmp_path):
    from dgm_latent.ends import between_ends

    model, x = Ridge(), sampling.sample(Ridge(), 2)
    for i, name in enumerate(("a.csv", "b.csv")):
        (tmp_path / name).write_text(",".join(str(float(v)) for v in x[i]) + "\n")
    walk = between_ends(model, str(tmp_path / "a.csv"), str(tmp_path / "b.csv"), 3)
    torch.testing.assert_close(walk[0, [0, -1]], x, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["vae-mnist-2d", "--from", "1"], "two ends"),
        (["vae-mnist-2d", "--from", "1,2,3", "--to", "1"], "has 2 numbers"),
        (["vae-mnist-2d", "--from", "nan", "--to", "1"], "no latent"),
        (["vae-mnist-2d", "--from", "1", "--to", "nothing.png"], "nothing.png"),
        (["wgan-mnist", "--from", "1", "--to", "a.png"], "can't encode"),
        (["vae-mnist-2d", "--from", "1", "--to", "2", "--data", "x.npy"], "give one of them"),
        (["ddgan-25gaussians", "--from", "1", "--to", "2"], "no one latent"),
    ],
)
def test_ends_that_are_none_are_refused_and_nothing_is_written(capsys, tmp_path, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = invoke(capsys, "interpolate", *args)
    assert code and message in err and len(err.strip().splitlines()) == 2
    assert not list(tmp_path.iterdir())
