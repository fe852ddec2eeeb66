"""What each option of schedules and of a DDPM does."""

from __future__ import annotations

import math

import pytest
import torch
from closed_forms import Says
from dgm_diffusion.ddpm import DDPM
from dgm_diffusion.flowmatching.model import FlowMatching
from dgm_diffusion.samplers import SAMPLERS
from dgm_diffusion.schedules import Schedule, betas, posterior_variances
from dgm_diffusion.training import Denoise, Regression
from torch import nn

from dgmcore import IndexedNoise
from dgmcore.errors import OptionError
from dgmcore.sampling.stream_noise import StreamNoise

N = 2000
X = StreamNoise(7, N, scope="data").normal(2)
SMALL = {"network": {"kind": "mlp", "width": 8, "depth": 1}}


# --- schedules and DDPM ------------------------------------------------------------------------------


def test_schedules():
    for said, first, last in (({}, 1e-4, 0.02), ({"beta_min": 0.01, "beta_max": 0.5}, 0.01, 0.5)):
        b = betas(Schedule(steps=50, **said))
        assert len(b) == 50 and float(b[0]) == pytest.approx(first) and float(b[-1]) == pytest.approx(last)
        assert torch.allclose(b.diff(), b.diff().mean())
    t = torch.arange(41, dtype=torch.float64) / 40
    cosine = torch.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2
    kept = (1 - betas(Schedule(name="cosine", steps=40))).cumprod(0)
    assert torch.allclose(kept[:-1], (cosine / cosine[0])[1:-1])
    vp = (1 - betas(Schedule(name="vp", steps=40, beta_min=0.2, beta_max=3.0))).cumprod(0)
    assert torch.allclose(vp, (-0.5 * 2.8 * t[1:] ** 2 - 0.2 * t[1:]).exp())
    b = betas(Schedule(steps=50))
    bar = (1 - b).cumprod(0)
    small = posterior_variances(b, bar)
    assert float(small[0]) == 0 and torch.allclose(small[1:], b[1:] * (1 - bar[:-1]) / (1 - bar[1:]))


def chain(**config):
    return DDPM({**SMALL, "schedule": {"steps": 20, "name": "cosine"}, **config}).eval()


@pytest.mark.parametrize("clip", [None, (-0.25, 0.5)])
def test_predictions_are_cut_while_sampling(clip):
    model = chain(prediction="x0", **({} if clip is None else {"clip": clip}))
    model.network = Says(3.0)
    assert float(model.denoise(X[:3], torch.tensor(4)).max()) == 3.0, "not where it is measured"
    for sampler in ("ddpm", "ddim"):
        x = model.sample(IndexedNoise(0, 4), sampler=sampler)
        assert torch.allclose(x, torch.tensor(3.0 if clip is None else 0.5), atol=1e-4)


@pytest.mark.parametrize(("variance", "which"), [("small", 0.0), ("large", 1.0)])
def test_the_noise_of_a_step_has_the_variance_that_is_asked_for(variance, which):
    model = chain(prediction="x0", variance=variance)
    model.network = Says(0.0)
    x = torch.zeros(N, 2)
    after, last = SAMPLERS["ddpm"](model, x, [10, 0], StreamNoise(0, N), None)
    beta = 1 - model.alpha_bar[10] / model.alpha_bar[0]
    small = beta * (1 - model.alpha_bar[0]) / (1 - model.alpha_bar[10])
    want = beta if which else small
    assert float(after.var()) == pytest.approx(float(want), rel=0.06)
    assert torch.allclose(last, torch.zeros(N, 2), atol=1e-5), "no noise at the last step"


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_learned_variances_lie_between_the_two_on_a_scale_of_logarithms(share):
    model = chain(prediction="x0", variance="learned")
    raw = torch.tensor([0.0, 0.0, 2 * share - 1, 2 * share - 1])
    model.network = type("Both", (nn.Module,), {"forward": lambda _, x, t: raw.expand(len(x), 4)})()
    after = next(SAMPLERS["ddpm"](model, torch.zeros(N, 2), [10, 0], StreamNoise(0, N), None))
    beta = 1 - model.alpha_bar[10] / model.alpha_bar[0]
    small = beta * (1 - model.alpha_bar[0]) / (1 - model.alpha_bar[10])
    assert float(after.var()) == pytest.approx(float(beta**share * small ** (1 - share)), rel=0.06)


