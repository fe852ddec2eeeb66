"""Denoising diffusion GAN: the published schedule, sizes, names and outputs."""

from __future__ import annotations

import json
import math

import pytest
import torch
import torch.nn.functional as F
from dgm_hybrids.ddgan.convert import ddgan, discriminator_names, generator_names, infer
from dgm_hybrids.ddgan.discriminator import Conv, ConvDiscriminator, minibatch_deviation
from dgm_hybrids.ddgan.fir import conv_downsample, downsample, upsample
from dgm_hybrids.ddgan.model import DDGAN
from dgm_hybrids.ddgan.schedule import Diffusion
from dgm_hybrids.ddgan.unet import UNet, UNetGenerator

from dgmcore.errors import DgmError
from dgmcore.noise import IndexedNoise

SMALL = UNet(width=16, multipliers=(1, 2, 2), blocks=1, attention=(8,), embedding=24, mapping_layers=2)


def test_posterior_and_betas_are_the_published_ones():
    """spec of the published code, T = 4."""
    d = Diffusion(4)
    assert d.betas.tolist() == pytest.approx([0.47826, 0.84921, 0.95642, 0.98740], abs=1e-5)
    assert d.posterior_x0.tolist() == pytest.approx([1, 0.66578, 0.26919, 0.05782], abs=1e-5)
    assert d.posterior_after.tolist() == pytest.approx([0, 0.20158, 0.19300, 0.11185], abs=1e-5)
    assert d.posterior_variance.tolist() == pytest.approx([0, 0.44082, 0.88420, 0.98406], abs=1e-5)


@pytest.mark.parametrize("steps", range(1, 9))
def test_posterior_is_bayes_rule(steps):
    """p(x_t | x_0) p(x_{t+1} | x_t) is a Gaussian in x_t with the posterior's mean and variance."""
    d = Diffusion(steps).double()
    abar = torch.cat([torch.ones(1, dtype=torch.float64), (1 - d.betas).cumprod(0)])
    x0, after = 0.7, -0.4
    for t in range(1, steps):
        prior_var, step_var = 1 - abar[t], d.betas[t]
        a, scale = abar[t].sqrt() * x0, (1 - d.betas[t]).sqrt()
        variance = 1 / (1 / prior_var + scale**2 / step_var)
        mean = variance * (a / prior_var + scale * after / step_var)
        assert float(d.posterior_variance[t]) == pytest.approx(float(variance), rel=1e-4)
        assert float(d.posterior_x0[t] * x0 + d.posterior_after[t] * after) == pytest.approx(float(mean), abs=1e-5)


def test_published_numbers_of_weights():
    with torch.device("meta"):
        count = lambda m: sum(p.numel() for p in m.parameters())  # noqa: E731
        assert count(UNetGenerator(UNet(), 3, 32, 100)) == 48_432_515
        hq = UNet(width=64, multipliers=(1, 1, 2, 2, 4, 4), mapping_layers=3)
        assert count(UNetGenerator(hq, 3, 256, 100)) == 39_726_979
        assert count(ConvDiscriminator(Conv(), 3)) == 12_741_633
        assert count(ConvDiscriminator(Conv(size="large"), 3)) == 27_737_217


@pytest.fixture
def keys(reference):
    return json.loads((reference / "keys" / "ddgan.json").read_text())


def shapes(names, module, transpose=".W"):
    state = module.state_dict()
    return {t: list(state[o].shape)[:: -1 if t.endswith(transpose) else 1] for t, o in names.items()}


def test_every_published_tensor_has_its_place(keys):
    with torch.device("meta"):
        small = UNetGenerator(SMALL, 3, 16, 12)
        cifar = UNetGenerator(UNet(), 3, 32, 100)
        d = {
            "disc_small": ConvDiscriminator(Conv(width=4, embedding=16), 3),
            "disc_large": ConvDiscriminator(Conv(size="large", width=4, embedding=16), 3),
            "disc_small_cifar10": ConvDiscriminator(Conv(), 3),
        }
    for name, module in {"generator": small, "generator_cifar10": cifar}.items():
        assert shapes(generator_names(module), module) == keys[name]
        assert set(generator_names(module).values()) == set(module.state_dict()), "no tensor of ours is left over"
    for name, module in d.items():
        assert shapes(discriminator_names(module), module) == keys[name]


def published(generator, seed=0):
    """A made checkpoint with the published names (random numbers, `module.` prefixes)."""
    g = torch.Generator().manual_seed(seed)
    return {f"module.{name}": 0.2 * torch.randn(shape, generator=g) for name, shape in generator.items()}


