"""Diffusion against closed forms: for Gaussian data the ideal network is known, and so is every answer."""

from __future__ import annotations

import math
import typing

import numpy as np
import pytest
import torch
from dgm_diffusion.ddpm import DDPM
from dgm_diffusion.schedules import Schedule, betas
from dgm_diffusion.scoresde import ScoreSDE
from torch import nn

from dgmcore.errors import DgmError
from dgmcore.noise import IndexedNoise
from dgmcore.testing import parametrize_with_checks

MEAN, STD = torch.tensor([0.4, -0.3]), 0.5


@parametrize_with_checks(["ddpm", "score-sde"])
def test_conformance(check, device):
    check(device)


class Ideal(nn.Module):
    """The best network for data N(MEAN, STD^2 I): E[eps | x_t], E[x_0 | x_t] or E[v | x_t]."""

    def __init__(self, model, kind="eps"):
        super().__init__()
        self.marginal, self.kind = model, kind

    def forward(self, x, t):
        a, s = self.marginal(t, x)
        eps = s * (x - a * MEAN) / (a**2 * STD**2 + s**2)
        x0 = (x - s * eps) / a
        return {"eps": eps, "x0": x0, "v": a * eps - s * x0}[self.kind]


def ideal_ddpm(prediction="eps", schedule=None, **config):
    model = DDPM({"prediction": prediction, "schedule": schedule or {"steps": 200, "name": "vp"}, **config}).eval()
    steps = model.config.schedule.steps

    def marginal(t, x):
        return model.coefficients((t * steps / 1000).round().long(), x)

    model.network = Ideal(marginal, prediction)
    return model


class Constant(nn.Module):
    def __init__(self, said):
        super().__init__()
        self.said = said

    def forward(self, x, t):
        return self.said


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_a_network_that_says_its_target_is_undone_by_the_denoiser(prediction):
    model = DDPM({"prediction": prediction, "schedule": {"steps": 200, "name": "cosine"}}).eval()
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 5, 2, generator=generator)
    t = torch.tensor([3, 50, 100, 150, 190])
    model.network = Constant(model.target(x0, eps, t))
    a, s = model.coefficients(t, x0)
    x = a * x0 + s * eps
    torch.testing.assert_close(model.denoise(x, t), x0, atol=1e-3, rtol=1e-3)


def ideal_sde():
    model = ScoreSDE().eval()
    model.network = Ideal(lambda t, x: model.marginal(t / 1000, x))
    return model


def gaussian_log_prob(x, std=STD):
    return -0.5 * ((x - MEAN) / std).square().sum(1) - math.log(2 * math.pi) - 2 * math.log(std)


def assert_gaussian(x, tolerance=0.03):
    assert torch.allclose(x.mean(0), MEAN, atol=tolerance)
    assert torch.allclose(x.std(0), torch.full((2,), STD), atol=tolerance)


def test_schedules_are_the_papers():
    linear = betas(Schedule())
    assert float(linear[0]) == pytest.approx(1e-4) and float(linear[-1]) == pytest.approx(0.02)
    assert float((1 - linear).prod()) == pytest.approx(4.0358e-5, rel=1e-3), "Ho et al., section 4"
    vp = betas(Schedule(name="vp", steps=500))
    assert float((1 - vp).log().sum()) == pytest.approx(-10.05, abs=1e-6), "-(20 - 0.1)/2 - 0.1"
    cosine = betas(Schedule(name="cosine"))
    assert float(cosine.max()) == pytest.approx(0.999) and float((1 - cosine)[:500].prod()) == pytest.approx(
        0.49, abs=0.01
    )


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
@pytest.mark.parametrize("options", [{}, {"sampler": "ddim"}, {"sampler": "ddim", "eta": 1.0}])
def test_ideal_network_draws_the_data(prediction, options):
    x = ideal_ddpm(prediction).sample(IndexedNoise(0, 6000), **options)
    assert_gaussian(x)


def test_dpm_solver_needs_few_steps():
    assert_gaussian(ideal_ddpm().sample(IndexedNoise(0, 6000), sampler="dpm-solver++", steps=40), 0.05)


