"""Pictures under observations: operators, corrections, diffusions, and what users get wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dgm_given import Label, Observation, given, operators
from dgm_given.correct import corrected
from dgm_given.parsing import observations
from PIL import Image
from torch import nn

import dgmcore
from dgmcore import Config, IndexedNoise, Model
from dgmcore.compose import tilt
from dgmcore.errors import DgmError, UsageError

SHAPE = (3, 8, 8)


class Painter(Model):
    """Draws pictures of two noises: it does not reach most."""

    class Config(Config):
        pass

    def __init__(self, config=None, **parts):
        super().__init__(config, **parts)
        self.event_shape, self.noise_shapes = SHAPE, {"z": (2,)}
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("basis", torch.randn(2, *SHAPE, generator=generator) / 3)

    noise_shapes: dict

    def push(self, eps):
        return torch.tanh((eps["z"][:, :, None, None, None] * self.basis).sum(1))

    def sample(self, noise):
        return self.push(noise.named(self.noise_shapes))


class Denoiser(Model):
    """The exact denoiser of x_0 ~ N(m, s^2 I), as a diffusion has it."""

    class Config(Config):
        clip: tuple[float, float] | None = None

        class schedule:
            steps = 100

    mean, std = 0.4, 0.5

    def __init__(self, config=None, **parts):
        super().__init__(config, **parts)
        self.event_shape = (2,)
        self.betas = torch.linspace(1e-3, 0.1, 100)
        self.alpha_bar = (1 - self.betas).cumprod(0)

    def denoise(self, x, t, clip=False):
        bar = self.alpha_bar[t]
        gain = bar.sqrt() * self.std**2 / (bar * self.std**2 + 1 - bar)
        return self.mean + gain * (x - bar.sqrt() * self.mean)

    def sample(self, noise):
        raise AssertionError("it is asked for its denoiser only")


def datum(seed=3):
    return Painter().sample(IndexedNoise(seed, 1))[0]


@pytest.mark.parametrize("text", ["downsample:2", "blur:0.8", "grey", "crop:1,2,4,3", "linear:a.npy"])
def test_operators_are_linear_and_have_their_adjoint(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", np.random.default_rng(0).normal(size=(5, 192)))
    a = operators.build(text, SHAPE)
    x, z = torch.randn(2, 2, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert torch.allclose(a(2 * x - z), 2 * a(x) - a(z))
    y = torch.randn(a(x).shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert torch.allclose((a(x) * y).sum(), (x * operators.adjoint(a, y, x)).sum())


def test_operators_mean_what_they_say():
    x = torch.arange(192.0).reshape(1, *SHAPE)
    assert operators.build("downsample:4", SHAPE)(x)[0, 0, 0, 0] == x[0, 0, :4, :4].mean()
    assert torch.equal(operators.build("crop:1,2,4,3", SHAPE)(x), x[..., 2:5, 1:5])
    assert torch.allclose(operators.build("blur:1", SHAPE)(torch.ones(1, *SHAPE)), torch.ones(1, *SHAPE))
    assert operators.build("grey", SHAPE)(torch.ones(1, *SHAPE)).shape == (1, 1, 8, 8)


@pytest.mark.parametrize("text", ["downsample:3", "downsample:x", "blur:0", "blur:9", "crop:5,5,9,9", "crop:1", "gray"])
def test_operators_that_do_not_fit_are_refused(text):
    with pytest.raises(UsageError):
        operators.build(text, SHAPE)
    with pytest.raises(UsageError):
        operators.build("grey", (1, 8, 8))


@pytest.mark.parametrize("what", ["hole", "downsample:2", "blur:0.8", "grey"])
def test_what_was_seen_is_kept_to_within_sigma(what):
    """A picture out of the model's reach: samples are corrected, and the record says so."""
    x = datum() + 0.3 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(5))
    known = torch.ones(8, 8, dtype=torch.bool)
    known[2:6, 2:6] = False
    if what == "hole":
        seen = Observation(x, mask=known, sigma=0.05)
    else:
        seen = Observation(operators.build(what, SHAPE)(x[None])[0], what, sigma=0.05)
    asked = given(Painter().eval(), seen)
    for options in ({"sampler": "mala", "warmup": 20, "steps": 8}, {"particles": 64, "steps": 8}):
        samples = dgmcore.sample(asked, 3, **options)
        assert (seen.misfit(samples) < 0.06).all()
        report = asked.report()
        assert report["kind"] == "approximation" and any("reach" in w for w in report["warnings"])
        raw = dgmcore.sample(asked, 3, correct=False, **options)
        assert (seen.misfit(raw) > 0.08).any()
        if what == "hole":
            assert samples[..., ~known].std(0).mean() > 0.01, "they differ where nothing is known"


