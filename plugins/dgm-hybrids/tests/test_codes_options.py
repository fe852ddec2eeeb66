"""What each option of models of codes, and of denoising GANs, does."""

from __future__ import annotations

import math

import pytest
import torch
from dgm_hybrids.codes_training import MixturePhase, SecondPhase, WAEPhase, multiquadric_mmd
from dgm_hybrids.ddgan.model import DDGAN
from dgm_hybrids.ddgan.training import AdversarialDenoising
from torch import nn

from dgmcore import IndexedNoise
from dgmcore.loading.load import build
from dgmcore.sampling.stream_noise import StreamNoise

N = 4000
BATCH = StreamNoise(7, N, scope="data").normal(2)


class Recorder:
    """A training step that moves nothing: it keeps the losses by optimiser."""

    def __init__(self, batch=BATCH, index=0):
        self.data, self.index, self.losses, self.logged, self.drawn = batch, index, {}, {}, 0

    def batch(self):
        self.drawn += len(self.data)
        return self.data

    def noise(self, n=None):
        if not hasattr(self, "stream"):  # within a step calls go on in one stream
            self.stream = StreamNoise(1, len(self.data), scope=f"step{self.index}")
        return self.stream.with_n(n or len(self.data))

    def log(self, **values):
        self.logged.update({key: float(value) for key, value in values.items()})

    def minimize(self, loss, optimizer="model", *, retain_graph=False):
        self.losses.setdefault(optimizer, []).append(float(loss.detach()))


# --- codes, mixtures, second VAEs, denoising GANs ----------------------------------------------------


@pytest.mark.parametrize("name", ["ddgan", "glf", "rae", "twostage", "vaebm", "vaeflow", "wae"])
def test_defaults_are_those_of_the_page(documented, name):
    documented(name)


CODER = {"architecture": "mlp-vae", "config": {"dim": 2, "latents": 2, "hidden": [8], "sigma": 0.1}}


def coded(architecture, **config):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(architecture, config, {"autoencoder": CODER}).eval()


@pytest.mark.parametrize("penalty", ["gan", "mmd"])
@pytest.mark.parametrize("weight", [None, 0.0, 3.0])
def test_the_penalty_on_codes_has_its_weight(penalty, weight):
    model = coded("wae", penalty=penalty, hidden=[8])
    phase = WAEPhase(model, WAEPhase.Options(**({} if weight is None else {"weight": weight})))
    with torch.no_grad():
        phase.step(step := Recorder())
        z = model.encode(BATCH)
    said = step.logged
    error = float((model.decode(z) - BATCH).square().sum(1).mean())
    assert said["recon"] == pytest.approx(error, rel=1e-4) and said["code_scale"] == pytest.approx(
        float(z.std(0).mean())
    )
    want = error + (10.0 if weight is None else weight) * said["penalty"]
    assert step.losses["autoencoder"] == [pytest.approx(want, rel=1e-4)]
    prior = StreamNoise(1, N, scope="step0").normal(2)
    if penalty == "gan":
        judge = model.discriminator
        assert said["penalty"] == pytest.approx(float(nn.functional.softplus(-judge(z)).mean()), rel=1e-4)
        own = nn.functional.softplus(-judge(prior)).mean() + nn.functional.softplus(judge(z)).mean()
        assert step.losses["discriminator"] == [pytest.approx(float(own), rel=1e-4)]
    else:
        assert said["penalty"] == pytest.approx(float(multiquadric_mmd(z, prior)), rel=1e-3)
        assert "discriminator" not in step.losses


def test_the_kernel_is_that_of_the_paper():
    x, y = BATCH[:5], BATCH[5:9] + 1

    def k(a, b):
        return sum(c / (c + float((a - b).square().sum())) for c in (4 * s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10)))

    def others(a):
        pairs = [k(p, q) for i, p in enumerate(a) for j, q in enumerate(a) if i != j]
        return sum(pairs) / len(pairs)

    between = [k(p, q) for p in x for q in y]
    want = others(x) + others(y) - 2 * sum(between) / len(between)
    assert float(multiquadric_mmd(x, y)) == pytest.approx(want, rel=1e-4)


