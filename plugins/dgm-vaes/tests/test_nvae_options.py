"""What each option of an NVAE and of its training does."""

from __future__ import annotations

import pytest
import torch
from dgm_vaes.distributions import Gaussian
from dgm_vaes.nvae import NVAE
from dgm_vaes.nvae.flows import AutoregressiveCell, FlowPair, causal_mask
from dgm_vaes.nvae.layers import Cell, Conv2d, SqueezeExcite, Style
from dgm_vaes.nvae.readjust import collect_statistics
from dgm_vaes.nvae.structure import Structure
from dgm_vaes.nvae.terms import Terms
from dgm_vaes.nvae.training import HierarchicalELBO, balance
from torch import nn
from torch.func import jacrev

from dgmcore.noise import IndexedNoise

X = IndexedNoise(0, 50, dtype=torch.float64).normal(2)


# --- NVAE --------------------------------------------------------------------------------------------

SMALL = {"event_shape": [1, 8, 8], "channels": 4, "latents": 2, "groups": [2, 1], "scales": 2, "expand": 2}


def small(**config) -> NVAE:
    torch.manual_seed(0)
    return NVAE({**SMALL, "encoder_cells": 1, "decoder_cells": 1, **config}).eval()


class Fixed:
    """A model whose terms are known: four data, two groups."""

    group_scales = [1, 0]

    def modules(self):
        return iter([self.conv, self.norm])

    def __init__(self):
        self.conv, self.norm = nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(2)
        self.conv.weight.data.fill_(-3.0)
        self.norm.weight.data.copy_(torch.tensor([0.5, -7.0]))

    def terms(self, x, noise):
        return Terms(torch.full((4,), -10.0), torch.tensor([[1.0] * 4, [6.0] * 4]))


def loss(recorder, progress, **options):
    HierarchicalELBO(Fixed(), HierarchicalELBO.Options(**options)).step(step := recorder(X[:4], progress=progress))
    assert step.logged["kl"] == 7.0 and step.logged["recon"] == -10.0 and step.logged["elbo"] == -17.0
    assert (step.logged["kl_00"], step.logged["kl_01"]) == (1.0, 6.0)
    return step.losses["model"][0], step.logged["beta"]


def test_the_kl_term_is_warmed_up_from_its_floor(recorder):
    said = {"balance": False, "warmup": 0.5, "constant": 0.1, "floor": 0.05}
    for progress, beta in ((0.0, 0.05), (0.1, 0.05), (0.2, 0.2), (0.35, 0.5), (0.6, 1.0), (0.9, 1.0)):
        assert loss(recorder, progress, **said) == (pytest.approx(10 + 7 * beta), pytest.approx(beta)), progress
    assert loss(recorder, 0.0, warmup=0.0) == (17.0, 1.0)


def test_groups_are_balanced_while_the_kl_term_is_warmed_up(recorder):
    factors = balance(torch.tensor([[1.0], [6.0]]), [1, 0])
    assert float(factors[1]) > float(factors[0])
    want = 10 + 0.5 * float(factors[0] * 1 + factors[1] * 6)
    said = {"warmup": 1.0, "constant": 0.0}
    assert loss(recorder, 0.5, **said)[0] == pytest.approx(want)
    assert loss(recorder, 0.5, balance=False, **said)[0] == pytest.approx(10 + 0.5 * 7)
    assert loss(recorder, 1.0, **said)[0] == pytest.approx(17.0), "not when it is over"


