"""What each option of the VAEs and of their training phases does, where the right value is known."""

from __future__ import annotations

import math

import pytest
import torch
from dgm_vaes.conv import ConvAutoencoder, ConvVAE
from dgm_vaes.distributions import Gaussian
from dgm_vaes.mlp import MLPVAE
from dgm_vaes.nvae import NVAE
from dgm_vaes.nvae.flows import AutoregressiveCell, FlowPair, causal_mask
from dgm_vaes.nvae.layers import Cell, Conv2d, SqueezeExcite, Style
from dgm_vaes.nvae.readjust import collect_statistics
from dgm_vaes.nvae.structure import Structure
from dgm_vaes.nvae.terms import Terms
from dgm_vaes.nvae.training import HierarchicalELBO, balance
from dgm_vaes.posteriors import Continuous, InverseAutoregressive, Planar, Radial, make_flow
from dgm_vaes.rh import RHVAE
from dgm_vaes.training import ELBO, Reconstruction
from dgm_vaes.vae import VAE
from torch import nn
from torch.func import jacrev

from dgmcore.noise import IndexedNoise

X = IndexedNoise(0, 50, dtype=torch.float64).normal(2)


@pytest.mark.parametrize("name", ["conv-autoencoder", "conv-vae", "mlp-vae", "nvae", "rh-vae"])
def test_defaults_are_those_of_the_page(documented, name):
    documented(name)


def toy(**config) -> MLPVAE:
    torch.manual_seed(0)
    return MLPVAE({"latents": 2, "hidden": [8], "sigma": 0.5, **config}).double().eval()


# --- phases of VAEs ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "progress", "weight"),
    [
        ({}, 0.0, 1.0),
        ({"beta": 3.0}, 0.0, 3.0),
        ({"beta": 0.0}, 0.5, 0.0),
        ({"warmup": 0.5}, 0.0, 0.0),
        ({"warmup": 0.5}, 0.1, 0.2),
        ({"warmup": 0.5, "beta": 4.0}, 0.25, 2.0),
        ({"warmup": 0.5, "beta": 4.0}, 0.75, 4.0),
    ],
)
def test_beta_weighs_the_divergence_and_is_warmed_up(recorder, options, progress, weight):
    model = toy()
    phase = ELBO(model, ELBO.Options(**options))
    phase.step(step := recorder(X, progress=progress))
    posterior = model.posterior(model.features(X))
    kl = posterior.kl_to_standard().mean().item()
    said = step.logged
    assert said["kl"] == pytest.approx(kl) and said["elbo"] == pytest.approx(said["recon"] - kl)
    assert step.losses["model"] == [pytest.approx(weight * kl - said["recon"])]


@pytest.mark.parametrize("weight", [None, 0.0, 2.5])
def test_codes_are_kept_small_by_their_weight(recorder, weight):
    model = ConvAutoencoder({"event_shape": [1, 4, 4], "latents": 3, "widths": [4], "hidden": 8}).eval()
    options = Reconstruction.Options(**({} if weight is None else {"code_weight": weight}))
    x = IndexedNoise(1, 20).normal(1, 4, 4).clamp(-1, 1)
    phase = Reconstruction(model, options)
    phase.step(step := recorder(x))
    z = model.encode(x)
    want = (model.decode(z) - x).square().flatten(1).sum(1) + (weight or 0.0) * z.square().sum(1)
    assert step.losses["model"] == [pytest.approx(want.mean().item(), rel=1e-5)]
    assert torch.allclose(phase.validate(x, None), want)


# --- options of VAEs ---------------------------------------------------------------------------------


def test_the_spread_of_a_gaussian_decoder_is_what_is_asked():
    z = X[:5]
    assert torch.allclose(toy(sigma=0.3).conditional(z).sigma, torch.tensor(0.3, dtype=X.dtype))
    learned = toy(sigma="global", log_sigma_min=-1.0)
    bound = -1 + math.log1p(math.e)  # softplus of the distance to the bound, which is 1 at the start
    assert torch.allclose(learned.conditional(z).log_sigma, torch.tensor(bound, dtype=X.dtype))
    learned.log_sigma.data.fill_(-50.0)
    assert torch.allclose(learned.conditional(z).log_sigma, torch.tensor(-1.0, dtype=X.dtype))
    each = toy(sigma="output").conditional(z).log_sigma
    assert each.shape == z.shape and float(each.std()) > 0


@pytest.mark.parametrize(("kind", "times"), [("half", 0.5), ("exp", 1.0)])
def test_the_head_of_the_posterior_is_read_as_asked(kind, times):
    model = toy(posterior_std=kind)
    h = model.features(X)
    assert torch.allclose(model.posterior(h).log_sigma, times * model.heads(h)[:, 2:])
    assert torch.allclose(model.posterior(h).mu, model.heads(h)[:, :2]) and torch.allclose(
        model.encode(X), model.heads(h)[:, :2]
    )


@pytest.mark.parametrize(("name", "kind"), [("relu", nn.ReLU), ("silu", nn.SiLU), ("tanh", nn.Tanh), ("elu", nn.ELU)])
def test_the_activation_is_the_one_that_is_named(name, kind):
    model = toy(activation=name, hidden=[8, 5])
    assert [type(m) for m in model.features] == [nn.Linear, kind] * 2
    assert [m.out_features for m in model.network if isinstance(m, nn.Linear)] == [5, 8, 2]