@pytest.mark.parametrize("eta", [None, 0.0, 0.5, 1.0])
def test_eta_is_the_share_of_fresh_noise(eta):
    model = chain(prediction="x0")
    model.network = Says(0.0)
    options = model.sampling({"sampler": "ddim", **({} if eta is None else {"eta": eta})})
    x = torch.ones(N, 2)
    after = next(SAMPLERS["ddim"](model, x, [10, 0], StreamNoise(0, N), options))
    now, before = model.alpha_bar[10], model.alpha_bar[0]
    sigma = (eta or 0.0) * ((1 - before) / (1 - now) * (1 - now / before)).sqrt()
    assert float(after.std()) == pytest.approx(float(sigma), rel=0.06, abs=1e-6)
    assert float(after.mean()) == pytest.approx(float((1 - before - sigma**2).sqrt() / (1 - now).sqrt()), abs=0.02)


@pytest.mark.parametrize(("asked", "seen"), [(None, 20), (20, 20), (5, 5), (1, 1)])
def test_the_network_is_asked_as_often_as_there_are_steps(asked, seen):
    model = chain()
    model.network = Says(0.0)
    states = list(model.trajectory(IndexedNoise(0, 2), **({} if asked is None else {"steps": asked})))
    assert len(states) == 1 + seen and len(model.network.seen) == seen
    assert float(model.network.seen[0][1].max()) == pytest.approx(19 * 50), "it starts at the last time"
    with pytest.raises(OptionError, match="from 1 to 20"):
        model.sample(IndexedNoise(0, 2), steps=21)


@pytest.mark.parametrize(("strength", "steps"), [(None, 10), (0.1, 2), (1.0, 20), (0.01, 1)])
def test_a_picture_goes_through_its_share_of_the_diffusion(strength, steps):
    model = chain(prediction="x0")
    model.network = Says(0.0)
    given = {"init": torch.tensor([7.0, -7.0]), **({} if strength is None else {"strength": strength})}
    states = list(model.trajectory(IndexedNoise(0, N), **given))
    assert len(states) == 1 + steps
    a = model.alpha_bar[steps - 1]
    assert torch.allclose(states[0].mean(0), a.sqrt() * torch.tensor([7.0, -7.0]), atol=0.1)
    assert float(states[0].std(0).mean()) == pytest.approx(float((1 - a).sqrt()), rel=0.06)


@pytest.mark.parametrize("variance", ["small", "large"])
def test_terms_estimate_the_bound_without_bias(variance):
    model = chain(prediction="x0", variance=variance)
    model.network = Says(0.3)
    x = X[:1].expand(N, 2)
    full = model.log_prob(x, noise=IndexedNoise(0, N)).mean()
    some = model.log_prob(x, noise=IndexedNoise(1, N), terms=3).mean()
    assert float(some) == pytest.approx(float(full), rel=0.1)
    assert len(model.network.seen) == 20 + 4, "each term is a pass, and the first one more"
    # of a network that says x_0 itself only the variances are left
    model.network = Says(0.0)
    exact = model.log_prob(torch.zeros(1, 2), noise=IndexedNoise(0, 1))
    bar, b = model.alpha_bar.double(), model.betas.double()
    small = posterior_variances(b, bar)
    own = b if variance == "large" else torch.cat([b[:1], small[1:]])
    kl = (own[1:].log() - small[1:].log() - 1 + small[1:] / own[1:]).sum()
    prior = -bar[-1] - torch.log1p(-bar[-1])
    want = -(prior + own[0].log() + math.log(2 * math.pi) + kl)
    assert float(exact) == pytest.approx(float(want), rel=1e-3)


@pytest.mark.parametrize("weight", [None, 0.0, 2.0])
def test_the_bound_has_its_weight_where_variances_are_learned(weight):
    model = chain(variance="learned")
    model.network = type("Both", (nn.Module,), {"forward": lambda _, x, t: torch.zeros(len(x), 4)})()
    options = Denoise.Options(**({} if weight is None else {"bound_weight": weight}))
    loss = Denoise(model, options).losses(X, StreamNoise(0, N))
    none = Denoise(model, Denoise.Options(bound_weight=0.0)).losses(X, StreamNoise(0, N))
    one = Denoise(model, Denoise.Options(bound_weight=1.0)).losses(X, StreamNoise(0, N))
    assert torch.allclose(loss, none + (0.001 if weight is None else weight) * (one - none), rtol=1e-3)
    assert float(none.mean()) == pytest.approx(1.0, abs=0.06) and float((one - none).abs().mean()) > 0.1


def test_regressions_say_their_loss(recorder):
    class Squares(Regression):
        def losses(self, x, noise):
            return x.square().sum(1)

    phase = Squares(FlowMatching(SMALL), None)
    phase.step(step := recorder(X))
    want = float(X.square().sum(1).mean())
    assert step.losses["model"] == [pytest.approx(want)] and step.logged["loss"] == pytest.approx(want)
    assert torch.equal(phase.validate(X, None), X.square().sum(1))