def test_corrections_are_the_gaussian_posterior_mean():
    x = torch.zeros(1, *SHAPE)
    seen = Observation(torch.ones(3, 4, 4), "downsample:2", sigma=0.1).fit(Painter())
    tau2 = (1 - 0.01) / 0.25  # the miss is 1, the gain of means of four is 1/4
    expected = tau2 / 4 / (tau2 / 4 + 0.01)
    assert torch.allclose(corrected(x, [seen]), torch.full_like(x, expected), atol=1e-4)
    uneven = torch.tensor([-1.0, 1.0]).repeat(1, 3, 8, 4)  # half of it can't rise, the other must do it alone
    one = Observation(torch.full((3, 4, 4), 0.4), "downsample:2", sigma=0.1).fit(Painter())
    once, again = corrected(uneven, [one]).clamp(-1, 1), corrected(uneven, [one], limits=(-1.0, 1.0))
    assert again.abs().max() <= 1
    assert one.misfit(again).max() < 0.11 < one.misfit(once).min(), "cutting undid what correcting did"


def test_optimum_is_the_best_and_says_so():
    x = datum()
    asked = given(Painter().eval(), Observation(x, sigma=0.1))
    best = dgmcore.sample(asked, 2, sampler="optimum", steps=80)
    assert asked.report()["kind"] == "optimum" and (best - x).abs().max() < 0.1
    drawn = dgmcore.sample(asked, 8, particles=128, steps=10)
    assert ((best - x).square().mean((1, 2, 3)) < (drawn - x).square().mean() + 1e-3).all()


def test_models_without_an_encoder_are_inverted():
    from dgm_latent.reconstruct import reconstruct

    x = Painter().sample(IndexedNoise(8, 2))
    model = Painter().eval()
    assert not model.can("encoder") and (reconstruct(model, x) - x).abs().max() < 0.1


@pytest.mark.parametrize("way", ["moment", "dps"])
def test_diffusions_follow_what_was_seen(way):
    """For Gaussian data `moment` is near the exact posterior; what is not seen keeps the prior."""
    model = Denoiser().eval()
    asked = given(model, Observation([1.2], lambda x: x[:, :1], sigma=0.1))
    x = dgmcore.sample(asked, 800, sampler=way, correct=False)
    gain = 0.25 / (0.25 + 0.01)
    assert abs(float(x[:, 0].mean()) - (0.4 + gain * 0.8)) < (0.12 if way == "moment" else 0.4)
    assert abs(float(x[:, 1].mean()) - 0.4) < 0.06 and abs(float(x[:, 1].std()) - 0.5) < 0.05
    assert asked.report()["kind"] == "approximation"


class Counted(Denoiser):
    """Tells how many samples its network is given at once: what is small has other bits for other numbers of them."""

    def __init__(self, shape):
        super().__init__()
        self.event_shape, self.met = shape, set()

    def denoise(self, x, t, clip=False):
        self.met.add(len(x))
        return super().denoise(x, t)


@pytest.mark.parametrize("way", ["moment", "dps", "repaint"])
@pytest.mark.parametrize(("shape", "block"), [((2,), 1024), (SHAPE, 4)])
def test_diffusions_are_pushed_in_blocks_of_one_length(way, shape, block):
    model = Counted(shape).eval()
    known = torch.zeros(shape, dtype=torch.bool)
    known[..., 0] = True
    asked = given(model, Observation(torch.ones(shape), mask=known, sigma=0.1))
    draws = [dgmcore.sample(asked, 7, batch_size=size, sampler=way, steps=5) for size in (7, 4, 1)]
    assert torch.equal(draws[0], draws[1]) and torch.equal(draws[0], draws[2])
    assert model.met == {block}


