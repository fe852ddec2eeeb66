"""The energy networks: sizes and names as published, weight normalisation, initialisation."""

from __future__ import annotations

import pytest
import torch
from dgm_ebms.convert import vaebm_energy
from dgm_ebms.networks import LAYOUTS, ConvEnergy, MLPEnergy, ResNetEnergy
from dgm_ebms.weightnorm import WNConv2d
from torch.nn import functional as F

from dgmcore.errors import RegistryError, WeightsError

SMALL = {"event_shape": [3, 16, 16], "channels": 8, "layout": "1d 1 2d"}


@pytest.mark.parametrize(
    ("layout", "channels", "size", "weights"),
    [  # the published configurations (thesis, Table 4.9)
        ("cifar10", 128, 32, 5_137_921),
        ("celeba64", 64, 64, 4_337_537),
        ("lsun64", 64, 64, 5_813_633),
        ("celebahq256", 64, 256, 14_207_105),
    ],
)
def test_published_sizes(layout, channels, size, weights):
    net = ResNetEnergy({"event_shape": [3, size, size], "channels": channels, "layout": layout})
    assert net.num_parameters() == weights


def test_names_and_shapes_are_the_published_checkpoints():
    net = ResNetEnergy({"event_shape": [1, 32, 32], "channels": 8, "layout": "mnist"})
    wn = {"weight", "bias", "log_weight_norm"}
    expected = {f"conv1.{k}" for k in wn} | {"linear.weight", "linear.bias"}
    for i, skip in enumerate((True, False, True, False)):
        expected |= {f"blocks.{i}.conv{j}.{k}" for j in (1, 2) for k in wn}
        expected |= {f"blocks.{i}.skip.0.{k}" for k in wn - {"bias"}} if skip else set()
    state = net.state_dict()
    assert set(state) == expected
    assert state["conv1.log_weight_norm"].shape == (8, 1, 1, 1)
    assert state["blocks.2.conv1.weight"].shape == (16, 8, 3, 3)


def test_the_network_is_its_formula():
    net = ResNetEnergy({**SMALL, "layout": "2d"}).double()
    x = torch.rand(2, 3, 16, 16, dtype=torch.float64) * 2 - 1

    def conv(layer, x, padding):
        w = layer.weight / (layer.weight.square().sum((1, 2, 3), keepdim=True).sqrt() + 1e-5)
        return F.conv2d(x, layer.log_weight_norm.exp() * w, layer.bias, padding=padding)

    def act(x):
        return x * torch.sigmoid(x) / 1.1

    h, block = act(conv(net.conv1, (x + 1) / 2, 1)), net.blocks[0]
    y = conv(block.conv2, act(conv(block.conv1, h, 1)), 1) + conv(block.skip[0], h, 0)
    h = act(F.avg_pool2d(y, 2))
    energy = net.linear(h.sum((2, 3))).squeeze(1)
    assert (net.score(x) + energy).abs().max() < 1e-10


def test_normalised_weights_are_kept_until_a_parameter_changes():
    layer = WNConv2d(3, 4, 3).eval()
    with torch.no_grad():
        first = layer.normalized_weight()
        assert layer.normalized_weight() is first
        layer.log_weight_norm.add_(1.0)
        assert torch.allclose(layer.normalized_weight(), first * torch.e)
    assert layer.normalized_weight().requires_grad
    assert torch.allclose(layer.normalized_weight(), first * torch.e)


def test_a_fused_optimizer_changes_the_normalised_weights_too():
    layer = WNConv2d(3, 4, 3).eval()
    with torch.no_grad():
        before = layer.normalized_weight()
    layer.train()
    adam = torch.optim.Adam(layer.parameters(), 0.1, fused=True)
    for p in layer.parameters():
        p.grad = torch.ones_like(p)
    adam.step()  # counts no new version of what it changes
    with torch.no_grad():
        trained = layer.normalized_weight()
        assert not torch.allclose(trained, before, atol=1e-3)
        assert torch.equal(layer.eval().normalized_weight(), trained)


def test_initialisation_from_data_makes_outputs_regular():
    torch.manual_seed(0)
    net = ResNetEnergy(SMALL)
    x = torch.rand(64, 3, 16, 16) * 2 - 1
    seen = {}
    for name, m in net.named_modules():
        if isinstance(m, WNConv2d):
            m.register_forward_hook(lambda m, i, o, name=name: seen.__setitem__(name, (m.bias is not None, o.detach())))
    net.initialize(x)
    net.score(x)
    assert len(seen) == 9
    for name, (biased, out) in seen.items():
        assert torch.allclose(out.std((0, 2, 3)), torch.tensor(0.2), atol=1e-3), name
        if biased:
            assert out.mean((0, 2, 3)).abs().max() < 1e-4, name


@pytest.mark.parametrize(
    "net",
    [
        lambda: MLPEnergy({"event_shape": [2], "hidden": [16], "frequencies": 3}),
        lambda: ConvEnergy({"channels": 4}),
        lambda: ConvEnergy({"event_shape": [3, 64, 64], "channels": 4, "multipliers": [2, 4, 8, 16]}),
        lambda: ResNetEnergy({**SMALL, "stem_stride": 2, "pooling": "mean"}),
        lambda: ResNetEnergy({**SMALL, "stem_stride": 4, "weight_norm": False}),
        lambda: ResNetEnergy({**SMALL, "shrink": 2}),
    ],
)
def test_scores_are_numbers_with_gradients_to_data_and_weights(net):
    net = net()
    x = torch.randn(3, *net.event_shape, requires_grad=True)
    score = net.score(x)
    assert score.shape == (3,)
    score.sum().backward()
    assert x.grad.abs().sum() > 0
    for name, p in net.named_parameters():
        assert p.grad is not None, name


def test_an_energy_of_smaller_pictures_does_not_see_what_averages_out():
    net = ResNetEnergy({**SMALL, "shrink": 2}).double()
    x = torch.randn(3, *net.event_shape, dtype=torch.float64)
    board = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(net.event_shape[1] // 2, net.event_shape[2] // 2)
    assert (net.score(x + board) - net.score(x)).abs().max() < 1e-12
    assert (net.score(x + 1) - net.score(x)).abs().min() > 1e-6
    for shrink in (0, 3):
        with pytest.raises(RegistryError, match=r"shrink: 3 does not divide|shrink: expected `int` >= 1"):
            ResNetEnergy({**SMALL, "shrink": shrink})


@pytest.mark.parametrize("layout", ["", "1x", "0d", "d1", "celeba"])
def test_a_wrong_layout_is_named(layout):
    with pytest.raises(RegistryError) as caught:
        ResNetEnergy({**SMALL, "layout": layout})
    assert all(name in caught.value.hint for name in LAYOUTS)


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_published_checkpoints_convert(layout, tmp_path):
    shape = [1 if layout == "mnist" else 3, 64, 64]
    net = ResNetEnergy({"event_shape": shape, "channels": 4, "layout": layout})
    torch.save({f"module.{k}": v for k, v in net.state_dict().items()}, tmp_path / "ebm.pt")
    made = vaebm_energy([tmp_path / "ebm.pt"], {"size": 64})
    twin = ResNetEnergy(made.config)
    twin.load_state_dict(made.state)
    x = torch.rand(2, *shape)
    assert torch.equal(twin.score(x), net.score(x))


def test_another_checkpoint_is_refused(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pt")
    with pytest.raises(WeightsError):
        vaebm_energy([tmp_path / "a.pt"], {})
