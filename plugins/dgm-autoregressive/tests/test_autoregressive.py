"""What every chain must do: probabilities that sum to one, samples that follow them in any batch, no look ahead."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from dgm_autoregressive.gated import RowByRow
from dgm_autoregressive.heads import LogisticMixture, Softmax
from dgm_autoregressive.levels import Levels
from dgm_autoregressive.made import MADE, degrees_of, orders_of
from dgm_autoregressive.pixelcnn import PixelCNN
from dgm_autoregressive.rnn import RNN
from dgm_train.objectives import MaximumLikelihood
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import dgmcore
from dgmcore import plugins
from dgmcore.errors import DataError, DgmError, RegistryError
from dgmcore.interfaces import Likelihood
from dgmcore.noise import IndexedNoise
from dgmcore.testing import parametrize_with_checks

KINDS = {"made": MADE, "pixelcnn": PixelCNN, "rnn": RNN}
TOYS = {  # whose data can all be counted
    "made": (MADE, {"event_shape": [1, 3, 3], "hidden": [20, 15], "orders": 3}),
    "made-deep": (MADE, {"event_shape": [1, 3, 3], "hidden": [9, 5, 7], "direct": False, "range": [-1, 1]}),
    "pixelcnn": (
        PixelCNN,
        {"event_shape": [1, 3, 3], "levels": 2, "components": 3, "channels": 6, "layers": 2, "hidden": 8, "first": 2},
    ),
    "pixelcnn-softmax": (
        PixelCNN,
        {"event_shape": [1, 3, 3], "levels": 2, "head": "softmax", "channels": 6, "layers": 3, "reach": 2, "hidden": 8},
    ),
    "pixelcnn-colours": (
        PixelCNN,
        {"event_shape": [3, 1, 2], "levels": 3, "components": 2, "channels": 6, "layers": 2, "hidden": 8},
    ),
    "pixelcnn-sequence": (
        PixelCNN,
        {
            "event_shape": [4], "levels": 4, "range": [0, 3], "head": "softmax", "inputs": "onehot",
            "channels": 6, "layers": 2, "hidden": 8,
        },
    ),
    "rnn-gru": (RNN, {"length": 4, "hidden": 7}),
    "rnn-lstm": (RNN, {"length": 4, "hidden": 7, "cell": "lstm", "layers": 2}),
}  # fmt: skip


def make(name, seed=0, spread=0.3):
    """Builds a toy whose weights are far from their initial values, in float64."""
    kind, config = TOYS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind(config).double()
        for p in model.parameters():
            p.data.add_(torch.randn_like(p), alpha=spread)
    return model.eval()


def everything(model):
    """All data that there are."""
    size = int(np.prod(model.event_shape))
    index = torch.tensor(list(itertools.product(range(model.levels.count), repeat=size)))
    return model.levels.values(index, torch.float64).view(-1, *model.event_shape)


@parametrize_with_checks(["made", "pixelcnn", "rnn"])
def test_conformance(check):
    check()


@pytest.mark.parametrize("name", KINDS)
def test_every_architecture_is_registered(name):
    assert plugins.architectures()[name].family == "autoregressive"
    assert plugins.architecture(name) is KINDS[name]
    wanted = {"generator", "trajectory", "density", "autoregressive"}
    assert wanted == set(KINDS[name](KINDS[name].example).capabilities)
    assert KINDS[name].likelihood is Likelihood.EXACT and KINDS[name].base_measure == "counting"


@pytest.mark.parametrize("name", TOYS)
def test_probabilities_sum_to_one_also_in_single_precision(name):
    model = make(name)
    x = everything(model)
    with torch.no_grad():
        assert float(model.log_prob(x).exp().sum()) == pytest.approx(1, abs=1e-12)
        assert float(model.float().log_prob(x.float()).double().exp().sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", TOYS)
def test_a_model_in_half_precision_is_one_too(name, dtype):
    model = make(name).to(dtype)
    with torch.no_grad():
        total = model.log_prob(everything(model).to(dtype)).double().exp().sum()
        x = model.sample(IndexedNoise(0, 8, dtype=dtype))
        assert model.log_prob(x).isfinite().all()
    assert float(total) == pytest.approx(1, abs=1e-5)
    assert x.dtype == dtype


def test_256_levels_survive_half_precision():
    levels = Levels(256, -1.0, 1.0)
    index = torch.arange(256)
    for dtype in (torch.bfloat16, torch.float16, torch.float32, torch.float64):
        assert torch.equal(levels.index(levels.values(index, dtype)[:, None])[:, 0], index), dtype


@pytest.mark.parametrize("name", TOYS)
def test_samples_follow_the_probabilities(name):
    model, n = make(name), 20_000
    x = everything(model)
    with torch.no_grad():
        expected = n * model.log_prob(x).exp()
        drawn = model.sample(IndexedNoise(1, n, dtype=torch.float64))
    base = model.levels.count ** torch.arange(x[0].numel() - 1, -1, -1)
    counts = torch.bincount((model.levels.index(drawn).flatten(1) * base).sum(1), minlength=len(x)).double()
    common = expected >= 5
    seen = torch.cat([counts[common], counts[~common].sum()[None]])
    awaited = torch.cat([expected[common], expected[~common].sum()[None]])
    some = awaited > 0
    p = stats.chisquare(seen[some], awaited[some] * (seen[some].sum() / awaited[some].sum())).pvalue
    assert p > 1e-3, f"{int(common.sum())} outcomes, p = {p:.2g}"


@settings(max_examples=25, deadline=None)
@given(name=st.sampled_from(sorted(TOYS)), seed=st.integers(0, 99), data=st.data())
def test_a_value_changes_no_distribution_before_it(name, seed, data):
    model = make(name, seed)
    x = everything(model)[data.draw(st.integers(0, 80))][None]
    for chain, order in enumerate(model.orders):
        t = data.draw(st.integers(0, len(order) - 1))
        others = x.repeat(model.levels.count, *[1] * len(model.event_shape))
        others.flatten(1)[:, order[t]] = model.levels.values(torch.arange(model.levels.count), torch.float64)
        with torch.no_grad():
            rows = model.log_conditionals(others, chain)
        assert torch.allclose(rows[:, order[:t]], rows[:1, order[:t]], atol=1e-12)
        assert float(rows[:, order[t]].exp().sum()) == pytest.approx(1, abs=1e-9), "its own values are all there are"


@pytest.mark.parametrize("name", TOYS)
def test_samples_are_the_same_bits_in_any_batch(name):
    model = make(name).float()
    whole = model.sample(IndexedNoise(5, 300))
    for size, start in itertools.product((1, 7, 150), (0, 40, 149)):
        assert torch.equal(model.sample(IndexedNoise(5, size, start)), whole[start : start + size]), (size, start)


@pytest.mark.parametrize("name", TOYS)
def test_a_trajectory_shows_values_as_they_come(name):
    model = make(name).float()
    states = torch.stack(list(model.trajectory(IndexedNoise(2, 6)))).flatten(2)
    assert (states[0] == model.levels.middle).all()
    assert torch.equal(states[-1].view(6, *model.event_shape), model.sample(IndexedNoise(2, 6)))
    pixels = model.orders.shape[1] // (3 if name == "pixelcnn-colours" else 1)
    assert len(states) == pixels + 1
    for before, after in itertools.pairwise(states):
        known = (before == states[-1]) & (before != model.levels.middle)
        assert torch.equal(after[known], before[known]), "what has come stays"


@pytest.mark.parametrize("name", TOYS)
def test_all_parameters_learn(name):
    model = make(name).train()
    x = model.sample(IndexedNoise(0, 64, dtype=torch.float64))
    sum(-model.log_conditionals(x, m).sum() for m in range(len(model.orders))).backward()
    for key, p in model.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all() and p.grad.abs().sum() > 0, key


# --- what is refused ----------------------------------------------------------------------------------


def two_lines(error):
    return "\n" not in error.value.what and error.value.hint and "\n" not in error.value.hint


@pytest.mark.parametrize(
    "name, x, message",
    [
        (
            "made",
            torch.full((2, 1, 3, 3), 0.4),
            r"datum 0 has the value 0.4, which is none of the 2 levels from 0 to 1",
        ),
        ("made", torch.tensor([0.0, 2.0]).view(2, 1, 1, 1).expand(2, 1, 3, 3), "datum 1 has the value 2"),
        ("pixelcnn-colours", torch.full((1, 3, 1, 2), 0.5), "none of the 3 levels from -1 to 1"),
        ("pixelcnn-sequence", torch.tensor([[0.0, 1.0, 4.0, 2.0]]), "datum 0 has the value 4"),
        ("rnn-gru", torch.tensor([[0.0, 1.0, 2.0, 3.0], [0.0, -1.0, 2.0, 3.0]]), "datum 1 has the value -1"),
        ("rnn-gru", torch.full((1, 4), float("nan")), "datum 0 has the value nan"),
    ],
)
def test_values_that_are_no_levels_are_named(name, x, message):
    with pytest.raises(DataError, match=message) as error:
        make(name).float().log_prob(x)
    assert two_lines(error)


@pytest.mark.parametrize(
    "kind, config, message",
    [
        (PixelCNN, {"levels": 1}, "levels: expected `int` >= 2"),
        (PixelCNN, {"range": [1, -1]}, "range"),
        (PixelCNN, {"event_shape": [3, 8, 8], "head": "softmax"}, "softmax"),
        (PixelCNN, {"event_shape": [3, 8, 8], "inputs": "onehot"}, "one-hot"),
        (PixelCNN, {"event_shape": [8, 8]}, r"\[8, 8\]"),
        (PixelCNN, {"layers": 0}, "layers"),
        (MADE, {"hidden": [0]}, "hidden"),
        (MADE, {"orders": 0}, "orders"),
        (RNN, {"symbols": 0}, "symbols: expected `int` >= 2"),
        (RNN, {"cell": "gruu"}, "cell"),
    ],
)
def test_impossible_configs_are_refused(kind, config, message):
    with pytest.raises(RegistryError, match=message) as error:
        kind(config)
    assert two_lines(error)


def test_grey_images_are_refused_by_a_binary_model(tmp_path, monkeypatch):
    monkeypatch.setenv("DGM_DATA", str(tmp_path))
    grey = np.arange(2 * 784, dtype=np.uint8).reshape(2, 28, 28)
    np.savez(tmp_path / "mnist.npz", x_train=grey, y_train=[0, 1], x_test=grey, y_test=[0, 1])
    folder = tmp_path / "made"
    data = {"dataset": "mnist-binary", "event_shape": [1, 28, 28], "range": [0, 1], "levels": 2}
    MADE({"hidden": [4]}).save(folder, name="made", architecture="made", license="none", data=data)
    with pytest.raises(DataError, match="none of the 2 levels") as error:
        dgmcore.score(str(folder), "mnist:test")
    assert "mnist-binary" in error.value.hint
    scores = dgmcore.score(str(folder), "mnist-binary:test")
    assert scores.kind == "exact" and not scores.dequantized
    assert scores.bits_per_dim == pytest.approx(-scores.mean / (784 * np.log(2)))
    assert dgmcore.sample(str(folder), 3).unique().tolist() == [0.0, 1.0]


# --- parts --------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(
    levels=st.sampled_from([2, 3, 17, 256]),
    channels=st.integers(1, 3),
    components=st.integers(1, 3),
    scale=st.sampled_from([0.1, 3.0, 30.0]),
    seed=st.integers(0, 99),
)
def test_mixtures_of_logistics_sum_to_one_and_stay_finite(levels, channels, components, scale, seed):
    head = LogisticMixture(Levels(levels, -1.0, 1.0), components, channels)
    params = scale * torch.randn(1, head.outputs, generator=torch.Generator().manual_seed(seed))
    params.requires_grad_()
    index = torch.arange(levels)[:, None].expand(levels, channels).clone()
    index[:, :-1] = index[seed % levels, :-1].clone()
    exact = head.log_prob(params.detach().double().expand(levels, -1), index)
    assert float(exact[:, -1].exp().sum()) == pytest.approx(1, abs=1e-9)
    log_prob = head.log_prob(params.expand(levels, -1), index)
    assert log_prob.isfinite().all()
    (gradient,) = torch.autograd.grad(log_prob.sum(), params)
    assert gradient.isfinite().all()


def test_a_mixture_of_logistics_is_what_its_definition_says():
    head = LogisticMixture(Levels(256, 0.0, 1.0), 2)
    logits, means, log_scales = torch.tensor([0.3, -0.4]), torch.tensor([-0.2, 0.9]), torch.tensor([-1.0, -3.0])
    params = torch.cat([logits, means, log_scales]).double()[None]
    index = torch.arange(256)[:, None]
    edges = torch.arange(255).double() * (2 / 255) - 1 + 1 / 255
    below = torch.sigmoid((edges[:, None] - means) / log_scales.exp())
    cumulative = torch.cat([torch.zeros(1, 2), below, torch.ones(1, 2)])
    expected = (cumulative.diff(dim=0) * logits.softmax(0)).sum(1)
    assert torch.allclose(head.log_prob(params.expand(256, -1), index)[:, 0].exp(), expected, atol=1e-12)


def test_a_softmax_draws_by_quantiles():
    head = Softmax(Levels(4, 0.0, 3.0))
    params = torch.tensor([0.1, 0.2, 0.3, 0.4]).double().log().expand(5, 4)
    u = torch.tensor([0.0, 0.0999, 0.1001, 0.5999, 0.9999]).double()[:, None]
    assert head.draw(params, u)[:, 0].tolist() == [0, 0, 1, 2, 3]


@pytest.mark.parametrize("name", [n for n in TOYS if n.startswith("pixelcnn")])
def test_the_net_run_pixel_by_pixel_is_the_net(name):
    model = make(name).float()
    x = model.sample(IndexedNoise(0, 3))
    index = model.levels.index(x).view(-1, *model.image_shape)
    channels, height, width = model.image_shape
    net, seen = RowByRow(model.network, 3), None
    with torch.no_grad():
        full = model.network(model._inputs(index, torch.float32)).flatten(2)
        for t, (row, column) in enumerate(itertools.product(range(height), range(width))):
            assert torch.allclose(net.step(seen), full[:, :, t], atol=1e-5)
            seen = model._inputs(index[:, :, row, column].view(3, channels, 1, 1), torch.float32).flatten(1)


def test_masks_are_those_of_the_paper():
    model, size = make("made"), 9
    rank = torch.arange(1, size + 1)
    degrees = [degrees_of(20, size), degrees_of(15, size)]
    assert all(int(d.min()) == 1 and int(d.max()) == size - 1 for d in degrees)
    net = model.network(model.orders[1])
    expected = [
        rank[None] <= degrees[0][:, None],
        degrees[0][None] <= degrees[1][:, None],
        degrees[1][None] < rank[:, None],
    ]
    for layer, mask in zip(net.layers, expected, strict=True):
        assert torch.equal(layer.weight != 0, mask)
    assert torch.equal(net.direct.weight != 0, rank[None] < rank[:, None])


def test_what_masks_make_zero_is_left_out_without_a_change():
    model = make("made")
    x = 2 * torch.randint(2, (50, 9), generator=torch.Generator().manual_seed(0)).double() - 1
    net = model.network(model.orders[2])
    with torch.no_grad():
        short = net(x)
    assert torch.allclose(net(x), short, atol=1e-12)


def test_orders_start_with_the_rasters_and_follow_the_seed():
    a, b = orders_of(12, 3, 0), orders_of(12, 3, 1)
    assert torch.equal(a[0], torch.arange(12)) and torch.equal(b[0], a[0])
    assert not torch.equal(a[1], a[2]) and not torch.equal(a[1], b[1])
    assert torch.equal(a, orders_of(12, 3, 0))
    assert all(torch.equal(row.sort().values, torch.arange(12)) for row in torch.cat([a, b]))


def test_a_mixture_of_orders_is_trained_order_by_order():
    model = make("made")
    phase = plugins.import_string(MADE.phases["likelihood"])(model, None)
    x, losses = model.sample(IndexedNoise(0, 8, dtype=torch.float64)), []

    class Step:
        def batch(self):
            return x

        def minimize(self, loss):
            losses.append(loss.item())

    for index in range(4):
        step = Step()
        step.index = index
        phase.step(step)
    expected = [-float(model.log_conditionals(x, m).sum(1).mean()) for m in (0, 1, 2, 0)]
    assert losses == pytest.approx(expected)
    with torch.no_grad():
        assert torch.allclose(phase.validate(x, None), -model.log_prob(x))


@pytest.mark.parametrize("name", ["made", "pixelcnn-sequence", "rnn-gru"])
def test_a_likelihood_is_the_same_in_half_precision_arithmetic(name):
    model = make(name).float()
    x = model.sample(IndexedNoise(0, 32))
    with torch.no_grad():
        exact = model.log_prob(x)
        with torch.autocast("cpu", torch.bfloat16):
            rough = model.log_prob(x)
    assert rough.dtype == torch.float32
    assert torch.allclose(rough, exact, atol=0.2)


def test_plain_maximum_likelihood_serves_the_others():
    for name in ("pixelcnn", "rnn-gru"):
        model = make(name)
        assert plugins.import_string(model.phases["likelihood"]) is MaximumLikelihood


def test_unknown_options_are_refused():
    with pytest.raises(DgmError, match="temperature"):
        make("rnn-gru").sample(IndexedNoise(0, 2), temperature=0.5)


def test_the_two_levels_of_a_made_are_the_ends_of_its_range():
    model = MADE({"event_shape": [6], "hidden": [8], "range": [-3.0, 2.0]}).eval()
    x = model.sample(IndexedNoise(0, 40))
    assert set(x.unique().tolist()) == {-3.0, 2.0} and model.data_range == (-3.0, 2.0)
    assert model.log_prob(x).isfinite().all()
    with pytest.raises(DgmError, match="none of the 2 levels from -3 to 2"):
        model.log_prob(torch.zeros(1, 6))