def test_made_checkpoint_converts_with_its_config_inferred(tmp_path):
    names = generator_names(UNetGenerator(SMALL, 3, 16, 12))
    disc = ConvDiscriminator(Conv(width=4, embedding=16), 3)
    state = published(shapes(names, UNetGenerator(SMALL, 3, 16, 12)))
    dstate = published(shapes(discriminator_names(disc), disc), seed=1)
    torch.save(state, tmp_path / "g.pth")
    torch.save(dstate, tmp_path / "d.pth")
    converted = ddgan([tmp_path / "g.pth", tmp_path / "d.pth"], {})
    model = DDGAN(converted.config).eval()
    model.load_state_dict(converted.state)
    assert model.config.generator == SMALL and model.event_shape == (3, 16, 16) and model.config.latent == 12
    x, after = IndexedNoise(0, 4).normal(3, 16, 16), IndexedNoise(1, 4).normal(3, 16, 16)
    z, t = IndexedNoise(2, 4).normal(12), torch.tensor([0, 1, 2, 3])
    bare = {k.removeprefix("module."): v for k, v in state.items()}
    with torch.no_grad():
        assert (model.generator(x, t, z) - reference_generator(bare, x, t, z)).abs().max() <= 1e-5
        bare = {k.removeprefix("module."): v for k, v in dstate.items()}
        want = reference_discriminator(bare, x, t, after)
        assert (model.discriminator(x, t, after) - want).abs().max() <= 1e-4 * max(1, float(want.abs().max()))
    del state["module.all_modules.5.Conv2d_0.bias"]
    torch.save(state, tmp_path / "g.pth")
    with pytest.raises(DgmError, match=r"all_modules\.5\.Conv2d_0\.bias"):
        ddgan([tmp_path / "g.pth"], {})


def test_a_generator_alone_has_no_discriminator_and_draws(tmp_path):
    import dgmcore

    names = generator_names(UNetGenerator(SMALL, 3, 16, 12))
    torch.save(published(shapes(names, UNetGenerator(SMALL, 3, 16, 12))), tmp_path / "netG_1200.pth")
    folder = dgmcore.convert(tmp_path / "netG_1200.pth", "published", "ddgan", tmp_path, steps=2)
    model = dgmcore.load(folder)
    assert model.discriminator is None and not any("discriminator" in n for n in model.state_dict())
    assert "non-commercial" in model.entry.license and model.entry.training.source["notes"]
    assert dgmcore.sample(model, 2).shape == (2, 3, 16, 16)
    with pytest.raises(DgmError, match="no option stepps"):
        dgmcore.convert(tmp_path / "netG_1200.pth", "other", "ddgan", tmp_path, stepps=2)
    from dgm_hybrids.ddgan.training import AdversarialDenoising

    with pytest.raises(DgmError, match="has no discriminator"):
        AdversarialDenoising(model, AdversarialDenoising.Options())


def test_a_checkpoint_of_a_run_holds_both_nets_and_its_arguments(tmp_path):
    import argparse

    disc = ConvDiscriminator(Conv(width=4, embedding=16), 3)
    state = {
        "epoch": 3,
        "args": argparse.Namespace(image_size=16, num_timesteps=2, beta_min=0.2, beta_max=10.0, dataset="lsun"),
        "netG_dict": published(
            shapes(generator_names(UNetGenerator(SMALL, 3, 16, 12)), UNetGenerator(SMALL, 3, 16, 12))
        ),
        "netD_dict": published(shapes(discriminator_names(disc), disc)),
        "optimizerG": {"state": {0: {"exp_avg": torch.ones(2)}}},
    }
    torch.save(state, tmp_path / "content.pth")
    converted = ddgan([tmp_path / "content.pth"], {})
    model = DDGAN(converted.config)
    model.load_state_dict(converted.state)
    c = model.config
    assert (c.steps, c.beta_min, c.beta_max, c.discriminator.width) == (2, 0.2, 10.0, 4)
    assert converted.data.dataset == "lsun-church"
    torch.save(state, tmp_path / "more.pth")
    with pytest.raises(DgmError, match="not one generator and one discriminator"):
        ddgan([tmp_path / "content.pth", tmp_path / "more.pth"], {})


def test_config_of_the_cifar10_checkpoint_is_inferred(keys):
    state = {name: torch.empty(shape, device="meta") for name, shape in keys["generator_cifar10"].items()}
    config = infer(state, None, {})
    assert DDGAN.Config.__name__ and config["event_shape"] == [3, 32, 32]
    assert config["generator"]["multipliers"] == [1, 2, 2, 2] and config["generator"]["blocks"] == 2
    assert config["generator"]["attention"] == [16] and config["generator"]["mapping_layers"] == 4