def test_ancestral_and_ddim_steps_are_those_of_diffusers():
    """One step each, same network output, same noise, against the schedulers of diffusers."""
    diffusers = pytest.importorskip("diffusers")
    model = ideal_ddpm(schedule={"steps": 100})
    b = model.betas.numpy()
    x = IndexedNoise(1, 4).normal(2)
    t = 40
    out = model.predict(x, torch.full((4,), t))

    class Fixed:
        """Noise that is always the same, given to both."""

        @staticmethod
        def normal(*shape, name=None):
            return torch.full((4, *shape), 0.7)

    from dgm_diffusion.samplers import ancestral, ddim

    theirs = diffusers.DDIMScheduler(num_train_timesteps=100, trained_betas=b, clip_sample=False)
    theirs.set_timesteps(100)
    want = theirs.step(out, t, x, eta=0.6, variance_noise=Fixed.normal(2)).prev_sample
    got = next(ddim(model, x, [t, t - 1], Fixed, model.Sampling(eta=0.6)))
    assert torch.allclose(got, want, atol=1e-5)

    theirs = diffusers.DDPMScheduler(num_train_timesteps=100, trained_betas=b, clip_sample=False)
    mean = theirs.step(out, t, x, generator=torch.Generator().manual_seed(0)).prev_sample
    drawn = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    Fixed.normal = staticmethod(lambda *shape, name=None: drawn)
    assert torch.allclose(next(ancestral(model, x, [t, t - 1], Fixed, None)), mean, atol=1e-5)


def test_unet_output_is_that_of_diffusers_bit_for_bit():
    diffusers = pytest.importorskip("diffusers")
    args = {
        "block_out_channels": [8, 8],
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    }
    model = DDPM({"event_shape": [3, 8, 8], "network": {"kind": "unet", "args": args}}).eval()
    theirs = diffusers.UNet2DModel(sample_size=8, **args).eval()
    theirs.load_state_dict(model.network.state_dict())
    x, t = IndexedNoise(0, 2).normal(3, 8, 8), torch.tensor([10, 900])
    with torch.no_grad():
        assert torch.equal(model.predict(x, t), theirs(x, t).sample)


def test_unknown_unet_argument_is_named():
    with pytest.raises(DgmError, match="no_such_argument"):
        DDPM({"event_shape": [3, 8, 8], "network": {"kind": "unet", "args": {"no_such_argument": 1}}})


def test_bound_is_below_the_likelihood_and_close_for_the_ideal_network():
    x = MEAN + STD * IndexedNoise(3, 400).normal(2)
    truth = gaussian_log_prob(x).mean()
    model = ideal_ddpm(schedule={"steps": 1000, "name": "vp"}, variance="large")
    bound = model.log_prob(x).mean()
    assert truth - 0.25 < bound < truth + 0.02
    some = model.log_prob(x.repeat(20, 1), noise=IndexedNoise(1, 8000), terms=10).mean()
    assert float(some) == pytest.approx(float(bound), abs=0.1), "random terms estimate all terms"


def test_editing_keeps_more_of_the_picture_at_low_strength():
    model = ideal_ddpm()
    picture = torch.tensor([[2.0, 2.0]])
    edited = [model.sample(IndexedNoise(0, 500), init=picture, strength=s) for s in (0.1, 0.5, 1.0)]
    gaps = [(x - picture).norm(dim=1).mean() for x in edited]
    assert gaps[0] < gaps[1] < gaps[2]
    with pytest.raises(DgmError, match="strength"):
        model.sample(IndexedNoise(0, 2), init=picture, strength=0.0)


def test_steps_out_of_range_are_refused():
    with pytest.raises(DgmError, match="steps must be"):
        ideal_ddpm().sample(IndexedNoise(0, 1), steps=201)


@pytest.mark.parametrize(
    "options", [{}, {"sampler": "euler-maruyama", "steps": 300}, {"sampler": "predictor-corrector", "steps": 150}]
)
def test_sde_samplers_draw_the_data(options):
    with torch.no_grad():
        assert_gaussian(ideal_sde().sample(IndexedNoise(0, 6000), **options), 0.06 if options else 0.02)


def test_flow_likelihood_is_exact_for_the_ideal_score():
    """The flow ends at t_min, so its law is that of the data plus a little noise."""
    model = ideal_sde()
    x = MEAN + STD * IndexedNoise(3, 200).normal(2)
    alpha, sigma = (float(v) for v in model.marginal(torch.tensor([model.config.t_min]), torch.ones(1)))
    std = math.hypot(alpha * STD, sigma)
    want = -0.5 * ((x - alpha * MEAN) / std).square().sum(1) - math.log(2 * math.pi) - 2 * math.log(std)
    got = model.log_prob(x)
    assert torch.allclose(got, want, atol=2e-2), "up to the prior: p_1 has mean 0.007 m, not 0"
    hutchinson = model.log_prob(x, noise=IndexedNoise(0, 200), probes=4)
    assert torch.allclose(hutchinson, want, atol=2e-2), "for a linear flow with scalar Jacobian the estimator is exact"


def test_encode_inverts_push():
    model = ScoreSDE(ScoreSDE.example).eval()
    z = IndexedNoise(0, 5).normal(2)
    with torch.no_grad():
        assert torch.allclose(model.encode(model.push({"x": z})), z, atol=1e-3)


