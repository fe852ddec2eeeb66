"""What each option of diffusion models and of their training phases does, where the right value is known."""

from __future__ import annotations

import math

import pytest
import torch
from closed_forms import Says
from dgm_diffusion.ddpm import DDPM
from dgm_diffusion.flowmatching.model import FlowMatching
from dgm_diffusion.flowmatching.phases import Match
from dgm_diffusion.labels import dropped, guided, labels_of
from dgm_diffusion.networks import MLP, Patched, TimeMLP, UNet, build_network, sinusoid, small_unet
from dgm_diffusion.schedules import vp_log_alpha_bar
from dgm_diffusion.scoresde import ScoreSDE
from dgm_diffusion.training import Denoise, LabelledRegression, MatchDenoiser, MatchScore, spread
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