@pytest.mark.parametrize(
    ("progress", "options", "weight"),
    [
        (1.0, {"spectral": 0.5}, 0.5),
        (0.5, {"spectral": 0.5}, 0.5),
        (0.0, {"spectral": 0.1, "spectral_start": 10.0, "floor": 0.0}, 10.0),
        (0.5, {"spectral": 0.1, "spectral_start": 10.0}, 1.0),
        (1.0, {"spectral": 0.1, "spectral_start": 10.0}, 0.1),
        (0.5, {"spectral": 0.0, "spectral_start": 10.0}, 0.0),
    ],
)
def test_norms_are_weighed_and_annealed(recorder, progress, options, weight):
    said = {"warmup": 1.0, "constant": 0.0, "balance": False, **options}
    with_norms, beta = loss(recorder, progress, **said)
    assert with_norms == pytest.approx(10 + 7 * beta + weight * (3 + 7)), "the convolution's norm, the largest scale"


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(("c_in", "c_out"), [(2, 2), (2, 6), (6, 2), (3, 3), (3, 12)])
def test_masks_see_what_comes_before_and_all_of_it(c_in, c_out, strict, depthwise):
    if depthwise and c_in != c_out:
        return
    for mirror in (False, True):
        mask = causal_mask(c_in, c_out, 5, depthwise=depthwise, strict=strict, mirror=mirror)
        assert mask.shape == (c_out, 1 if depthwise else c_in, 5, 5)
        blocks = min(c_in, c_out)
        for out in range(c_out):
            for source in range(mask.shape[1]):
                own = out // (c_out // blocks)  # the block of the output, and of what it sees
                seen = own if depthwise else source // (c_in // blocks)
                for place in range(25):
                    before = place > 12 if mirror else place < 12
                    if place == 12:
                        before = seen < own or (seen == own and not strict)
                    assert bool(mask[out, source, place // 5, place % 5]) == before, (out, source, place)


def test_a_cell_depends_on_every_entry_before():
    torch.manual_seed(0)
    cell = AutoregressiveCell(3, mirror=False).double()
    jacobian = jacrev(cell)(torch.randn(1, 3, 2, 2, dtype=torch.float64)).reshape(12, 12)
    order = torch.arange(12).view(3, 4).T.flatten()
    jacobian = jacobian[order][:, order]
    below = jacobian[torch.ones(12, 12).tril(-1).bool()]
    assert (below != 0).all() and not jacobian.triu(1).any()
    assert cell.expand.out_channels == 18 and AutoregressiveCell(3, False, 2).expand.out_channels == 6
    pair = FlowPair(2)
    assert not torch.equal(pair.first.expand.mask, pair.second.expand.mask)


@pytest.mark.parametrize("scale", [0.0, 0.1, -1.0])
def test_cells_add_their_branch_times_its_scale(scale):
    torch.manual_seed(0)
    cell = Cell(4, 4, 0, 0, Style(scale=scale)).eval()
    x = torch.randn(2, 4, 5, 5)
    assert torch.allclose(cell(x), x + scale * cell.se(cell.ops(x)))


@pytest.mark.parametrize(
    ("config", "kind", "there"),
    [
        ({}, Conv2d, True),
        ({"weight_norm": False}, Conv2d, False),
        ({}, SqueezeExcite, True),
        ({"squeeze_excite": False}, SqueezeExcite, False),
        ({}, nn.BatchNorm2d, True),
        ({"norm": "group"}, nn.BatchNorm2d, False),
        ({}, nn.GroupNorm, False),
        ({"norm": "group"}, nn.GroupNorm, True),
        ({}, FlowPair, False),
        ({"flows": 1}, FlowPair, True),
    ],
)
def test_a_net_is_made_of_what_is_asked(config, kind, there):
    assert any(isinstance(m, kind) for m in small(**config).modules()) is there


@pytest.mark.parametrize(
    ("option", "places"),
    [
        ("encoder_cells", lambda m: sum(isinstance(c, Cell) for c in m.encoder) - 1),
        ("decoder_cells", lambda m: (sum(isinstance(c, Cell) for c in m.decoder) - 1) / 2),
        ("block_cells", lambda m: len(m.pre_process)),
        ("block_cells", lambda m: len(m.post_process)),
    ],
)
def test_there_are_so_many_cells(option, places):
    groups = 3
    counts = [places(small(**{option: n})) for n in (1, 2, 3)]
    per = {"encoder_cells": groups, "decoder_cells": 1, "block_cells": 1}[option]
    assert counts == [per, 2 * per, 3 * per]


@pytest.mark.parametrize(
    ("expand", "post", "kinds"), [(0, 3, ("ResidualOps", "InvertedOps")), (2, 0, ("InvertedOps", "ResidualOps"))]
)
def test_cells_are_expanded_where_asked(expand, post, kinds):
    model = small(expand=expand, post_expand=post)
    cells = [c for c in model.decoder if isinstance(c, Cell)]
    assert {type(c.ops).__name__ for c in cells} == {kinds[0]}
    assert {type(c.ops).__name__ for c in model.post_process} == {kinds[1]}
    if expand:
        (widen, *_) = [m for m in cells[-1].ops if isinstance(m, nn.Conv2d)]
        assert widen.out_channels == expand * widen.in_channels


@pytest.mark.parametrize("residual", [True, False])
def test_posteriors_are_the_priors_plus_what_the_encoder_says(residual):
    model = small(residual_posterior=residual)
    x, seen = IndexedNoise(0, 3).normal(1, 8, 8).clamp(-1, 1), []
    clamped = Gaussian.clamped
    try:
        Gaussian.clamped = staticmethod(lambda mu, s: seen.append(mu) or clamped(mu, s))
        for posterior in model.posteriors:
            nn.init.zeros_(posterior.bias)
            posterior.weight.data.zero_()
        model.infer(x, None)
    finally:
        Gaussian.clamped = clamped
    priors, posteriors = seen[0:6:2], seen[1:6:2]
    for prior, posterior in zip(priors, posteriors, strict=True):
        assert torch.allclose(posterior, prior if residual else torch.zeros_like(prior), atol=1e-6)


def test_levels_and_mixtures_are_those_of_the_logistics():
    model = small(decoder="logistics", mixtures=3, levels=4)
    assert model.head[-1].out_channels == 3 * (1 + 2)
    x = torch.linspace(-1, 1, 4).view(4, 1, 1, 1)
    p = model.pixels(torch.randn(1, 9, 1, 1).expand(4, -1, -1, -1))
    assert float(p.log_prob(x).exp().sum()) == pytest.approx(1.0, abs=1e-5)


def test_what_is_padded_is_cut_off_again_and_patches_are_whole():
    padded = Structure(NVAE.Config(**{**SMALL, "event_shape": (1, 4, 12), "pad": 2}))
    assert padded.coarsest == (2, 4) and padded.widths == (4, 8, 16) and padded.group_scales == [1, 0, 0]
    assert padded.latent_shape(0) == (2, 4, 8) and padded.latent_shape(1) == (2, 2, 4)
    model = small(event_shape=[1, 4, 12], pad=2)
    assert model.sample(IndexedNoise(0, 2)).shape == (2, 1, 4, 12)
    assert small(patch=2, blocks=0).stem.in_channels == 4


def test_statistics_are_means_over_the_passes():
    layer = nn.BatchNorm2d(1, momentum=0.05).eval()
    layer.num_batches_tracked.fill_(7)
    batches = [torch.randn(20, 1, 2, 2, generator=torch.Generator().manual_seed(i)) + i for i in range(4)]
    ((mean, var),) = collect_statistics([layer], lambda i: layer(batches[i]), 4)
    assert torch.allclose(mean[0], torch.stack([b.mean() for b in batches]).mean(), atol=1e-5)
    assert torch.allclose(var[0], torch.stack([b.var() for b in batches]).mean(), atol=1e-5)
    assert (layer.momentum, layer.training, int(layer.num_batches_tracked)) == (0.05, False, 7)
    assert not layer.running_mean.any() and (layer.running_var == 1).all(), "the layer's own stay"
