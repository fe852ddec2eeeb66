"""What each option of the hybrids' training phases does, where the right value is known."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from dgm_hybrids.training import EnergyPhase, GLFPhase, VAEFlowPhase
from dgm_hybrids.vaebm import VAEBM
from torch import nn

from dgmcore import Likelihood, Model
from dgmcore.loading.load import build
from dgmcore.sampling.stream_noise import StreamNoise

N = 4000
BATCH = StreamNoise(7, N, scope="data").normal(2)


class Base(Model):
    """x = z + eps_x / 2; a code is half of a datum, and is decoded to minus four times itself."""

    likelihood = Likelihood.LOWER_BOUND
    noise_shapes: dict[str, Any]

    def __init__(self, config=None, **parts):
        super().__init__(config, **parts)
        self.event_shape, self.noise_shapes = (2,), {"z": (2,), "x": (2,)}
        self.gain = nn.Parameter(torch.ones(()))

    def push(self, eps):
        return self.gain * eps["z"] + 0.5 * eps["x"]

    def sample(self, noise):
        return self.push(noise.named(self.noise_shapes))

    def log_prob(self, x, *, noise=None):
        return -x.square().sum(1)

    def joint(self, eps, log_sigma_min=None):
        x = self.push(eps)
        return x, -eps["z"].square().sum(1) / 2, -(x - eps["z"]).square().sum(1)

    def encode(self, x):
        return x / 2

    def decode(self, z):
        return -4 * z


class Level(Model):
    """A score that is the same number everywhere."""

    def __init__(self, config=None, **parts):
        super().__init__(config, **parts)
        self.level = nn.Parameter(torch.tensor(0.0))

    def score(self, x):
        return self.level + 0.0 * x.sum(1)


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


def energy(level=0.0, **options):
    """A phase whose regularisation is off, and the model's critic a number."""
    model = VAEBM(base=Base(), critic=Level())
    nn.init.constant_(model.parts["critic"].level, level)
    return EnergyPhase(model, EnergyPhase.Options(**{"steps": 0, "spectral_weight": 0.0, "adam_clip": None, **options}))


def contrasted(**options):
    """The data and the negatives that the loss sees."""
    phase, seen = energy(**options), []
    phase.contrast = lambda step, data, negatives: seen.append((data, negatives)) or torch.zeros(())
    phase.step(Recorder())
    return seen[0]


# --- the energy ------------------------------------------------------------------------------------


def test_noise_of_its_deviation_is_added_to_data_and_negatives_alike():
    data, negatives = contrasted()
    assert torch.equal(data, BATCH)
    noised, worse = contrasted(data_noise=3.0)
    first, second = noised - data, worse - negatives
    assert abs(first.std() - 3) < 0.1 and abs(second.std() - 3) < 0.1
    assert abs((first * second).mean()) < 0.5, "not the same noise"


def test_positives_are_the_data_or_their_reconstructions():
    assert torch.equal(contrasted(positives="data")[0], BATCH)
    assert torch.allclose(contrasted(positives="reconstruction")[0], -2 * BATCH)


def test_negatives_have_the_pixels_noise_or_not():
    sample, mean = contrasted()[1], contrasted(negatives="mean")[1]
    assert abs((sample - mean).std() - 0.5) < 0.02, "of the decoder's deviation"


def test_the_ratio_is_a_logistic_regression():
    step = Recorder()
    energy(level=0.7, loss="ratio").step(step)
    want = math.log1p(math.exp(-0.7)) + math.log1p(math.exp(0.7))
    assert step.losses["model"] == [pytest.approx(want, rel=1e-5)] and step.logged["score_data"] == pytest.approx(0.7)


def test_large_scores_cost_their_mean_squares():
    for weight in (0.0, 0.3):
        energy(level=2.0, energy_weight=weight).step(step := Recorder())
        assert step.losses["model"] == [pytest.approx(weight * (2.0**2 + 2.0**2))], "of data and negatives"


@pytest.mark.parametrize("batches", [0, 3])
def test_the_network_looks_at_so_many_batches_first(batches):
    phase, seen = energy(init_batches=batches), []
    phase.model.parts["critic"].initialize = seen.append
    phase.setup(Recorder())
    assert [len(x) for x in seen] == ([batches * len(BATCH)] if batches else [])


@pytest.mark.parametrize("weight", [0.5, 2.0])
def test_the_generator_climbs_the_score_with_its_weight(weight):
    step = Recorder()
    energy(level=3.0, kl_weight=weight).step(step)
    assert step.losses["base"] == [pytest.approx(-3.0 * weight)]
    energy(level=3.0).step(step := Recorder())
    assert "base" not in step.losses


def test_chains_are_as_the_options_say():
    said = {"steps": 3, "step_size": 0.25, "temperature": 0.5, "gradient_clip": 2.0, "start": {"x": 0.0}}
    phase, seen = energy(sampler="metropolis", **said), []

    def chain(eps, noise, chosen):
        seen.append((eps, chosen))
        return iter([eps])

    phase.model.chain = chain
    negatives = phase.negatives(Recorder(), StreamNoise(0, N))
    eps, chosen = seen[0]
    assert {key: getattr(chosen, key) for key in said} == said and chosen.sampler == "metropolis"
    assert not eps["x"].any() and torch.allclose(negatives, eps["z"]), "the start of the pixels' noise is 0"