# --- an independent writing of the published networks, by their tensor names --------------------------


def embed(t, size):
    half = size // 2
    angle = t[:, None].float() * torch.exp(-math.log(10000) / (half - 1) * torch.arange(half))
    return torch.cat([angle.sin(), angle.cos()], 1)


def fir(x, up=1, down=1, pad=(0, 0), gain=1.0):
    """upfirdn2d, written out: stuff zeros, pad, filter each channel, throw away."""
    k = torch.tensor([1.0, 3, 3, 1]) / 8
    n, c, h, w = x.shape
    y = torch.zeros(n, c, h * up, w * up)
    y[:, :, ::up, ::up] = x
    y = F.pad(y, (pad[0], pad[1], pad[0], pad[1])).reshape(n * c, 1, h * up + sum(pad), w * up + sum(pad))
    y = F.conv2d(y, gain * torch.outer(k, k)[None, None])
    return y.reshape(n, c, *y.shape[2:])[:, :, ::down, ::down]


def reference_generator(s, x, t, z):
    """NCSN++ with AdaGN for SMALL, module by module in the published order."""

    def dense(name, h):
        return F.linear(h, s[f"{name}.weight"], s[f"{name}.bias"])

    def conv(name, h, **kw):
        return F.conv2d(h, s[f"{name}.weight"], s[f"{name}.bias"], **kw)

    def adagn(name, h):
        c = h.shape[1]
        gamma, beta = dense(f"{name}.style", w)[:, :, None, None].chunk(2, 1)
        return gamma * F.group_norm(h, min(c // 4, 32), eps=1e-6) + beta

    def block(i, h, mode=None):
        name, skip = f"all_modules.{i}", h
        h = F.silu(adagn(f"{name}.GroupNorm_0", h))
        if mode == "down":
            h, skip = fir(h, down=2, pad=(1, 1)), fir(skip, down=2, pad=(1, 1))
        if mode == "up":
            h, skip = fir(h, up=2, pad=(2, 1), gain=4.0), fir(skip, up=2, pad=(2, 1), gain=4.0)
        h = conv(f"{name}.Conv_0", h, padding=1) + dense(f"{name}.Dense_0", F.silu(temb))[:, :, None, None]
        h = conv(f"{name}.Conv_1", F.silu(adagn(f"{name}.GroupNorm_1", h)), padding=1)
        if f"{name}.Conv_2.weight" in s:
            skip = conv(f"{name}.Conv_2", skip)
        return (h + skip) / math.sqrt(2)

    def attention(i, h):
        name, c = f"all_modules.{i}", h.shape[1]
        y = F.group_norm(h, min(c // 4, 32), s[f"{name}.GroupNorm_0.weight"], s[f"{name}.GroupNorm_0.bias"], eps=1e-6)

        def nin(j, v):
            bias = s[f"{name}.NIN_{j}.b"].view(1, -1, 1, 1)
            return torch.einsum("nchw,cd->ndhw", v, s[f"{name}.NIN_{j}.W"]) + bias

        q, k, v = (nin(j, y) for j in range(3))
        weight = torch.einsum("nchw,ncij->nhwij", q, k) * c**-0.5
        weight = weight.flatten(3).softmax(-1).reshape(weight.shape)
        return (h + nin(3, torch.einsum("nhwij,ncij->nchw", weight, v))) / math.sqrt(2)

    w = z / (z.square().mean(1, keepdim=True) + 1e-8).sqrt()
    for i in (1, 3, 5):
        w = F.silu(dense(f"z_transform.{i}", w))
    temb = dense("all_modules.1", F.silu(dense("all_modules.0", embed(t, 16))))
    skips = [conv("all_modules.2", x, padding=1)]
    pyramid = x
    skips.append(block(3, skips[-1]))
    h = block(4, skips[-1], "down")
    pyramid = (conv("all_modules.5.Conv2d_0", fir(pyramid, pad=(2, 2)), stride=2) + h) / math.sqrt(2)
    skips.append(pyramid)
    skips.append(attention(7, block(6, skips[-1])))
    h = block(8, skips[-1], "down")
    pyramid = (conv("all_modules.9.Conv2d_0", fir(pyramid, pad=(2, 2)), stride=2) + h) / math.sqrt(2)
    skips.append(pyramid)
    skips.append(block(10, skips[-1]))
    h = block(13, attention(12, block(11, skips[-1])))
    for i in (14, 15):
        h = block(i, torch.cat([h, skips.pop()], 1))
    h = block(16, h, "up")
    for i in (17, 18):
        h = block(i, torch.cat([h, skips.pop()], 1))
    h = block(20, attention(19, h), "up")
    for i in (21, 22):
        h = block(i, torch.cat([h, skips.pop()], 1))
    h = F.group_norm(h, 4, s["all_modules.23.weight"], s["all_modules.23.bias"], eps=1e-6)
    return conv("all_modules.24", F.silu(h), padding=1).tanh()


def reference_discriminator(s, x, t, after):
    act = lambda h: F.leaky_relu(h, 0.2)  # noqa: E731
    dense = lambda name, h: F.linear(h, s[f"{name}.weight"], s[f"{name}.bias"])  # noqa: E731
    time = act(dense("t_embed.main.2", act(dense("t_embed.main.0", embed(t, 16)))))
    h = F.conv2d(torch.cat([x, after], 1), s["start_conv.weight"], s["start_conv.bias"])
    for i in range(1, 5):
        y = F.conv2d(act(h), s[f"conv{i}.conv1.0.weight"], s[f"conv{i}.conv1.0.bias"], padding=1)
        y = act(y + dense(f"conv{i}.dense_t1", time)[:, :, None, None])
        if i > 1:
            y, h = fir(y, down=2, pad=(1, 1)), fir(h, down=2, pad=(1, 1))
        y = F.conv2d(y, s[f"conv{i}.conv2.0.weight"], s[f"conv{i}.conv2.0.bias"], padding=1)
        h = (y + F.conv2d(h, s[f"conv{i}.skip.0.weight"])) / math.sqrt(2)
    std = (h.var(0, unbiased=False) + 1e-8).sqrt().mean()  # four images are one group
    h = torch.cat([h, std.expand(4, 1, *h.shape[2:])], 1)
    h = act(F.conv2d(h, s["final_conv.weight"], s["final_conv.bias"], padding=1))
    return dense("end_linear", h.flatten(2).sum(2))[:, 0]


def test_resampling_is_upfirdn():
    x = IndexedNoise(0, 2).normal(3, 8, 8)
    assert torch.allclose(downsample(x), fir(x, down=2, pad=(1, 1)), atol=1e-6)
    assert torch.allclose(upsample(x), fir(x, up=2, pad=(2, 1), gain=4.0), atol=1e-6)
    weight, bias = IndexedNoise(1, 5).normal(3, 3, 3), torch.zeros(5)
    assert torch.allclose(conv_downsample(x, weight, bias), F.conv2d(fir(x, pad=(2, 2)), weight, stride=2), atol=1e-5)


def test_deviation_groups_i_with_i_plus_b_over_group():
    x = IndexedNoise(0, 8).normal(2, 3, 3)
    y = minibatch_deviation(x)[:, -1, 0, 0]
    assert torch.allclose(y[0], (x[0::2].var(0, unbiased=False) + 1e-8).sqrt().mean())
    assert torch.equal(y[0::2], y[0].expand(4)) and torch.equal(y[1::2], y[1].expand(4))
    assert not torch.equal(y[0], y[1])


@pytest.mark.parametrize("parametrization", ["posterior", "direct", "noise"])
@pytest.mark.parametrize("latent", [0, 3])
def test_ablations_are_configurations(parametrization, latent):
    model = DDGAN({**DDGAN.example, "parametrization": parametrization, "latent": latent}).eval()
    x = model.sample(IndexedNoise(0, 3))
    assert x.shape == (3, 2) and torch.isfinite(x).all()
    names = [k for k, _ in model.generator.named_parameters()]
    assert model.generator.net[0].in_features == 2 + latent + 4 and names


def test_a_perfect_generator_gives_back_the_data():
    """If G returned x_0 whatever it sees, the last step would return x_0."""
    model = DDGAN(DDGAN.example).eval()
    target = torch.tensor([0.3, -0.8])
    model.generator.forward = lambda x, t, z: target.expand_as(x)
    assert torch.allclose(model.sample(IndexedNoise(0, 4)), target.expand(4, 2), atol=1e-6)


@pytest.mark.parametrize("patch", [1, 2])
def test_patches_keep_the_shape_of_images(patch):
    spec = {
        "kind": "unet",
        "patch": patch,
        "width": 8,
        "multipliers": [1, 2],
        "blocks": 1,
        "attention": [],
        "embedding": 8,
    }
    critic = {"kind": "conv", "patch": patch, "width": 4, "embedding": 8}
    model = DDGAN({"event_shape": [1, 32, 32], "latent": 3, "generator": spec, "discriminator": critic})
    x, t = torch.zeros(2, 1, 32, 32), torch.tensor([0, 3])
    assert model.generator(x, t, torch.zeros(2, 3)).shape == x.shape
    assert model.discriminator(x, t, x).shape == (2,)


class Echo(torch.nn.Module):
    """A perfect generator of data that are all 0.5: what is left of the start is the start's own."""

    def forward(self, x, t, z):
        return torch.full_like(x, 0.5)


def test_a_drawing_is_sent_a_share_of_the_way_and_back():
    model = DDGAN({**DDGAN.example, "parametrization": "posterior"}).eval()
    drawing, noise = torch.tensor([3.0, -3.0]), lambda: IndexedNoise(0, 400)
    for strength, k in ((0.1, 1), (0.5, 2), (1.0, 4)):
        states = list(model.trajectory(noise(), init=drawing, strength=strength))
        bar = model.diffusion.alpha_bar[k]
        assert len(states) == k + 1, "as many steps as the share says"
        assert torch.allclose(states[0].mean(0), bar.sqrt() * drawing, atol=0.2)
        assert torch.allclose(states[0].std(0), (1 - bar).sqrt().expand(2), atol=0.1)
    model.generator = Echo()
    assert torch.allclose(model.sample(noise(), init=drawing), torch.tensor(0.5), atol=1e-5)
    assert not torch.equal(states[-1], model.sample(noise()))
    for wrong, message in (({"init": torch.zeros(3)}, "no picture"), ({"init": drawing, "strength": 0.0}, "nothing")):
        with pytest.raises(DgmError, match=message):
            model.sample(noise(), **wrong)


def test_clean_data_given_a_state():
    model = DDGAN(DDGAN.example).eval()
    x, t, z = torch.ones(4, 2), torch.tensor([0, 1, 2, 3]), IndexedNoise(1, 4).normal(3)
    with torch.no_grad():
        last = model.step(x[:1], t[:1], z[:1], None)
        assert torch.allclose(model.clean(x, t, z)[:1], last, atol=1e-6), "the last step is x_0"
    direct = DDGAN({**DDGAN.example, "parametrization": "direct"})
    with pytest.raises(DgmError, match="predicts no clean data"):
        direct.clean(x, t, z)


def test_a_shipped_model_makes_a_garment_of_a_drawing(tmp_path, monkeypatch):
    import numpy as np
    from PIL import Image, ImageDraw

    from dgmcore.cli import main

    picture = Image.new("L", (28, 28))
    ImageDraw.Draw(picture).rectangle((9, 4, 18, 25), fill=180)  # the trunk of a dress
    picture.save(tmp_path / "drawing.png")
    monkeypatch.chdir(tmp_path)
    asked = ["--init", "drawing.png", "--set", "strength=0.5", "-n", "4", "--out", "made.npy"]
    assert main(["sample", "ddgan-fashion", *asked]) in (0, None)
    made, drawing = np.load("made.npy"), np.asarray(picture) / 127.5 - 1
    assert made.shape == (4, 1, 28, 28)
    assert np.abs(made - drawing).mean() < 0.3 < np.abs(made[:, :, ::-1, ::-1].transpose(0, 1, 3, 2) - drawing).mean()
    assert made.std(0).mean() > 0.02, "four garments, not one"


def test_augmentation_shows_the_discriminator_noised_data_and_samples_of_one_shot_models():
    from dgm_hybrids.ddgan.training import AdversarialDenoising as Phase

    model = DDGAN({**DDGAN.example, "steps": 1})
    plain, augmented = (Phase(model, Phase.Options(**more)) for more in ({}, {"augment": 4}))
    x, noise = torch.full((3000, 2), 5.0), IndexedNoise(0, 3000)
    assert torch.equal(plain._seen(x, noise), x)
    seen = augmented._seen(x, noise)[:, 0]
    kept = Diffusion(4).alpha_bar
    untouched = (seen - 5).abs() < 0.1
    assert 0.15 < float(untouched.float().mean()) < 0.25, "one of the five amounts of noise is none"
    assert float(seen.mean()) == pytest.approx(5 * float(kept.sqrt().mean()), abs=0.1)
    with pytest.raises(DgmError, match="models of one step"):
        Phase(DDGAN(DDGAN.example), Phase.Options(augment=4))