@pytest.mark.parametrize("steps", [1, 3])
def test_bent_posteriors_have_so_many_steps(steps):
    assert make_flow("normal", 2, 3, steps) is None
    for kind in ("planar", "radial"):
        flow = make_flow(kind, 2, 3, steps)
        assert flow.steps == steps and flow.amortize.out_features == steps * (5 if kind == "planar" else 4)
    assert isinstance(make_flow("iaf", 2, 3, steps), InverseAutoregressive)
    assert isinstance(make_flow("cnf", 2, 3, steps), Continuous)


def test_a_planar_step_is_that_of_the_paper():
    flow = Planar(2, 1, 1).double()
    u, w, b = [0.5, -0.2], [1.0, 0.3], 0.1
    nn.init.zeros_(flow.amortize.weight)
    flow.amortize.bias.data = torch.tensor([*u, *w, b], dtype=torch.float64)
    u, w = torch.tensor(u, dtype=X.dtype), torch.tensor(w, dtype=X.dtype)
    wu = w @ u
    u = u + (torch.log1p(torch.exp(wu + math.log(math.e - 1))) - 1 - wu) * w / (w @ w)
    want = X + torch.tanh(X @ w + b)[:, None] * u
    assert torch.allclose(flow(X, torch.zeros(50, 1, dtype=X.dtype))[0], want, atol=1e-6)
    assert float(w @ u) > -1


def test_steps_of_no_weight_are_the_identity():
    for kind in (Planar, Radial):
        flow = kind(2, 1, 3).double()
        nn.init.zeros_(flow.amortize.weight)
        nn.init.zeros_(flow.amortize.bias)
        z, log_det = flow(X, torch.ones(50, 1, dtype=X.dtype))
        assert torch.allclose(z, X) and torch.allclose(log_det, torch.zeros(50, dtype=X.dtype), atol=1e-12), kind


@pytest.mark.parametrize("temperature", [None, 0.0, 0.5, 2.0])
def test_the_temperature_is_the_priors_and_the_mean_has_no_noise(temperature):
    model = toy()
    options = {} if temperature is None else {"temperature": temperature}
    eps = IndexedNoise(3, 20, dtype=X.dtype).named(model.noise_shapes)
    decoded = model.decode((1.0 if temperature is None else temperature) * eps["z"])
    mean = model.sample(IndexedNoise(3, 20, dtype=X.dtype), mean=True, **options)
    assert torch.allclose(mean, decoded)
    drawn = model.sample(IndexedNoise(3, 20, dtype=X.dtype), **options)
    assert torch.allclose(drawn, decoded + 0.5 * eps["x"]), "of the decoder's deviation"


def test_a_bound_is_that_of_its_number_of_samples():
    model, noise = toy(), IndexedNoise(0, 50, dtype=X.dtype)
    q = model.posterior(model.features(X))
    weights = []
    for j in range(3):
        z = q.push(noise.normal(2, name=f"z{j}"))
        standard = torch.distributions.Normal(0, 1).log_prob(z).sum(1)
        weights.append(model.conditional(z).log_prob(X) + standard - q.log_prob(z))
    for k, chunk in ((3, 1), (3, 2), (3, 16)):
        bound = model.log_prob(X, noise=IndexedNoise(0, 50, dtype=X.dtype), k=k, chunk=chunk)
        assert torch.allclose(bound, torch.stack(weights).logsumexp(0) - math.log(3))
    one = model.log_prob(X, noise=IndexedNoise(0, 50, dtype=X.dtype))
    closed = weights[0] * 0 + model.conditional(q.push(noise.normal(2, name="z0"))).log_prob(X) - q.kl_to_standard()
    assert torch.allclose(one, closed)


def test_joint_densities_are_those_of_the_noise():
    model = toy(sigma=0.1)
    eps = IndexedNoise(1, 9, dtype=X.dtype).named(model.noise_shapes)
    x, prior, pixels = model.joint(eps)
    normal = torch.distributions.Normal(0, 1)
    assert torch.allclose(x, model.push(eps)) and torch.allclose(prior, normal.log_prob(eps["z"]).sum(1))
    assert torch.allclose(pixels, normal.log_prob(eps["x"]).sum(1) - 2 * math.log(0.1))
    wide = model.joint(eps, log_sigma_min=0.0)
    assert torch.allclose(wide[0], x)
    assert torch.allclose(wide[2], torch.distributions.Normal(model.decode(eps["z"]), 1.0).log_prob(x).sum(1))


@pytest.mark.parametrize("hidden", [0, 16])
def test_convolutions_end_in_a_dense_layer_where_asked(hidden):
    torch.manual_seed(0)
    model = ConvVAE({"event_shape": [2, 8, 12], "latents": 3, "widths": [4, 6], "hidden": hidden}).eval()
    assert sum(isinstance(m, nn.Linear) for m in model.features) == (hidden > 0)
    assert model.heads.in_features == (hidden or 6 * 2 * 3) and model.heads.out_features == 6
    x = model.sample(IndexedNoise(0, 3))
    assert x.shape == (3, 2, 8, 12) and model.encode(x).shape == (3, 3)


def test_sizes_of_the_small_one():
    for latents, width in ((2, 32), (5, 4)):
        model = RHVAE({"latents": latents, "width": width}).eval()
        assert isinstance(model, VAE) and model.noise_shapes == {"z": (latents,)}
        assert model.encode(model.sample(IndexedNoise(0, 3))).shape == (3, latents)


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