def test_corrections_are_made_in_blocks_of_one_length():
    met = set()

    def dark(x):
        met.add(len(x))
        return x[:, :1, ::2]

    x = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(0))
    seen = Observation(torch.zeros(1, 4, 8), dark, sigma=0.1)
    seen.gain(x)
    met.clear()
    whole = corrected(x, [seen], (0.0, 1.0))
    assert torch.equal(whole, torch.cat([corrected(part, [seen], (0.0, 1.0)) for part in x.split(2)])) and len(met) == 1


def test_repaint_keeps_what_is_known():
    model = Denoiser().eval()
    asked = given(model, Observation([1.0, 0.0], mask=[True, False], sigma=0.1))
    x = dgmcore.sample(asked, 200, sampler="repaint", steps=20)
    assert (x[:, 0] == 1).all() and abs(float(x[:, 1].mean()) - 0.4) < 0.12
    with pytest.raises(UsageError, match="mask"):
        dgmcore.sample(given(model, "x0=1"), 2, sampler="repaint")
    with pytest.raises(UsageError, match="functions of noise"):
        dgmcore.sample(asked, 2, sampler="hmc")


class Sorter(Model):
    """Class 0 where the first channel is dark, else 1."""

    def __init__(self):
        super().__init__()
        self.event_shape = SHAPE
        self.head = nn.Identity()

    def logits(self, x):
        light = 20 * x[:, 0].mean((1, 2))
        return torch.stack([-light, light], 1)


def test_labels_are_followed_and_unknown_ones_refused():
    asked = given(Painter().eval(), Label(1, Sorter()))
    x = dgmcore.sample(asked, 60, particles=256, steps=10)
    assert (Sorter().logits(x).argmax(1) == 1).double().mean() > 0.95
    with pytest.raises(UsageError, match="knows no class 2"):
        Label(2, Sorter())
    with pytest.raises(UsageError, match="no classifier"):
        Label(0, Painter())


class Sprayer(Painter):
    """The same of twenty noises: too many for proposals around neighbours."""

    def __init__(self, config=None, **parts):
        super().__init__(config, **parts)
        self.noise_shapes = {"z": (20,)}
        self.basis = torch.randn(20, *SHAPE, generator=torch.Generator().manual_seed(1)) / 9


def test_classes_alone_are_sampled_without_slopes():
    """Slopes lead to what fools a classifier; where more is given than classes, nothing else reaches it."""
    model = Sprayer().eval()
    asked, how = given(model, Label(1, Sorter())), {"particles": 128, "steps": 8}
    x = dgmcore.sample(asked, 12, **how)
    assert asked.report()["sampler"] == "population" and (Sorter().logits(x).argmax(1) == 1).all()
    assert torch.equal(dgmcore.sample(asked, 12, batch_size=5, **how), x)
    both = given(asked, Observation(model.sample(IndexedNoise(0, 1))[0], sigma=0.1))
    dgmcore.sample(both, 2, warmup=2, steps=8)
    assert both.report()["sampler"] == "mala"
    tilted = given(model, Label(1, Sorter()), tilt=[(Light(), 1.0)])
    dgmcore.sample(tilted, 2, warmup=2, steps=8)
    assert tilted.report()["sampler"] == "mala"


class Light(Model):
    def score(self, x):
        return 40 * x[:, 0].mean((1, 2))


@pytest.mark.parametrize("sampler", ["mala", "hmc", "pcn"])
def test_tilted_models_are_sampled_by_more_chains(sampler):
    model = tilt(Painter().eval(), Light())
    asked = {"sampler": sampler, "step_size": 0.0}
    before, after = dgmcore.sample(model, 24, steps=0), dgmcore.sample(model, 24, steps=40, **asked)
    assert Light().score(after).mean() > Light().score(before).mean() + 0.3
    assert 0 < model.report()["acceptance"] <= 1 and model.report()["chains"] == 24
    parts = dgmcore.sample(model, 9, batch_size=4, steps=10, **asked)
    assert torch.equal(parts[:4], dgmcore.sample(model, 4, steps=10, **asked))
    with pytest.raises(UsageError, match="no sampler"):
        dgmcore.sample(model, 2, sampler="hcm")


