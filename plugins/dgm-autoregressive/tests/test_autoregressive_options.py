"""What each option of the autoregressive models does, where the right value is known."""

from __future__ import annotations

import math

import pytest
import torch
from dgm_autoregressive.binary import BinaryImages
from dgm_autoregressive.gated import GatedLayer, GatedNet, gate
from dgm_autoregressive.heads import LogisticMixture, Softmax
from dgm_autoregressive.levels import Levels
from dgm_autoregressive.made import MADE, MaskedNet, degrees_of, orders_of
from dgm_autoregressive.pixelcnn import PixelCNN
from dgm_autoregressive.quantum import metrics
from dgm_autoregressive.quantum.ising import bonds, ground_state
from dgm_autoregressive.quantum.tfim import MOST_COUNTED, tfim
from dgm_autoregressive.rnn import RNN
from dgm_autoregressive.training import OrderAgnostic
from torch import nn

import dgmcore
from dgmcore.noise import IndexedNoise


@pytest.mark.parametrize("name", ["made", "pixelcnn", "rnn"])
def test_defaults_are_those_of_the_page(documented, name):
    documented(name)


def seen_by(model, shape, place):
    """Which values the distribution of one depends on, bool `(D,)`."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.5 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    levels, size = model.data_levels, math.prod(shape)
    low, high = model.data_range
    base = torch.randint(levels, (size,), generator=generator)
    found = torch.zeros(size, dtype=torch.bool)
    for other in range(size):
        if other == place:
            continue
        changed = base.repeat(levels, 1)
        changed[:, other] = torch.arange(levels)
        x = low + (high - low) * changed.to(model.dtype) / (levels - 1)
        found[other] = bool(model.log_conditionals(x.view(-1, *shape))[:, place].std() > 1e-9)
    return found


@pytest.mark.parametrize(
    ("first", "reach", "layers", "left", "up"), [(1, 1, 1, 2, 2), (3, 1, 1, 4, 4), (1, 2, 2, 5, 4), (2, 1, 2, 4, 4)]
)
def test_convolutions_reach_as_far_as_they_are_asked(first, reach, layers, left, up):
    config = {"event_shape": [1, 9, 9], "levels": 3, "channels": 4, "hidden": 4, "head": "softmax"}
    model = PixelCNN({**config, "first": first, "reach": reach, "layers": layers}).double().eval()
    seen = seen_by(model, (1, 9, 9), 8 * 9 + 8).view(9, 9)
    assert int(seen[8].sum()) == min(8, first + layers * reach), "of its own row"
    assert not seen[8, : 8 - left].any() if first + layers * reach == left else True
    rows = int(seen.any(1).sum())
    assert rows - 1 == min(8, first + layers * reach)


def test_positions_are_known_where_asked():
    for asked in (True, False):
        net = PixelCNN({"event_shape": [1, 3, 3], "channels": 4, "hidden": 4, "positions": asked}).network
        assert (net.positions is not None) is asked
    model = PixelCNN({"event_shape": [1, 3, 3], "levels": 2, "channels": 4, "hidden": 4, "components": 1}).eval()
    assert model.network.positions.shape == (2, 4, 3, 3)
    row = PixelCNN({"event_shape": [5], "levels": 2, "channels": 4, "hidden": 4, "components": 1}).eval()
    assert row.network.positions.shape[0] == 1 and row.network.above is None


@pytest.mark.parametrize(("inputs", "channels", "levels"), [("values", 3, 5), ("onehot", 1, 5)])
def test_pixels_are_seen_as_values_or_as_symbols(inputs, channels, levels):
    config = {"event_shape": [channels, 2, 2], "levels": levels, "inputs": inputs, "channels": 4, "hidden": 4}
    model = PixelCNN({**config, "components": 2}).eval()
    assert model.network.left.in_channels == 1 + (levels if inputs == "onehot" else channels)
    index = torch.arange(levels).view(-1, 1, 1, 1).expand(-1, channels, 2, 2)
    seen = model._inputs(index, torch.float32)
    if inputs == "values":
        assert torch.allclose(seen[:, 0, 0, 0], torch.linspace(-1, 1, levels))
    else:
        assert torch.equal(seen[:, :, 0, 0], torch.eye(levels))


@pytest.mark.parametrize(("channels", "components"), [(1, 4), (3, 2)])
def test_heads_give_each_pixel_what_they_need(channels, components):
    head = LogisticMixture(Levels(8, -1.0, 1.0), components, channels)
    shifts = channels * (channels - 1) // 2
    assert head.outputs == components * (1 + 2 * channels + shifts) and head.uniforms == 1 + channels
    assert (Softmax(Levels(8, 0.0, 1.0)).outputs, Softmax.uniforms) == (8, 1)
    config = {"event_shape": [channels, 2, 2], "levels": 8, "components": components, "channels": 4, "hidden": 6}
    net = PixelCNN(config).network
    assert net.head[-1].out_channels == head.outputs and net.head[1].out_channels == 6


def test_gates():
    x = torch.randn(2, 6, 1, 1)
    assert torch.allclose(gate(x), torch.tanh(x[:, :3]) * torch.sigmoid(x[:, 3:]))


def test_a_layer_is_its_formula():
    torch.manual_seed(0)
    layer = GatedLayer(3, 2, True, False).double()
    v, h = torch.randn(2, 2, 3, 5, 6, dtype=torch.float64)
    a = layer.down(nn.functional.pad(v, (2, 2, 2, 0)))
    b = layer.across(nn.functional.pad(h, (2, 0))) + layer.link(a)
    next_v, next_h = layer(v, h)
    assert torch.allclose(next_v, v + layer.down_out(gate(a))) and torch.allclose(next_h, h + layer.out(gate(b)))
    assert GatedLayer(3, 1, True, True).down_out is None and not hasattr(GatedLayer(3, 1, False, True), "down")


@pytest.mark.parametrize("layers", [1, 3])
def test_networks_are_as_deep_as_they_are_asked(layers):
    assert len(PixelCNN({"event_shape": [1, 4, 4], "layers": layers, "channels": 4}).network.layers) == layers
    cell = RNN({"layers": layers, "hidden": 3}).network.cell
    assert (cell.num_layers, cell.hidden_size) == (layers, 3)
    net = GatedNet(
        inputs=1, outputs=2, size=(3, 3), channels=4, layers=layers, reach=1, first=1, hidden=3, positions=False
    )
    assert [layer.down_out is None for layer in net.layers] == [False] * (layers - 1) + [True]


@pytest.mark.parametrize(("cell", "kind"), [("gru", nn.GRU), ("lstm", nn.LSTM)])
def test_the_cell_is_the_one_that_is_named(cell, kind):
    model = RNN({"cell": cell, "hidden": 5, "layers": 2, "length": 3, "symbols": 6, "range": [-1, 1]})
    assert type(model.network.cell) is kind
    x = model.sample(IndexedNoise(0, 200))
    assert x.shape == (200, 3)
    assert set((2.5 * (x + 1)).round(decimals=4).unique().tolist()) <= {0.0, 1.0, 2.0, 3.0, 4.0, 5.0}
    assert (model.data_levels, model.data_range) == (6, (-1.0, 1.0))


@pytest.mark.parametrize(("orders", "seed"), [(1, 0), (3, 0), (3, 5)])
def test_there_are_so_many_orders_and_a_mixture_is_their_mean(orders, seed):
    model = MADE({"event_shape": [4], "hidden": [8], "orders": orders, "seed": seed}).double().eval()
    assert torch.equal(model.orders, orders_of(4, orders, seed)) and model.orders[0].tolist() == [0, 1, 2, 3]
    x = torch.cartesian_prod(*[torch.arange(2.0, dtype=torch.float64)] * 4)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(1), dtype=p.dtype))
        each = torch.stack([model.log_conditionals(x, chain).sum(1) for chain in range(orders)])
        assert torch.allclose(model.log_prob(x), each.logsumexp(0) - math.log(orders))
        assert torch.allclose(each.exp().sum(1), torch.ones(orders, dtype=torch.float64))


def test_orders_take_turns_in_training(recorder):
    model = MADE({"event_shape": [4], "hidden": [8], "orders": 3})
    phase, x = OrderAgnostic(model, None), torch.ones(5, 4)
    for index in range(5):
        phase.step(step := recorder(x, index=index))
        want = -model.log_conditionals(x, index % 3).sum(1).mean()
        assert step.losses["model"] == [pytest.approx(float(want.detach()))]
    assert torch.allclose(phase.validate(x, None), -model.log_prob(x))


def test_direct_weights_are_there_where_asked_and_start_at_nothing():
    for asked in (True, False):
        net = MaskedNet(6, (5,), asked)
        assert (net.direct is not None) is asked
    assert not MaskedNet(6, (5,), True).direct.weight.any()
    assert degrees_of(6, 4).tolist() == [1, 1, 2, 2, 3, 3] and degrees_of(2, 1).tolist() == [1, 1]


@pytest.mark.parametrize(("low", "high", "count"), [(-1.0, 1.0, 256), (0.0, 3.0, 4), (5.0, 9.0, 2)])
def test_levels_stand_at_equal_distances(low, high, count):
    levels = Levels.checked(count, (low, high), "x")
    values = levels.values(torch.arange(count), torch.float64)
    assert torch.allclose(values, torch.linspace(low, high, count, dtype=torch.float64))
    assert torch.equal(levels.index(values), torch.arange(count))
    assert levels.step == pytest.approx((high - low) / (count - 1)) and levels.middle == (high + low) / 2
    assert torch.equal(levels.index(values + 9e-4 * levels.step), torch.arange(count))
    with pytest.raises(dgmcore.errors.DataError):
        levels.index(values[:1, None] + 0.3 * levels.step)


def test_what_is_to_come_has_the_middle_of_the_range():
    model = RNN({"length": 3, "symbols": 3, "range": [2, 4], "hidden": 3})
    first, *_, last = model.trajectory(IndexedNoise(0, 2))
    assert (first == 3.0).all() and torch.equal(last, model.sample(IndexedNoise(0, 2)))


def test_binary_images_have_two_levels():
    assert (BinaryImages.levels, BinaryImages.range) == (2, (0.0, 1.0))


# --- measurements ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 5])
def test_rings_have_one_bond_more(n):
    assert bonds(n, False) == [(i, i + 1) for i in range(n - 1)]
    assert bonds(n, True) == bonds(n, False) + ([(n - 1, 0)] if n > 2 else [])
    assert ground_state(n, 1.0, periodic=True)[0] <= ground_state(n, 1.0)[0] + 1e-9


class Of:
    """A run of a model of some data."""

    def __init__(self, data, name="tfim"):
        self.entry = type("Entry", (), {"data": type("Data", (), {"dataset": name, "range": (0.0, 3.0)})})
        self.data, self.against = data, "tfim:test"

    def dataset(self, against):
        return type("View", (), {"base": self.data})()


def test_outcomes_are_counted_up_to_eight_sites_and_of_measurements_only():
    assert MOST_COUNTED == 8
    for n, countable in ((2, True), (8, True), (9, False)):
        assert metrics._countable(Of(tfim("test", n=n))) is countable
    assert metrics._countable(Of(tfim("test", n=2), "moons")) is False
    assert metrics.measured(Of(None, "moons")) is None


def test_symbols_are_the_outcomes_in_any_range():
    run = Of(None)
    x = torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    assert metrics.symbols(run, x).tolist() == [[0, 1, 2, 3]]
    run.entry.data.range = (-1.0, 1.0)
    assert metrics.symbols(run, 2 * x / 3 - 1).tolist() == [[0, 1, 2, 3]]
    run.entry.data.range = None
    assert metrics.symbols(run, x).tolist() == [[0, 1, 2, 3]]