@pytest.mark.parametrize(("index", "share"), [(0, 0.0), (25, 0.2), (50, 0.4), (100, 0.8), (1000, 0.8)])
def test_chains_start_from_the_buffer_more_and_more(index, share):
    phase = energy(buffer_size=N, buffer_probability=0.8, buffer_anneal=100)
    phase.negatives(Recorder(), StreamNoise(0, N))  # fills it
    for stored in phase.buffer.states.values():
        stored.fill_(9.0)
    seen = []
    phase.model.chain = lambda eps, noise, chosen: seen.append(eps) or iter([eps])
    phase.negatives(Recorder(index=index), StreamNoise(3, N))
    old = (seen[0]["z"] == 9.0).all(1).float().mean()
    assert abs(float(old) - share) < 0.04 and (seen[0]["x"] != 9.0).all(), "pixel noise is always fresh"


# --- flows of codes --------------------------------------------------------------------------------


def latent(architecture, phase, **options):
    first = {"glf": "autoencoder", "vaeflow": "base"}[architecture]
    config = {"event_shape": [1, 8, 8], "latents": 3, "widths": [4, 8], "hidden": 16}
    coder = {"glf": "conv-autoencoder", "vaeflow": "conv-vae"}[architecture]
    flow = {"architecture": "coupling", "config": {"dim": 3, "blocks": 2, "hidden": 16}}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(architecture, {}, {first: {"architecture": coder, "config": config}, "flow": flow}).eval()
    return phase(model, phase.Options(**options))


PICTURES = StreamNoise(2, 50).normal(1, 8, 8).clamp(-1, 1)


@torch.no_grad()
def losses(architecture, phase, **options):
    step = Recorder(PICTURES)
    made = latent(architecture, phase, **options)
    made.step(step)
    return step, made


@torch.no_grad()
def test_beta_and_the_number_of_the_flows_steps():
    (one, phase), (more, _) = losses("glf", GLFPhase), losses("glf", GLFPhase, beta=3.0, flow_steps=4)
    z = phase.coder.encode(PICTURES)
    error = (phase.coder.decode(z) - PICTURES).square().flatten(1).sum(1)
    assert one.losses["autoencoder"] == [pytest.approx(float(error.mean()), rel=1e-4)]
    assert more.losses["autoencoder"] == [pytest.approx(3 * float(error.mean()), rel=1e-4)]
    assert len(one.losses["flow"]) == 1 and len(more.losses["flow"]) == 4
    nll = -phase.model.parts["flow"].log_prob(z)
    assert one.losses["flow"] == [pytest.approx(float(nll.mean()), rel=1e-4)]
    for beta in (1.0, 3.0):
        held = latent("glf", GLFPhase, beta=beta).validate(PICTURES, StreamNoise(0, 50))
        assert torch.allclose(held, beta * error + nll, rtol=1e-4)


def test_without_the_stop_the_flow_pulls_at_the_codes():
    (stop, _), (pull, _) = (losses("glf", GLFPhase, stop_gradient=s) for s in (True, False))
    want = stop.losses["autoencoder"][0] + stop.losses["flow"][0]
    assert pull.losses["autoencoder"] == [pytest.approx(want, rel=1e-4)]


def test_noise_on_codes_is_in_their_own_deviations():
    phase = latent("glf", GLFPhase, code_noise=0.5)
    z = BATCH * torch.tensor([1.0, 10.0]) + 100.0
    noise = phase.blurred(z, Recorder()) - z
    assert torch.allclose(noise.std(0), 0.5 * z.std(0), rtol=0.05) and abs(noise.mean(0)[1]) < 0.5
    assert torch.equal(latent("glf", GLFPhase).blurred(z, Recorder()), z)


@pytest.mark.parametrize(("initial", "drawn"), [(1, 50), (50, 50), (51, 100), (512, 550)])
def test_the_flow_is_fitted_to_so_many_codes_first(initial, drawn):
    phase, seen = latent("glf", GLFPhase, initial=initial), []
    phase.model.parts["flow"].initialize = seen.append
    step = Recorder(PICTURES)
    phase.setup(step)
    assert step.drawn == len(seen[0]) == drawn


@torch.no_grad()
@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_the_perceptual_loss_has_its_weight(weight):
    plain = losses("glf", GLFPhase)[0].losses["autoencoder"][0]
    phase, step = latent("glf", GLFPhase, perceptual_weight=weight), Recorder(PICTURES)
    phase.extractor = SimpleNamespace(features=lambda x: x.flatten(1))
    phase.step(step)
    y = phase.coder.decode(phase.coder.encode(PICTURES))
    want = float((y - PICTURES).abs().flatten(1).sum(1).mean())
    assert step.logged["perceptual"] == pytest.approx(want, rel=1e-4)
    assert step.losses["autoencoder"][0] == pytest.approx(plain + weight * want, rel=1e-4)


@pytest.mark.parametrize("beta", [1.0, 4.0])
def test_the_bound_of_a_vae_with_a_flow_weighs_the_reconstruction(beta):
    step, _ = losses("vaeflow", VAEFlowPhase, beta=beta)
    logged = step.logged
    want = -logged["entropy"] + logged["nll"] - beta * logged["recon"]
    assert step.losses["base"] == [pytest.approx(want, rel=1e-4)]
    assert logged["elbo"] == pytest.approx(logged["recon"] - logged["nll"] + logged["entropy"], rel=1e-4)
    assert step.losses["flow"] == [pytest.approx(logged["nll"], rel=1e-4)]