def test_times_by_snr_are_the_inverse_of_their_distribution():
    model = ScoreSDE()
    t = model.time_by_snr(torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64))
    assert float(t[0]) == pytest.approx(model.config.t_min, rel=1e-6) and float(t[2]) == pytest.approx(1.0)
    level = lambda v: math.log(math.expm1(model._integral(float(v))))  # noqa: E731
    assert level(t[1]) == pytest.approx((level(t[0]) + level(t[2])) / 2, abs=1e-6)


def test_patches_of_pixels_keep_the_shape_of_images():
    args = {"block_out_channels": [8, 8], "norm_num_groups": 4, "layers_per_block": 1, "add_attention": False}
    args |= {"down_block_types": ["DownBlock2D"] * 2, "up_block_types": ["UpBlock2D"] * 2}
    config = {"event_shape": [1, 8, 8], "network": {"kind": "unet", "patch": 2, "args": args}}
    model = DDPM(config).eval()
    x = torch.zeros(2, 1, 8, 8)
    assert model.predict(x, torch.tensor([0, 5])).shape == x.shape
    assert torch.allclose(model.predict(x, torch.tensor(5)), model.predict(x, torch.tensor([5, 5])))
    with pytest.raises(DgmError, match="patches of 3"):
        DDPM({**config, "network": {"kind": "unet", "patch": 3}})


def test_a_picture_is_edited_from_the_command_line(tmp_path, monkeypatch):
    from PIL import Image

    from dgmcore.cli import main
    from dgmcore.entry import Data
    from dgmcore.model import save

    args = {"block_out_channels": [4, 4], "norm_num_groups": 2, "layers_per_block": 1, "add_attention": False}
    args |= {"down_block_types": ["DownBlock2D"] * 2, "up_block_types": ["UpBlock2D"] * 2}
    config = {"event_shape": [1, 8, 8], "network": {"kind": "unet", "args": args}, "schedule": {"steps": 10}}
    data = Data(dataset="fashion", event_shape=(1, 8, 8), range=(-1.0, 1.0), levels=256)
    folder = save(DDPM(config), tmp_path / "tiny", name="tiny", license="MIT", data=data)
    Image.new("L", (8, 8), 200).save(tmp_path / "picture.png")
    monkeypatch.chdir(tmp_path)
    asked = ["--init", "picture.png", "--set", "strength=0.1", "-n", "3", "--out", "edited.npy"]
    assert main(["sample", str(folder), *asked]) in (0, None)
    edited = torch.from_numpy(np.load("edited.npy"))
    assert edited.shape == (3, 1, 8, 8)
    assert float((edited - (2 * 200 / 255 - 1)).abs().mean()) < 0.5  # a tenth of the way stays near the picture


@pytest.mark.parametrize("kind", [DDPM, ScoreSDE])
def test_classes_and_guidance(kind):
    torch.manual_seed(0)
    model = kind({**kind.example, "classes": 3}).eval()
    options = [{"sampler": s} for s in typing.get_args(typing.get_type_hints(kind.Sampling)["sampler"])]
    noise = lambda start=0, n=4: IndexedNoise(0, n, start)  # noqa: E731
    with torch.no_grad():
        for more in options:
            both = model.sample(noise(), label=[0, 2], steps=4, **more)
            one, other = (model.sample(noise(), label=k, steps=4, **more) for k in (0, 2))
            assert not torch.allclose(one, other), more
            assert torch.allclose(both[::2], one[::2], atol=1e-4) and torch.allclose(both[1::2], other[1::2], atol=1e-4)
            none = model.sample(noise(), steps=4, **more)
            assert torch.allclose(model.sample(noise(), label=1, guidance=0.0, steps=4, **more), none, atol=1e-6)
            assert torch.isfinite(model.sample(noise(), label=1, guidance=2.5, steps=4, **more)).all()
    x = noise().normal(2)
    assert not torch.allclose(model.log_prob(x, label=0), model.log_prob(x, label=1))
    with pytest.raises(DgmError, match="no class 3"):
        model.sample(noise(), label=3)
    with pytest.raises(DgmError, match="knows no classes"):
        kind(kind.example).sample(noise(), label=0)


@pytest.mark.parametrize(
    ("kind", "options"), [(ScoreSDE, {"steps": 0}), (ScoreSDE, {"snr": 0.0}), (ScoreSDE, {"solver": "x"})]
)
def test_options_that_are_refused(kind, options):
    (key,) = options
    with pytest.raises(DgmError, match=key):
        kind(kind.example).sample(IndexedNoise(0, 2), **options)
