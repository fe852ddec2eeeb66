"""What each option of energies, chains and training phases does, where the right value is known."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from bowls import Bowl, N, bowl, noise
from dgm_ebms.networks import ConvEnergy, MLPEnergy, ResNetEnergy, read_layout
from dgm_ebms.odeflow import ODEFlow, ascent, tangents
from dgm_ebms.training import (
    Contrastive,
    DenoisingScoreMatching,
    FlowLikelihood,
    ImplicitScoreMatching,
    MaximumLikelihood,
    NoiseContrastive,
)
from dgm_ebms.weightnorm import WNConv2d, data_dependent_init
from torch import nn

from dgmcore.sampling.stream_noise import StreamNoise

X = StreamNoise(7, N, scope="data").normal(2)


@pytest.mark.parametrize(
    "name", ["conv-energy", "ebm", "mlp-energy", "odeflow", "rbm", "resnet-energy", "stacked-rbm", "started-ebm"]
)
def test_defaults_are_those_of_the_page(documented, name):
    documented(name)


# --- energies and their chains -----------------------------------------------------------------------


@pytest.mark.parametrize(("start", "std"), [("normal", 1.0), ("uniform", 1 / math.sqrt(3))])
@pytest.mark.parametrize("scale", [None, 0.0, 2.5])
def test_chains_start_at_noise_of_their_scale(start, std, scale):
    config = {"start": start, **({} if scale is None else {"start_scale": scale})}
    x = bowl(**config).start(noise())
    assert abs(float(x.std()) - std * (1.0 if scale is None else scale)) < 0.03
    assert abs(float(x.mean())) < 0.06
    if start == "uniform" and scale:
        assert float(x.abs().max()) <= scale and float(x.max()) > 0.99 * scale > -float(x.min()) * 0.99


def test_the_reference_is_a_gaussian_of_its_deviation():
    x = X[:20]
    for std, extra in ((None, 0.0), (0.5, 2.0), (3.0, 1 / 18)):
        model = bowl(reference_std=std)
        assert torch.allclose(model.score(x), -x.square().sum(1) - extra * x.square().sum(1))
        model.log_normalizer.data.fill_(1.5)
        assert torch.allclose(model.log_prob(x), model.score(x) - 1.5)


def test_states_stay_in_their_range():
    model = bowl(range=[-0.5, 0.25], start_scale=3.0)
    for x in model.trajectory(noise(200), steps=3, step_size=0.5):
        assert float(x.min()) == -0.5 and float(x.max()) == 0.25


@pytest.mark.parametrize(
    ("options", "deviation"),
    [({}, 0.1), ({"step_size": 0.04}, 0.2), ({"noise_scale": 0.7}, 0.7), ({"noise_scale": 0.0, "step_size": 0.5}, 0.0)],
)
def test_a_step_is_half_the_gradient_and_noise_of_its_deviation(options, deviation):
    start, end = bowl().trajectory(noise(), steps=1, **options)
    drift = 1 - options.get("step_size", 0.01) / 2 * 2.0
    moved = end - drift * start
    assert abs(float(moved.std()) - deviation) < 0.03 * deviation + 1e-6
    assert torch.equal(bowl().sample(noise(), steps=1, **options), end)


@pytest.mark.parametrize("last", [None, 0.0, 0.25, 4.0])
def test_the_temperature_of_the_noise_ends_where_it_is_asked_to(last):
    flat = bowl(a=0.0)
    states = list(flat.trajectory(noise(), steps=3, **({} if last is None else {"final_temperature": last})))
    got = [float((b - a).std()) for a, b in pairwise(states)]
    last = 1.0 if last is None else last
    want = [0.1, 0.1 * math.sqrt((1 + last) / 2), 0.1 * math.sqrt(last)]
    assert got == pytest.approx(want, abs=0.004)


def test_chains_have_so_many_steps_where_nobody_says():
    assert len(list(bowl().trajectory(noise(3)))) == 1 + 60
    assert len(list(bowl().trajectory(noise(3), steps=7))) == 1 + 7


def test_chains_of_the_right_temperature_sample_the_density():
    x = bowl(a=4.0).sample(noise(), steps=400, step_size=0.02)
    assert abs(float(x.std()) - 0.5) < 0.03


# --- phases of energies ------------------------------------------------------------------------------


def phase_of(kind, model, **options):
    return kind(model, kind.Options(**options))


def test_noise_is_added_to_the_data_where_asked(recorder):
    for said, std in (({}, 0.0), ({"data_noise": 3.0}, 3.0)):
        phase, seen = phase_of(MaximumLikelihood, bowl(), steps=0, **said), []
        phase.contrast = lambda step, data, negatives, seen=seen: seen.append(data) or torch.zeros(())
        phase.step(recorder(X))
        assert abs(float((seen[0] - X).std()) - std) < 0.1


def test_negatives_are_ends_of_the_chains_that_are_asked_for():
    said = {"steps": 5, "step_size": 0.1, "noise_scale": 0.2, "gradient_clip": 0.5}
    phase, seen = phase_of(MaximumLikelihood, bowl(), chains="short-run", **said), []
    chain = phase.model.chain
    phase.model.chain = lambda x, noise, options: seen.append(options) or chain(x, noise, options)
    phase.negatives(StreamNoise(0, 10))
    assert {key: getattr(seen[0], key) for key in said} == said


@pytest.mark.parametrize(
    ("chains", "restart", "old"),
    [
        ("short-run", 0.0, 0.0),
        ("persistent", 0.25, 0.75),
        ("buffer", 0.25, 0.75),
        ("buffer", 1.0, 0.0),
        ("buffer", 0.0, 1.0),
    ],
)
def test_chains_restart_as_often_as_they_are_told(chains, restart, old):
    phase = phase_of(MaximumLikelihood, bowl(), chains=chains, steps=0, restart=restart, buffer_size=N)
    phase.negatives(StreamNoise(0, N))
    if phase.buffer is not None:
        for stored in phase.buffer.states.values():
            stored.fill_(9.0)
    ends = phase.negatives(StreamNoise(1, N))
    assert abs(float((ends == 9.0).all(1).float().mean()) - old) < 0.03


def test_a_buffer_holds_so_many_states():
    for chains, size, held in (("buffer", 100, 100), ("buffer", 7, 7), ("persistent", 7, 50)):
        phase = phase_of(MaximumLikelihood, bowl(), chains=chains, steps=0, buffer_size=size)
        for seed in range(4):
            phase.negatives(StreamNoise(seed, 50))
        assert len(phase.buffer) == held, chains


def test_the_contrast_and_its_regularisation(recorder):
    for said in ({}, {"energy_weight": 0.3}):
        phase = phase_of(MaximumLikelihood, bowl(), steps=0, chains="short-run", **said)
        phase.step(step := recorder(2 * X))
        start = bowl().start(StreamNoise(1, N, scope="step0"))
        up, down = -(2 * X).square().sum(1), -start.square().sum(1)
        want = down.mean() - up.mean() + said.get("energy_weight", 0.0) * (up.square().mean() + down.square().mean())
        assert step.losses["model"] == [pytest.approx(float(want), rel=0.02)]
        assert step.logged["score_data"] == pytest.approx(float(up.mean()), rel=1e-4)


@pytest.mark.parametrize("sigma", [None, 0.1, 0.5])
def test_denoising_matches_the_score_of_blurred_data(sigma):
    s = sigma or 0.1
    # blurred standard normal data have the score -x / (1 + s^2), which is the least of the loss
    best = []
    for a in (0.9 / (1 + s**2), 1 / (1 + s**2), 1.1 / (1 + s**2)):
        phase = phase_of(DenoisingScoreMatching, bowl(a=a), **({} if sigma is None else {"sigma": sigma}))
        losses = [phase.loss(StreamNoise(i, N, scope="d").normal(2), StreamNoise(i, N)).detach() for i in range(10)]
        best.append(float(torch.cat(losses).mean()))
        # E |-s a (x + s e) + e|^2 / 2 of two dimensions
        want = (s * a) ** 2 * 1.0 + (1 - s * s * a) ** 2
        assert best[-1] == pytest.approx(want, rel=0.02)
    assert best[1] == min(best) or s < 0.2


@pytest.mark.parametrize("probes", [1, 16])
def test_the_trace_of_the_implicit_loss_is_as_asked(monkeypatch, probes):
    phase = phase_of(ImplicitScoreMatching, bowl(a=3.0), trace="hutchinson", probes=probes)
    want = -6 + (9 * X.square().sum(1)) / 2
    assert torch.allclose(phase.loss(X, noise()), want, atol=1e-3), "signs are exact where the curvature is a multiple"
    assert tangents(X, noise(), "hutchinson", probes).shape == (probes, N, 2)
    std = phase_of(ImplicitScoreMatching, bowl(a=3.0, reference_std=0.5))
    assert torch.allclose(std.loss(X, noise()), -14 + 49 * X.square().sum(1) / 2, atol=1e-3)


def test_traces_are_exact_up_to_eight_dimensions():
    for d, kind in ((8, "basis"), (9, "signs")):
        vectors = tangents(torch.zeros(5, d), noise(5), "auto", 4)
        assert len(vectors) == (d if kind == "basis" else 4)
    assert torch.equal(tangents(torch.zeros(1, 3), None, "exact", 1)[:, 0], torch.eye(3))
    signs = tangents(torch.zeros(500, 9), noise(500), "hutchinson", 4)
    assert torch.allclose(signs.abs(), torch.tensor(0.5)) and abs(float(signs.mean())) < 0.02


@pytest.mark.parametrize(("widen", "batches"), [(None, None), (1.0, 1), (3.0, 4)])
def test_the_noise_of_the_contrast_has_the_datas_moments(recorder, widen, batches):
    said = {k: v for k, v in {"widen": widen, "fit_batches": batches}.items() if v is not None}
    phase = phase_of(NoiseContrastive, bowl(), init_batches=0, **said)
    mixing = torch.tensor([[2.0, 0.0], [1.0, 0.5]])
    data = X @ mixing.T + torch.tensor([5.0, -1.0])
    phase.setup(step := recorder(data))
    assert step.batches == (batches or 20)
    factor = widen or 1.2
    assert torch.allclose(phase.mean, data.mean(0), atol=1e-3)
    assert torch.allclose(phase.root @ phase.root.T, factor**2 * torch.cov(data.T), rtol=1e-2, atol=1e-2)
    normal = torch.distributions.MultivariateNormal(phase.mean, scale_tril=phase.root)
    assert torch.allclose(phase.noise_log_prob(data[:50]), normal.log_prob(data[:50]), atol=1e-4)


@pytest.mark.parametrize("ratio", [1, 3])
def test_the_contrast_is_a_logistic_regression(recorder, ratio):
    phase = phase_of(NoiseContrastive, bowl(a=1.0), ratio=ratio, init_batches=0)
    phase.mean, phase.root = torch.zeros(2), torch.eye(2)
    shift = 0.8  # log p - log q is this number everywhere
    phase.model.log_normalizer.data.fill_(math.log(2 * math.pi) - shift)
    phase.step(step := recorder(X))
    odds = shift - math.log(ratio)
    want = math.log1p(math.exp(-odds)) + ratio * math.log1p(math.exp(odds))
    assert step.losses["model"] == [pytest.approx(want, rel=1e-4)]
    assert step.logged["accuracy"] == 0.5, "all are taken for one of the two"


# --- networks ----------------------------------------------------------------------------------------


def test_the_inputs_are_divided_by_their_scale():
    torch.manual_seed(0)
    one, half = MLPEnergy({"hidden": [8]}), MLPEnergy({"hidden": [8], "scale": 0.5})
    half.load_state_dict(one.state_dict())
    assert torch.allclose(half.energy(X[:9]), one.energy(2 * X[:9]))


def test_frequencies_are_powers_of_two():
    net = MLPEnergy({"hidden": [], "frequencies": 2})
    x = X[:9]
    features = torch.cat([x, x.sin(), (2 * x).sin(), x.cos(), (2 * x).cos()], 1)
    assert torch.allclose(net.energy(x), net.net[-1](features)[:, 0])


@pytest.mark.parametrize(("shape", "multipliers", "size"), [((1, 32, 32), (2, 2, 2), 16), ((3, 8, 16), (2, 4), 8)])
def test_convolutions_halve_and_multiply(shape, multipliers, size):
    net = ConvEnergy({"event_shape": shape, "channels": 4, "multipliers": multipliers})
    assert net.linear.in_features == multipliers[-1] * 4 * size
    widths = [m.out_channels for m in net.convs if isinstance(m, nn.Conv2d)]
    assert widths == [4, *(4 * m for m in multipliers)] and net.energy(torch.zeros(3, *shape)).shape == (3,)


def resnet(**config):
    torch.manual_seed(0)
    net = ResNetEnergy({"event_shape": [3, 8, 8], "channels": 4, "layout": "1d 2", **config}).eval()
    nn.init.normal_(net.linear.weight)
    return net


@torch.no_grad()
def test_residual_networks_see_the_range_they_are_told():
    x = StreamNoise(0, 5).uniform(3, 8, 8)
    plain = resnet(data_range=[0, 1])
    for have, want in (((-1, 1), (0, 1)), ((0, 255), (0, 1)), ((0, 1), (-3, 5))):
        net = resnet(data_range=have, input_range=want)
        given = have[0] + (have[1] - have[0]) * x
        seen = want[0] + (want[1] - want[0]) * x
        assert torch.allclose(net.energy(given), plain.energy(seen), rtol=1e-3, atol=1e-3), (have, want)
    assert torch.allclose(resnet().energy(2 * x - 1), plain.energy(x), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_pooling_scale_shrinking_and_stems():
    x = StreamNoise(0, 5).uniform(3, 8, 8)
    net, mean, steep = resnet(), resnet(pooling="mean"), resnet(scale=-2.5)
    bias = net.linear.bias
    assert torch.allclose(net.energy(x) - bias, 16 * (mean.energy(x) - bias), rtol=1e-4)
    assert torch.allclose(steep.energy(x), -2.5 * net.energy(x))
    small = torch.nn.functional.avg_pool2d(x, 2)
    assert torch.allclose(resnet(shrink=2).energy(x), resnet(event_shape=[3, 4, 4]).energy(small))
    for stride, kernel in ((1, 3), (2, 4), (4, 8)):
        stem = resnet(stem_stride=stride).conv1
        assert stem.kernel_size == (kernel, kernel) and stem(x).shape[-1] == 8 // stride
    assert any(isinstance(m, WNConv2d) for m in net.modules())
    assert not any(isinstance(m, WNConv2d) for m in resnet(weight_norm=False).modules())


def test_layouts_are_read():
    assert read_layout("1d 12 3d") == [(1, True), (12, False), (3, True)]
    assert len(read_layout("celeba64")) == 8 and read_layout("small")[2] == (1, False)


@torch.no_grad()
def test_data_set_the_norms():
    layer = WNConv2d(3, 4, 3, padding=1)
    x = 3 * StreamNoise(0, 200).normal(3, 6, 6) + 1
    with data_dependent_init(layer):
        layer(x)
    out = layer(x)
    assert torch.allclose(out.mean((0, 2, 3)), torch.zeros(4), atol=1e-4)
    assert torch.allclose(out.std((0, 2, 3)), torch.full((4,), 0.2), rtol=1e-3)


# --- dynamics as a generator -------------------------------------------------------------------------


def ode(a=2.0, **config):
    energy = Bowl()
    energy.a.data.fill_(a)
    return ODEFlow({"time": 0.5, **config}, energy=energy)


@pytest.mark.parametrize(("solver", "steps"), [("euler", 3), ("rk4", 2), ("dopri5", 1)])
def test_training_solves_as_it_is_told(monkeypatch, recorder, solver, steps):
    for kind in (Contrastive, FlowLikelihood):
        model, seen = ode(), []
        integrate = model._integrate
        monkeypatch.setattr(
            model, "_integrate", lambda s, y, o, *b, seen=seen, f=integrate, **k: seen.append(o) or f(s, y, o, *b, **k)
        )
        phase_of(kind, model, solver=solver, steps=steps, tolerance=1e-3).step(recorder(X))
        assert [(o.solver, o.steps, o.tolerance) for o in seen] == [(solver, steps, 1e-3)]
        seen.clear()
        phase_of(kind, model).step(recorder(X))
        assert [(o.solver, o.steps, o.tolerance) for o in seen] == [("rk4", 20, 1e-5)], "as it samples"


def test_the_likelihood_is_that_of_the_shrunk_gaussian(recorder):
    shrink = math.exp(-2.0 * 0.5)
    for said in ({}, {"trace": "hutchinson", "probes": 3}, {"trace": "exact"}):
        phase_of(FlowLikelihood, ode(start_scale=1.5), **said).step(step := recorder(X))
        normal = torch.distributions.Normal(0, 1.5 * shrink)
        want = -float(normal.log_prob(X).sum(1).mean())
        assert step.losses["model"] == [pytest.approx(want, rel=1e-3)] and step.logged["nll"] == pytest.approx(
            want, rel=1e-3
        )


@pytest.mark.parametrize("weight", [0.0, 0.5, 2.0])
def test_the_generators_loss_has_its_weight(recorder, weight):
    phase_of(Contrastive, ode(), generator_weight=weight).step(step := recorder(X))
    end = math.exp(-1.0) * ode().start(StreamNoise(1, N, scope="step0"))
    data, samples = X.square().sum(1).mean(), end.square().sum(1).mean()
    assert step.losses["model"] == [pytest.approx(float(data - samples + weight * samples), rel=0.01)]


def test_dynamics_run_for_their_time_and_from_their_scale():
    for said, factor in (({}, math.exp(-1)), ({"time": 1.0}, math.exp(-2)), ({"start_scale": 3.0}, 3 * math.exp(-1))):
        x = ode(**said).sample(noise())
        assert torch.allclose(x, factor * noise().named(ode().noise_shapes)["x"], atol=1e-4)
    assert len(list(ode().trajectory(noise(2), steps=4))) == 5


def test_curvature_of_a_critic_is_a_sum_over_its_vectors():
    vectors = torch.stack([torch.tensor([1.0, 0.0]), torch.tensor([2.0, 2.0])])[:, None].expand(-1, 3, -1)
    gradient, curvature = ascent(ode(a=3.0).parts["energy"], X[:3], vectors)
    assert torch.allclose(gradient, -3 * X[:3]) and torch.allclose(curvature, torch.full((3,), -3.0 * (1 + 8)))
