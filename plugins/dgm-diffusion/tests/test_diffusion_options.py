"""What each option of diffusion models and of their training phases does, where the right value is known."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from closed_forms import MEAN, STD, Denoiser, Velocity, assert_gaussian
from dgm_diffusion.ddpm import DDPM
from dgm_diffusion.ddpmflow import SIGNAL, ProbabilityFlow
from dgm_diffusion.flowmatching.distillation import Distill
from dgm_diffusion.flowmatching.model import FlowMatching
from dgm_diffusion.flowmatching.phases import Match
from dgm_diffusion.flowmatching.student import FlowStudent
from dgm_diffusion.labels import dropped, guided, labels_of
from dgm_diffusion.networks import MLP, Patched, TimeMLP, UNet, build_network, sinusoid, small_unet
from dgm_diffusion.odes import divergence, sign_probes, solve
from dgm_diffusion.samplers import SAMPLERS
from dgm_diffusion.schedules import Schedule, betas, posterior_variances, vp_log_alpha_bar
from dgm_diffusion.schroedinger.models import DataBridge, GaussianBridge
from dgm_diffusion.schroedinger.phases import ProportionalFitting
from dgm_diffusion.scoresde import ScoreSDE
from dgm_diffusion.training import Denoise, LabelledRegression, MatchDenoiser, MatchScore, Regression, spread
from dgm_diffusion.vesde import VESDE
from torch import nn

from dgmcore import IndexedNoise
from dgmcore.errors import OptionError
from dgmcore.sampling.stream_noise import StreamNoise

N = 2000
X = StreamNoise(7, N, scope="data").normal(2)
SMALL = {"network": {"kind": "mlp", "width": 8, "depth": 1}}


@pytest.mark.parametrize(
    "name",
    ["ddpm", "ddpm-flow", "flowmatching", "flow-student", "schroedinger", "schroedinger-bridge", "score-sde", "ve-sde"],
)
def test_defaults_are_those_of_the_page(documented, name):
    documented(name)


class Says(nn.Module):
    """A network that says a number for each class, and keeps what it saw."""

    def __init__(self, *numbers):
        super().__init__()
        self.numbers, self.seen = torch.tensor(numbers), []

    def forward(self, x, t, labels=None):
        self.seen.append((x, t, labels))
        k = torch.zeros(len(x), dtype=torch.long) if labels is None else labels
        return self.numbers[k].view(-1, *[1] * (x.ndim - 1)).expand_as(x)


# --- labels and guidance -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ScoreSDE, VESDE, FlowMatching])
def test_guidance_is_1_where_nobody_says(kind):
    model = kind({**SMALL, "classes": 2}).eval()
    model.network = Says(1.0, 2.0, 10.0)
    labels, x, t = torch.tensor([0, 1]), X[:2], torch.tensor(0.5)
    assert torch.equal(model.predicted(x, t, labels), torch.tensor([1.0, 2.0])[:, None].expand(2, 2))
    for ask in [m for m in ("eps", "gradient_field", "drift", "denoise", "velocity") if hasattr(model, m)]:
        function = getattr(model, ask)
        if ask == "drift" and kind is VESDE:
            assert torch.equal(function(labels)(x, t), function(labels, 1.0)(x, t))
            assert not torch.equal(function(labels)(x, t), function(labels, 2.0)(x, t))
            continue
        assert torch.equal(function(x, t, labels), function(x, t, labels, 1.0)), ask
        assert not torch.equal(function(x, t, labels), function(x, t, labels, 2.0)), ask
    ddpm = DDPM({**SMALL, "classes": 2, "schedule": {"steps": 8}}).eval()
    ddpm.network = Says(1.0, 2.0, 10.0)
    for ask in (ddpm.predict, ddpm.denoise):
        assert torch.equal(ask(x, torch.tensor(3), labels=labels), ask(x, torch.tensor(3), labels=labels, guidance=1.0))


def test_guidance_goes_from_no_label_through_the_label_and_on():
    network, labels = Says(1.0, 2.0, 10.0), torch.tensor([0, 1])
    for weight, want in ((0.0, [10, 10]), (1.0, [1, 2]), (2.0, [-8, -6]), (0.5, [5.5, 6.0])):
        assert guided(network, X[:2], torch.tensor(3.0), labels, weight, 2)[:, 0].tolist() == want
    assert guided(network, X[:2], torch.zeros(2), None, 2.0, 2)[:, 0].tolist() == [10, 10]
    assert guided(network, X[:2], torch.zeros(2), labels, 2.0, 0)[:, 0].tolist() == [1, 1], "it takes no labels"


@pytest.mark.parametrize("share", [None, 0.0, 0.4, 1.0])
def test_a_share_of_labels_is_hidden_in_training(share):
    phase = Match(
        FlowMatching({**SMALL, "classes": 3}), Match.Options(**({} if share is None else {"drop_label": share}))
    )
    labels = torch.arange(N) % 3
    seen = phase.hidden(labels, StreamNoise(0, N))
    assert abs(float((seen == 3).float().mean()) - (0.1 if share is None else share)) < 0.03
    assert torch.equal(seen[seen != 3], labels[seen != 3]) and phase.hidden(None, StreamNoise(0, N)) is None
    assert torch.equal(dropped(labels, 0.0, 3, StreamNoise(0, N)), labels)


@pytest.mark.parametrize(
    "kind", [(DDPM, Denoise), (ScoreSDE, MatchScore), (VESDE, MatchDenoiser), (FlowMatching, Match)]
)
def test_training_sees_labels_where_there_are_classes(recorder, kind):
    for classes in (0, 3):
        model = kind[0]({**SMALL, "classes": classes})
        model.network = Says(*[0.0] * (classes + 1))
        phase = kind[1](model, kind[1].Options(drop_label=0.0))
        phase.step(step := recorder(X, labels=torch.arange(N) % 3))
        seen = model.network.seen[0][2]
        assert seen is None if not classes else torch.equal(seen, torch.arange(N) % 3)
        assert isinstance(phase, LabelledRegression) and list(step.losses) == ["model"]


# --- times -------------------------------------------------------------------------------------------


def test_times_of_a_batch_are_spread_over_all():
    u = spread(StreamNoise(0, 50), torch.zeros(50)).sort().values
    assert torch.allclose(u.diff(), torch.tensor(1 / 50), atol=1e-5) and 0 <= u[0] < 1 / 50
    assert spread(StreamNoise(0, 50), torch.zeros(50))[0] != spread(StreamNoise(1, 50), torch.zeros(50))[0]


@pytest.mark.parametrize(("low", "high"), [(None, None), (0.5, 5.0)])
def test_the_sde_has_the_marginals_of_its_betas(low, high):
    config = {} if low is None else {"beta_min": low, "beta_max": high}
    model, t = ScoreSDE({**SMALL, **config}), torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64)
    low, high = low or 0.1, high or 20.0
    integral = low * t + (high - low) * t**2 / 2
    a, s = model.marginal(t, torch.zeros(3, 2))
    assert torch.allclose(a[:, 0], (-integral / 2).exp()) and torch.allclose(s[:, 0] ** 2, 1 - (-integral).exp())
    assert float(model.beta(0.0)) == low and float(model.beta(1.0)) == pytest.approx(high)
    assert torch.allclose(vp_log_alpha_bar(t, low, high), -integral)


@pytest.mark.parametrize("t_min", [None, 0.01])
def test_times_of_the_flow_are_even_in_the_log_of_the_ratio(t_min):
    model = ScoreSDE({**SMALL, **({} if t_min is None else {"t_min": t_min})})
    grid = model.grid(30, torch.zeros(1, dtype=torch.float64))
    assert len(grid) == 31 and float(grid[0]) == (t_min or 1e-3) and float(grid[-1]) == 1.0
    a, s = model.marginal(grid, grid)
    ratio = 2 * (s / a).log()
    assert torch.allclose(ratio.diff(), ratio.diff().mean(), atol=1e-6)


def test_times_of_the_likelihood_weighting_have_the_density_of_beta_over_the_variance(recorder):
    model = ScoreSDE(SMALL)
    u = torch.linspace(0, 1, 200_001, dtype=torch.float64)[1:-1]
    t = model.time_by_snr(u)
    density = 1 / t.diff()  # up to a constant
    middle = (t[1:] + t[:-1]) / 2
    want = model.beta(middle) / model.marginal(middle, middle)[1] ** 2
    ratio = density / want
    assert float(ratio.std() / ratio.mean()) < 1e-3
    for weighting, times in (("simple", lambda u: 1e-3 + u * (1 - 1e-3)), ("likelihood", model.time_by_snr)):
        model.network = Says(0.0)
        phase = MatchScore(model, MatchScore.Options(weighting=weighting))
        loss = phase.losses(X, StreamNoise(3, N))
        seen = model.network.seen[0][1] / 1000
        assert torch.allclose(seen, times(spread(StreamNoise(3, N), X)), atol=1e-5), weighting
        assert float(loss.mean()) == pytest.approx(1.0, abs=0.05), "the noise that nothing is said of"


def test_the_predicted_noise_is_the_score():
    model = ScoreSDE(SMALL)
    model.network = Says(3.0)
    t = torch.full((5,), 0.3)
    assert torch.equal(model.eps(X[:5], t), torch.full((5, 2), 3.0))
    assert float(model.network.seen[0][1][0]) == pytest.approx(300.0), "the network's times go to 1000"
    s = model.marginal(t, X[:5])[1]
    assert torch.allclose(model.gradient_field(X[:5], t), -3.0 / s)
    assert torch.allclose(model.drift(X[:5], t[0]), -0.5 * model.beta(0.3) * (X[:5] - 3.0 / s))


@pytest.mark.parametrize(
    ("levels", "said"), [("log-uniform", {}), ("log-normal", {}), ("log-normal", {"mean": 0.5, "std": 0.2})]
)
def test_levels_are_drawn_as_asked(levels, said):
    phase = MatchDenoiser(VESDE(SMALL), MatchDenoiser.Options(levels=levels, **said))
    logs = phase.levels(StreamNoise(0, N), X).log()
    low, high = math.log(0.01), math.log(20.0)
    if levels == "log-uniform":
        assert abs(float(logs.mean()) - (low + high) / 2) < 0.01
        assert abs(float(logs.std()) - (high - low) / math.sqrt(12)) < 0.01
    else:
        assert abs(float(logs.mean()) - said.get("mean", -1.2)) < 0.02
        assert abs(float(logs.std()) - said.get("std", 1.2)) < 0.02


@pytest.mark.parametrize("data", [None, 2.0])
def test_the_weight_of_each_level_makes_the_networks_target_of_unit_variance(data):
    model = VESDE({**SMALL, **({} if data is None else {"sigma_data": data})})
    model.network = Says(0.0)
    x = (data or 0.5) * X
    loss = MatchDenoiser(model, MatchDenoiser.Options()).losses(x, StreamNoise(0, N))
    assert float(loss.mean()) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(("low", "high"), [(None, None), (0.1, 5.0)])
def test_levels_fall_from_the_highest_to_the_lowest(low, high):
    model = VESDE({**SMALL, **({} if low is None else {"sigma_min": low, "sigma_max": high})})
    low, high = low or 0.01, high or 20.0
    like = torch.zeros(1, dtype=torch.float64)
    for rho, carried in ((7.0, lambda s: s ** (1 / 7)), (math.inf, torch.log), (1.0, lambda s: s)):
        levels = model.levels(10, like, rho)
        assert float(levels[0]) == pytest.approx(high) and float(levels[-1]) == pytest.approx(low)
        even = carried(levels).diff()
        assert torch.allclose(even, even.mean())
    assert torch.equal(model.levels(10, like), model.levels(10, like, 7.0))


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


# --- samplers of SDEs --------------------------------------------------------------------------------


def known_sde():
    model = ScoreSDE(SMALL).eval()
    model.network = type("Net", (nn.Module,), {})()

    def forward(x, t, labels=None):
        a, s = model.marginal(t / 1000, x)
        return s * (x - a * MEAN) / (a**2 * STD**2 + s**2)

    model.network.forward = forward
    return model


def known_ve():
    model = VESDE(SMALL).eval()
    model.network = Denoiser(model)
    return model


@pytest.mark.parametrize("sampler", ["ode", "euler-maruyama", "predictor-corrector"])
def test_solvers_take_their_steps(sampler):
    model = known_sde()
    assert len(list(model.trajectory(IndexedNoise(0, 2), sampler=sampler, steps=7))) == 8
    assert len(list(model.trajectory(IndexedNoise(0, 2), sampler=sampler))) == 41


def test_the_flow_is_solved_as_asked_and_rk4_is_the_default():
    model, noise = known_sde(), lambda: IndexedNoise(0, 50, dtype=torch.float64)
    exact = model.sample(noise(), steps=400)
    errors = {
        s: float((model.sample(noise(), steps=12, solver=s) - exact).abs().max()) for s in ("euler", "heun", "rk4")
    }
    assert errors["rk4"] < errors["heun"] < errors["euler"]
    assert torch.equal(model.sample(noise(), steps=12), model.sample(noise(), steps=12, solver="rk4"))
    x = STD * X[:20].double() + MEAN
    assert torch.equal(model.log_prob(x), model.log_prob(x, steps=40, solver="rk4"))
    assert not torch.equal(model.log_prob(x), model.log_prob(x, steps=40, solver="euler"))


def test_the_correctors_step_is_by_its_signal_to_noise_ratio():
    for model, sampler in ((known_ve(), "predictor-corrector"), (known_sde(), "predictor-corrector")):
        rough = [model.sample(IndexedNoise(0, N), sampler=sampler, snr=s, steps=40) for s in (0.01, 0.16, 0.5)]
        default = model.sample(IndexedNoise(0, N), sampler=sampler, steps=40)
        assert torch.equal(default, rough[1]) and not torch.allclose(rough[0], rough[2], atol=0.05)
        assert_gaussian(default, 0.06)


@pytest.mark.parametrize(("corrections", "passes"), [(None, 1 + 2 * 5), (3, 1 + 4 * 5)])
def test_there_are_so_many_corrections(corrections, passes):
    model, said = VESDE(SMALL).eval(), {} if corrections is None else {"corrections": corrections}
    model.network = Says(0.0)
    model.sample(IndexedNoise(0, 2), sampler="predictor-corrector", steps=5, **said)
    assert len(model.network.seen) == passes
    model.network = Says(0.0)
    model.sample(IndexedNoise(0, 2), sampler="annealed-langevin", steps=5, **said)
    assert len(model.network.seen) == 1 + 6 * (corrections or 1), "at each level, and a denoising"
    model.network = Says(0.0)
    model.sample(IndexedNoise(0, 2), sampler="reverse-diffusion", steps=5, **said)
    assert len(model.network.seen) == 1 + 5, "which has none"


@pytest.mark.parametrize("size", [None, 0.05, 0.8])
def test_annealed_steps_are_in_units_of_the_levels_variance(size):
    model = VESDE({**SMALL, "sigma_min": 0.5, "sigma_max": 2.0})
    model.denoise = lambda x, *rest: x  # no score: a step is its noise
    states = list(
        model.trajectory(
            IndexedNoise(0, N), sampler="annealed-langevin", steps=1, **({} if size is None else {"step_size": size})
        )
    )
    spread = [float((b - a).std()) for a, b in pairwise(states[:3])]
    assert spread == pytest.approx([2.0 * math.sqrt(size or 0.2), 0.5 * math.sqrt(size or 0.2)], rel=0.05)


def test_a_velocity_is_integrated_to_the_order_of_its_solver():
    x, times = torch.ones(1, 1, dtype=torch.float64), torch.linspace(0, 1, 11, dtype=torch.float64)
    factor = {"euler": 1 - 0.1, "heun": 1 - 0.1 + 0.005, "midpoint": 1 - 0.1 + 0.005, "rk4": 0.9048375}
    for solver, step in factor.items():
        *_, last = solve(lambda x, t: -x, x, times, solver)
        assert float(last) == pytest.approx(step**10, rel=1e-6), solver
    *_, last = solve(lambda x, t: -x, x, times, "dopri5", 1e-9)
    assert float(last) == pytest.approx(math.exp(-1), rel=1e-8)
    assert len(list(solve(lambda x, t: x, x, times))) == 11


@pytest.mark.parametrize("probes", [0, 1, 400])
def test_divergences_are_traces(probes):
    matrix = torch.tensor([[1.0, 5.0], [-2.0, 3.0]])
    y = X[:100].clone().requires_grad_()
    vectors = sign_probes(IndexedNoise(0, 100), (2,), probes)
    assert len(vectors) == probes and all(bool((v.abs() == 1).all()) for v in vectors)
    trace = divergence(y @ matrix.T, y, vectors)
    assert torch.allclose(trace, torch.full((100,), 4.0), atol={0: 1e-5, 1: 3.1, 400: 0.8}[probes])
    assert abs(float(trace.mean()) - 4) < {0: 1e-5, 1: 1.0, 400: 0.1}[probes]


# --- flow matching, students, bridges, flows of DDPM -------------------------------------------------


def known_matching():
    model = FlowMatching(SMALL).eval()
    model.network = Velocity()
    return model


def test_the_matching_loss_is_that_of_the_straight_line():
    model = FlowMatching(SMALL)
    model.network = Says(0.0)
    phase, noise = Match(model, Match.Options()), StreamNoise(0, N)
    loss = phase.losses(X, StreamNoise(0, N))
    start, t = noise.normal(2), spread(noise, X)
    assert torch.allclose(loss, (X - start).square().mean(1))
    seen, times, _ = model.network.seen[0]
    assert torch.allclose(times, 1000 * t) and torch.allclose(seen, start + t[:, None] * (X - start), atol=1e-5)


def test_flow_matching_takes_the_steps_and_the_solver_that_are_asked():
    model = known_matching()
    noise = lambda: IndexedNoise(0, 30)  # noqa: E731
    assert len(list(model.trajectory(noise()))) == 21 and len(list(model.trajectory(noise(), steps=3))) == 4
    assert torch.equal(model.sample(noise()), model.sample(noise(), solver="midpoint", steps=20))
    loose = model.sample(noise(), solver="dopri5", tolerance=0.1)
    tight = model.sample(noise(), solver="dopri5", tolerance=1e-8)
    default = model.sample(noise(), solver="dopri5")
    assert (default - tight).abs().max() < 1e-4 < (loose - tight).abs().max()
    x = MEAN + STD * X[:20]
    assert torch.equal(model.log_prob(x), model.log_prob(x, solver="rk4", steps=40))


@pytest.mark.parametrize(("pool", "steps", "solver"), [(None, None, None), (10, 4, "euler")])
def test_a_pool_holds_what_is_asked(monkeypatch, recorder, pool, steps, solver):
    student = FlowStudent({**SMALL, "times": [0.0, 0.25, 1.0]})
    said = {k: v for k, v in {"pool": pool, "steps": steps, "solver": solver}.items() if v is not None}
    phase, seen = Distill(student, Distill.Options(**said)), []
    import dgm_diffusion.flowmatching.distillation as module

    monkeypatch.setattr(module, "solve", lambda f, x, grid, s: seen.append((len(grid) - 1, s)) or iter([x]))
    phase.setup(recorder(X))
    assert phase.pool.shape == (pool or 1024, 3, 2)
    n = steps or 16
    assert seen[:2] == [(n // 4, solver or "heun"), (n * 3 // 4, solver or "heun")]


def test_a_teacher_is_guided_as_asked(monkeypatch, recorder):
    for weight in (None, 3.0):
        student = FlowStudent({**SMALL, "classes": 4})
        phase = Distill(student, Distill.Options(pool=8, **({} if weight is None else {"guidance": weight})))
        seen = []
        velocity = FlowMatching.velocity
        monkeypatch.setattr(
            FlowMatching,
            "velocity",
            lambda self, x, t, labels=None, guidance=1.0, f=velocity, seen=seen: (
                seen.append((labels, guidance)) or f(self, x, t, labels, guidance)
            ),
        )
        phase.setup(recorder(X))
        monkeypatch.undo()
        assert {g for _, g in seen} == {weight or 1.0} and seen[0][0].tolist()[:6] == [0, 1, 2, 3, 0, 1]


def test_bridges_end_where_they_are_told():
    for said, mean, std in (({}, 0.0, 1.0), ({"prior_mean": 3.0, "prior_std": 0.25}, 3.0, 0.25)):
        model = GaussianBridge({**SMALL, **said})
        x = model.prior_points(IndexedNoise(0, N), "test")
        assert abs(float(x.mean()) - mean) < 0.06 and abs(float(x.std()) - std) < 0.05
        z = IndexedNoise(1, 5).normal(2)
        model.velocity = lambda x, k: torch.zeros_like(x)
        assert torch.allclose(model.decode(z), mean + std * z) and torch.allclose(
            model.encode(model.decode(z)), z, atol=1e-5
        )
        far = torch.distributions.Normal(mean, std).log_prob(x[:5]).sum(1)
        model.velocity = lambda x, k: 0.0 * x
        assert torch.allclose(model.log_prob(x[:5]), far, atol=1e-4)


@pytest.mark.parametrize(("kind", "ends"), [(GaussianBridge, "one"), (DataBridge, "both")])
@pytest.mark.parametrize("ratio", [1.0, 50.0])
def test_steps_are_short_at_the_ends_of_data(kind, ends, ratio):
    gammas = kind({**SMALL, "steps": 11, "ratio": ratio}).gammas
    assert float(gammas.sum()) == pytest.approx(1.0) and len(gammas) == 11
    assert float(gammas.max() / gammas.min()) == pytest.approx(ratio, rel=0.01)
    assert (gammas.diff()[:5] >= 0).all() and (
        (gammas.diff()[6:] <= 0).all() if ends == "both" else (gammas.diff() >= 0).all()
    )


@pytest.mark.parametrize("floor", [None, 0.0, 0.5])
def test_rates_fall_by_a_cosine_to_their_floor(recorder, floor):
    model = GaussianBridge({**SMALL, "steps": 2})
    said = {} if floor is None else {"floor": floor}
    phase = ProportionalFitting(model, ProportionalFitting.Options(half=4, **said))
    rates = []
    for index in range(9):
        step = recorder(X[:4], index=index)
        groups = {name: [{"lr": 1.0}] for name in phase.optimizers}
        step.optimizer = lambda name, groups=groups: type("Adam", (), {"param_groups": groups[name]})
        phase.step(step)
        (learns,) = step.losses
        rates.append((learns, groups[learns][0]["lr"], sum(g[0]["lr"] != 1.0 for g in groups.values())))
    low = 0.05 if floor is None else floor
    fall = [low + (1 - low) * 0.5 * (1 + math.cos(math.pi * k / 4)) for k in range(4)]
    assert [r for _, r, _ in rates] == pytest.approx([*fall, *fall, 1.0])
    assert [n for n, _, _ in rates] == ["backward"] * 4 + ["onward"] * 4 + ["backward"]


def test_variances_are_fitted_by_a_running_mean():
    for variances, moves in (("fitted", True), ("reference", False)):
        model = GaussianBridge({**SMALL, "steps": 3, "sigma": 2.0, "variances": variances})
        phase = ProportionalFitting(model, ProportionalFitting.Options())
        phase.kept = phase.chains("to-prior", X[:50], StreamNoise(0, 50))
        before = model.factors.clone()
        phase.losses("to-prior", StreamNoise(1, 50))
        assert bool((model.factors != before).any()) is moves
    model.factors.fill_(1.0)
    phase.fit("to-data", torch.tensor([8.0, 2.0]), torch.tensor([1, 1]))
    want = 1.0 + 0.02 * (5.0 * float(model.gammas[0]) / 4.0 - 1.0)
    assert float(model.factors[0, 0]) == pytest.approx(want) and (model.factors.flatten()[1:] == 1).all()


def test_the_flow_of_a_ddpm_starts_where_there_is_signal():
    base = chain(prediction="v")
    flow = ProbabilityFlow(base=base)
    angles = flow.angles(torch.zeros(1, dtype=torch.float64))
    kept = base.alpha_bar[base.alpha_bar >= SIGNAL].double()
    assert torch.allclose(angles.cos().square(), kept, atol=1e-6) and (angles.diff() > 0).all()
    assert flow.grid(None, angles).shape == angles.shape
    grid = flow.grid(4, angles)
    assert len(grid) == 5 and float(grid[0]) == float(angles[0]) and float(grid[-1]) == float(angles[-1])
    base.network = Says(0.5)
    assert torch.allclose(flow.velocity(X[:3], angles[4].float()), torch.full((3, 2), 0.5), atol=1e-5), "it says v"


# --- networks ----------------------------------------------------------------------------------------


def test_embeddings_are_of_all_frequencies():
    t = torch.tensor([0.0, 3.0, 500.0], dtype=torch.float64)
    e = sinusoid(t, 8)
    rates = 10_000.0 ** (-torch.arange(4, dtype=torch.float64) / 4)
    assert torch.allclose(e, torch.cat([(t[:, None] * rates).sin(), (t[:, None] * rates).cos()], 1))
    assert torch.allclose(sinusoid(t, 2, 7.0), torch.stack([t.sin(), t.cos()], 1))


def test_networks_have_the_size_they_are_asked_for():
    net = TimeMLP(2, MLP(width=6, depth=3, frequencies=5), classes=4, outputs=2)
    assert len(net.blocks) == 3 and net.embed[0].in_features == 10 and net.last.out_features == 4
    assert net.labels.num_embeddings == 5 and TimeMLP(2, MLP()).labels is None
    x, t = X[:3], torch.tensor([1.0, 2.0, 3.0])
    one = TimeMLP(2, MLP(width=6, depth=1))
    e = one.embed(sinusoid(t, 64))
    h = one.first(x)
    silu = nn.functional.silu
    h = h + one.blocks[0]["b"](silu(one.blocks[0]["a"](silu(h + e))))
    assert torch.allclose(one(x, t), one.last(silu(h)))
    assert torch.allclose(one(x, torch.tensor(2.0))[1], one(x, t)[1], atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "patch", "widths"),
    [
        ((1, 8, 8), 1, [32]),
        ((1, 28, 28), 2, [32, 64]),
        ((3, 32, 32), 2, [32, 64]),
        ((3, 64, 64), 2, [32, 64, 64]),
        ((1, 9, 9), 1, [32]),
    ],
)
def test_small_networks_fit_the_picture(shape, patch, widths):
    found = small_unet(shape)
    assert (found.patch, found.args["block_out_channels"]) == (patch, widths)
    assert small_unet((1, 32, 32), 4).patch == 4


def test_patches_are_seen_as_channels():
    net = build_network(UNet(patch=2, args={**small_unet((1, 8, 8)).args}), (1, 8, 8), outputs=2)
    assert isinstance(net, Patched) and net.unet.config.in_channels == 4 and net.unet.config.out_channels == 8
    assert net(torch.zeros(2, 1, 8, 8), torch.zeros(2)).shape == (2, 2, 8, 8)
    with pytest.raises(OptionError, match="no class 3"):
        labels_of([0, 3], IndexedNoise(0, 2), 3)
    with pytest.raises(OptionError, match="knows no classes"):
        labels_of(0, IndexedNoise(0, 2), 0)