@pytest.mark.parametrize("initial", [1, N, N + 1])
def test_a_mixture_starts_from_so_many_codes(initial):
    model = coded("rae", components=2)
    phase = MixturePhase(model, MixturePhase.Options(initial=initial))
    centre = torch.tensor([3.0, -1.0])
    phase.codes = lambda x: torch.cat([0.2 * x[: N // 4] + centre, 0.5 * x[N // 4 :] - centre])
    phase.setup(step := Recorder())
    assert step.drawn == N * (1 if initial <= N else 2)
    order = model.means[:, 0].argsort().tolist()
    assert torch.allclose(model.means[order], torch.stack([-centre, centre]), atol=0.05)
    assert torch.allclose(model.logits.softmax(0)[order], torch.tensor([0.75, 0.25]), atol=0.02)
    spread = model.covariance_factors()[order]
    assert torch.allclose(spread, torch.tensor([0.5, 0.2])[:, None, None] * torch.eye(2), atol=0.03)
    phase.step(step)
    want = -model.code_log_prob(phase.codes(BATCH)).mean()
    assert step.losses["model"] == [pytest.approx(float(want.detach()), rel=1e-4)]


@pytest.mark.parametrize("temperature", [None, 0.0, 0.5])
def test_codes_are_drawn_at_their_temperature(temperature):
    said = {} if temperature is None else {"temperature": temperature}
    model = coded("wae", hidden=[4])
    eps = IndexedNoise(3, 20).named(model.noise_shapes)["z"]
    assert torch.allclose(
        model.sample(IndexedNoise(3, 20), **said), model.decode((1.0 if temperature is None else temperature) * eps)
    )
    model = coded("rae", components=1)
    nn.init.constant_(model.means, 2.0)
    nn.init.constant_(model.factors, 0.0)
    want = 2.0 + (1.0 if temperature is None else temperature) * IndexedNoise(3, 20).named(model.noise_shapes)["z"]
    model.decode = lambda z: z
    assert torch.allclose(model.sample(IndexedNoise(3, 20), **said), want, atol=1e-5)


def test_the_second_vae_learns_the_codes_of_the_first():
    second = {"architecture": "mlp-vae", "config": {"dim": 2, "latents": 1, "hidden": [4]}}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build("twostage", {}, {"base": CODER, "second": second}).eval()
    phase = SecondPhase(model, None)
    with torch.no_grad():
        phase.step(step := Recorder())
        noise = StreamNoise(1, N, scope="step0")
        z = model.parts["base"].infer(BATCH, noise.normal(2)).z
        two = model.parts["second"]
        inferred = two.infer(z, noise.normal(1))
        kl = inferred.normal.kl_to_standard().mean()
        recon = two.conditional(inferred.z).log_prob(z).mean()
    assert step.losses["model"] == [pytest.approx(float(kl - recon), rel=1e-4)]
    assert step.logged["elbo"] == pytest.approx(float(recon - kl), rel=1e-4)


def denoising(**config):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return DDGAN({**DDGAN.example, **config})


@pytest.mark.parametrize(
    ("options", "index", "times"),
    [({}, 0, 1), ({}, 14, 0), ({}, 15, 1), ({"lazy": 4}, 4, 1), ({"lazy": 4}, 5, 0), ({"r1": 0.0}, 0, 0)],
)
def test_the_penalty_is_lazy_and_has_its_weight(options, index, times):
    model = denoising()
    slope = torch.tensor([3.0, 4.0])
    model.discriminator.forward = lambda x, t, after: x @ slope
    AdversarialDenoising(model, AdversarialDenoising.Options(**options)).step(step := Recorder(index=index))
    AdversarialDenoising(model, AdversarialDenoising.Options(r1=0.0)).step(plain := Recorder(index=index))
    extra = step.losses["discriminator"][0] - plain.losses["discriminator"][0]
    assert extra == pytest.approx(times * 0.5 * options.get("r1", 0.05) * 25, abs=1e-3)
    assert step.logged["discriminator"] == pytest.approx(plain.losses["discriminator"][0], abs=1e-4)


def test_pairs_are_of_the_chain_at_uniform_times():
    model = denoising()
    seen = []
    model.discriminator.forward = lambda x, t, after: seen.append((x.detach(), t, after.detach())) or 0.0 * x.sum(1)
    AdversarialDenoising(model, AdversarialDenoising.Options(r1=0.0)).step(step := Recorder(torch.ones(N, 2)))
    x, t, after = seen[0]
    assert torch.allclose(torch.bincount(t) / N, torch.full((4,), 0.25), atol=0.03)
    for k in range(4):
        bar, beta = model.diffusion.alpha_bar[k], model.diffusion.betas[k]
        assert (
            abs(float(x[t == k].mean() - bar.sqrt())) < 0.06 and abs(float(x[t == k].std() - (1 - bar).sqrt())) < 0.06
        )
        rest = after[t == k] - (1 - beta).sqrt() * x[t == k]
        assert abs(float(rest.mean())) < 0.07 and abs(float(rest.std() - beta.sqrt())) < 0.05
    assert torch.equal(seen[1][2], after), "samples and data have the same noisier ones"
    assert step.losses["generator"] == [pytest.approx(math.log(2))] and step.losses["discriminator"] == [
        pytest.approx(2 * math.log(2))
    ]


@pytest.mark.parametrize(("low", "high", "steps"), [(0.1, 20.0, 4), (0.5, 5.0, 2), (0.1, 20.0, 1)])
def test_the_few_steps_are_those_of_the_sde(low, high, steps):
    d = denoising(beta_min=low, beta_max=high, steps=steps).diffusion
    t = 1e-3 + (1 - 1e-3) * torch.arange(steps + 1, dtype=torch.float64) / steps
    bar = (-0.5 * t**2 * (high - low) - t * low).exp()
    want = (bar / bar[0]).float()
    assert torch.allclose(d.alpha_bar, want, atol=1e-6) and len(d.betas) == steps


@pytest.mark.parametrize("kind", ["generator", "discriminator"])
def test_networks_of_points_see_waves_and_the_step(kind):
    spec = {"kind": "mlp", "width": 6, "depth": 2, "frequencies": [1.0, 3.0]}
    model = denoising(**{kind: spec})
    linear = [m for m in getattr(model, kind).net if isinstance(m, nn.Linear)]
    size = 2 * (1 + 4) + 3 + 4 if kind == "generator" else 4 * (1 + 4) + 4
    assert linear[0].in_features == size and len(linear) == 3 and linear[0].out_features == 6
    assert all(m.negative_slope == 0.2 for m in getattr(model, kind).net if isinstance(m, nn.LeakyReLU))