@pytest.mark.parametrize(("sampler", "step_size"), [("langevin", 0.02), ("metropolis", 0.3)])
def test_the_core_s_own_chains_tell_how_they_mixed_and_are_as_before(sampler, step_size):
    model = tilt(Painter().eval(), Light())
    asked = {"sampler": sampler, "step_size": step_size}
    x = dgmcore.sample(model, 24, batch_size=10, steps=40, **asked)
    report = model.report()
    assert (report["sampler"], report["chains"], report["draws"]) == (sampler, 24, 20)
    assert report["acceptance"] == 1 if sampler == "langevin" else 0.05 < report["acceptance"] < 0.95
    assert report["r_hat"] > 1.05 and report["kind"] == "approximation" and "R-hat" in model.report_line()
    eps = model.start(noise := IndexedNoise(0, 24), options := model.sampling({"steps": 40, **asked}))
    *_, last = model.chain(eps, noise.child("langevin"), options)
    assert torch.equal(x, model.push(last))
    dgmcore.sample(model, 4, steps=20, temperature=0.5, **asked)
    line = model.report_line()
    assert "temperature is not 1" in line and "R-hat" in line and "take more steps" not in line, "it is cold on purpose"


def test_chains_that_mixed_are_trusted():
    model = tilt(Painter().eval(), Light(), weight=0.01)
    dgmcore.sample(model, 50, steps=400, sampler="metropolis", step_size=0.9)
    report = model.report()
    assert report["kind"] == "posterior sample" and report["r_hat"] < 1.05 and not report["warnings"]


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    grey = Image.fromarray(np.full((28, 28), 99, np.uint8))
    grey.save("good.png")
    grey.resize((30, 28)).save("wide.png")
    Image.new("L", (28, 28), 255).save("all.png")
    Image.new("L", (28, 28), 0).save("none.png")
    Image.new("RGBA", (28, 28), (9, 9, 9, 0)).save("clear.png")
    (tmp_path / "text.png").write_text("no picture")


def test_what_is_transparent_is_unknown_also_under_a_mask(files):
    pixels = np.full((28, 28, 4), 255, np.uint8)
    pixels[:10, :, 3] = 0
    Image.fromarray(pixels).save("hole.png")
    white = np.zeros((28, 28), np.uint8)
    white[5:20] = 255
    Image.fromarray(white).save("mask.png")
    model = dgmcore.load("dcgan-mnist")
    (seen,) = observations(model, ["hole.png"], mask=["mask.png"])
    assert seen.known[1][0].any(1).nonzero()[:, 0].tolist() == list(range(10, 20))


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"seen": ["wide.png"]}, "30 x 28"),
        ({"seen": ["good.png"], "mask": ["wide.png"]}, "mask wide.png"),
        ({"seen": ["good.png"], "mask": ["none.png"]}, "hides everything"),
        ({"seen": ["good.png"], "mask": ["all.png"]}, "hides nothing"),
        ({"seen": ["clear.png"]}, "hides everything"),
        ({"seen": ["text.png"]}, "no PNG or JPEG"),
        ({"seen": ["missing.png"]}, "can't be read"),
        ({"seen": ["good.png"], "operator": ["downsample:4"]}, "28 x 28"),
        ({"seen": ["good.png"], "operator": ["downsample:3"]}, "does not fit"),
        ({"seen": ["good.png"], "operator": ["grey"]}, "no colours"),
        ({"seen": ["good.png"], "sigma": [-1.0]}, "no deviation"),
        ({"seen": ["label=77"]}, "knows no class 77"),
        ({"seen": ["label=shoe"]}, "classes are numbers"),
        ({"seen": ["label=1@nobody"]}, "nobody"),
        ({"seen": ["label=1@vae-fashion"]}, "no classifier"),
        ({"seen": ["label=1"], "mask": ["all.png"]}, "not there"),
        ({"seen": ["x0=1"]}, "images"),
    ],
)
def test_bad_input_is_refused(files, asked, says):
    model = dgmcore.load("vae-fashion")
    with pytest.raises(DgmError, match=says):
        dgmcore.given(model, *asked.pop("seen"), **asked)
