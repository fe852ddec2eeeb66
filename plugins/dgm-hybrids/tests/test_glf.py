"""GLF and VAEs with a flow prior: their densities, what trains what, and their parts."""

from __future__ import annotations

import math
from copy import deepcopy

import numpy as np
import pytest
import torch
from dgm_hybrids.glf import GLF, VAEFlow
from dgm_hybrids.training import GLFPhase, VAEFlowPhase

import dgmcore
from dgmcore import IndexedNoise
from dgmcore.entry import Data
from dgmcore.errors import DgmError, TrainingError, UsageError
from dgmcore.loading.load import build
from dgmcore.sampling.stream_noise import StreamNoise
from dgmcore.testing import parametrize_with_checks


@parametrize_with_checks(["hybrids"])
def test_conformance(check, device):
    check(device)


class Step:
    """The part of a training step that the phases use; data are 8x8 pictures of a bar at one of eight places."""

    total, progress, device = None, 0.0, torch.device("cpu")

    def __init__(self, phase, lr=5e-3, size=64):
        self.phase, self.size, self.index, self.logged = phase, size, 0, {}
        self.optimizers = {k: torch.optim.Adam(list(p), lr) for k, p in phase.parameters().items()}

    def batch(self):
        noise = StreamNoise(0, self.size, scope=f"batch{self.index}")
        return bars(noise)

    def noise(self, n=None):
        return StreamNoise(1, n or self.size, scope=f"step{self.index}")

    def log(self, **values):
        self.logged.update({k: float(v) for k, v in values.items()})

    def minimize(self, loss, optimizer="model", *, retain_graph=False):
        self.optimizers[optimizer].zero_grad()
        inputs = [p for group in self.optimizers[optimizer].param_groups for p in group["params"]]
        torch.autograd.backward(loss, inputs=inputs)
        self.optimizers[optimizer].step()

    def go(self, steps):
        self.phase.setup(self)
        for self.index in range(steps):
            self.phase.step(self)
        return self


def bars(noise):
    place = noise.integers(8)
    x = -torch.ones(len(place), 1, 8, 8)
    x[torch.arange(len(place)), 0, :, place] = 1.0
    return (x * (1 - 0.5 * noise.uniform(1, 1, 1))).clamp(-1, 1)


def made(architecture, coder, seed=0, **flow):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first = "autoencoder" if architecture == "glf" else "base"
        flow = {"architecture": "coupling", "config": {"dim": 3, "blocks": 2, "hidden": 16, **flow}}
        return build(architecture, {}, {first: coder, "flow": flow}).train()


AE = {
    "architecture": "conv-autoencoder",
    "config": {"event_shape": [1, 8, 8], "latents": 3, "widths": [4, 8], "hidden": 16},
}
VAE = {"architecture": "conv-vae", "config": {**AE["config"], "decoder": "gaussian", "sigma": 1.0}}


def glf(seed=0, **flow):
    return made("glf", AE, seed, **flow)


def vaeflow(sigma=1.0):
    return made("vaeflow", {**VAE, "config": {**VAE["config"], "sigma": sigma}})


def run(phase, model, steps, **options):
    return Step(phase(model, phase.Options(**options))).go(steps)


# --- what trains what ------------------------------------------------------------------------------


def trained_coder(stop, flow_lr):
    model = glf()
    step = Step(GLFPhase(model, GLFPhase.Options(stop_gradient=stop)))
    step.optimizers["flow"].param_groups[0]["lr"] = flow_lr
    step.go(5)
    return torch.cat([p.detach().flatten() for p in model.parts["autoencoder"].parameters()])


def test_the_gradient_stops_at_the_codes():
    # whatever the flow does, the auto-encoder learns the same; without the stop it does not
    assert torch.equal(trained_coder(True, 1e-3), trained_coder(True, 1e-1))
    assert not torch.equal(trained_coder(False, 1e-3), trained_coder(False, 1e-1))


def test_one_stage_learns_to_reconstruct_and_to_draw():
    model = glf()
    step = run(GLFPhase, model, 150)
    x = bars(IndexedNoise(5, 200))
    model.eval()
    with torch.no_grad():
        error = (model.decode(model.encode(x)) - x).square().mean()
        assert error < 0.3 * x.var()
        codes = model.encode(x)
        # f(E(x)) is about N(0, I)
        assert codes.mean(0).abs().max() < 0.5
        assert (codes.std(0) - 1).abs().max() < 0.4
        samples = model.sample(IndexedNoise(0, 200))
    assert (samples.mean(0) - x.mean(0)).abs().mean() < 0.15
    assert step.logged["nll"] < 20


def test_codes_shrink_without_the_stop():
    scales = {}
    for stop in (True, False):
        step = run(GLFPhase, glf(), 50, stop_gradient=stop, beta=0.01)
        scales[stop] = step.logged["code_scale"], step.logged["nll"]
    assert scales[False][0] < 0.2 * scales[True][0]
    assert scales[False][1] < scales[True][1] - 3, "the smaller the codes, the lower the flow's loss: no bound"


def test_noise_on_the_codes_widens_what_the_flow_learns():
    spread = {}
    for noise in (0.0, 1.0):
        model = glf()
        run(GLFPhase, model, 40, code_noise=noise)
        with torch.no_grad():
            spread[noise] = model.eval().encode(bars(IndexedNoise(5, 200))).std()
    # codes of data look narrow to a flow of codes with as much noise again
    assert abs(spread[1.0] / spread[0.0] - 0.5**0.5) < 0.2


def test_a_part_that_is_an_entry_stays():
    model = glf()
    before = deepcopy(model.parts["autoencoder"].state_dict())
    model.shared_parts["autoencoder"] = "some-autoencoder"
    model.parts["autoencoder"].requires_grad_(False)
    model.train()
    run(GLFPhase, model, 3)
    after = model.parts["autoencoder"].state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)
    model.shared_parts["flow"] = "some-flow"
    with pytest.raises(TrainingError):
        GLFPhase(model, GLFPhase.Options())


def test_beta_weighs_the_reconstruction():
    logged = {beta: run(VAEFlowPhase, vaeflow(), 40, beta=beta).logged for beta in (0.01, 1.0, 100.0)}
    stds = [logged[b]["posterior_std"] for b in logged]
    recons = [logged[b]["recon"] for b in logged]
    assert stds[0] > stds[1] > stds[2], "the posterior narrows"
    assert recons[0] < recons[1] < recons[2]


def test_beta_is_the_decoders_precision():
    by_beta, by_sigma = vaeflow(1.0), vaeflow(0.5)
    for model, beta in ((by_beta, 4.0), (by_sigma, 1.0)):
        run(VAEFlowPhase, model, 3, beta=beta)
    for (name, p), q in zip(by_beta.named_parameters(), by_sigma.parameters(), strict=True):
        assert torch.allclose(p, q, atol=2e-4), name


# --- densities -------------------------------------------------------------------------------------


class LinearVAE(dgmcore.Model):
    """x = z + s eps with z ~ N(m, v): its posterior and its marginal are known."""

    noise_shapes = {"z": (2,), "x": (2,)}
    event_shape = code_shape = (2,)
    likelihood = dgmcore.Likelihood.LOWER_BOUND
    s, m, v = 0.5, 1.0, 4.0

    def push(self, eps):
        return eps["z"] + self.s * eps.get("x", 0)

    def sample(self, noise, **options):
        return self.push(noise.named(self.noise_shapes))

    def encode(self, x):
        return self.infer(x, torch.zeros_like(x))[0]

    def decode(self, z):
        return z

    def log_prob(self, x, *, noise=None):
        raise NotImplementedError

    def conditional(self, z):
        return torch.distributions.Independent(torch.distributions.Normal(z, self.s), 1)

    def infer(self, x, eps, widen=1.0):
        precision = 1 / self.s**2 + 1 / self.v
        mean, std = (x / self.s**2 + self.m / self.v) / precision, widen * precision**-0.5
        z = mean + std * eps
        return z, torch.distributions.Normal(mean, std).log_prob(z).sum(1), None


class Wide(LinearVAE):
    """The same with a posterior that is too wide."""

    def infer(self, x, eps):
        return super().infer(x, eps, widen=1.5)


@pytest.mark.parametrize(("base", "k"), [(LinearVAE, 1), (Wide, 500)])
def test_log_prob_is_the_marginal_of_a_linear_model(base, k):
    flow = build("coupling", {"dim": 2, "blocks": 1, "hidden": 4})
    square = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    flow.initialize(LinearVAE.m + math.sqrt(LinearVAE.v) * square)  # whitens to N(0, 1), so is N(m, v)
    model = VAEFlow(base=base(), flow=flow)
    x = 3 * torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    expected = torch.distributions.Normal(1.0, math.sqrt(4 + 0.25)).log_prob(x).sum(1)
    with torch.no_grad():
        found = model.log_prob(x, k=k)
        elbo = model.log_prob(x)
    assert torch.allclose(found, expected, atol=1e-4 if k == 1 else 0.15)
    assert k == 1 or elbo.mean() < expected.mean() - 0.1


def test_code_log_prob_is_the_flows():
    model = glf().eval()
    x = bars(IndexedNoise(0, 4))
    codes = model.parts["autoencoder"].encode(x)
    assert torch.equal(model.code_log_prob(x), model.parts["flow"].log_prob(codes))


# --- parts -----------------------------------------------------------------------------------------


def test_parts_that_do_not_fit_are_named():
    with pytest.raises(UsageError, match=r"GLF.*\(3,\).*\(4,\)"):
        glf(dim=4)
    with pytest.raises(UsageError, match=r"no pushforward"):
        made("vaeflow", AE)


def test_any_vector_flow_and_any_encoder_will_do():
    vae = {**VAE, "config": {**VAE["config"], "sigma": "global"}}
    flow = {"architecture": "nsf", "config": {"dim": 3, "transforms": 1, "hidden": [8]}}
    model = build("glf", {}, {"autoencoder": vae, "flow": flow}).eval()
    assert model.sample(IndexedNoise(0, 2)).shape == (2, 1, 8, 8)
    assert isinstance(model, GLF)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("bars.npy", bars(IndexedNoise(3, 256)).numpy())
    return tmp_path


def recipe(name="bars-glf", steps=4, **options):
    phase = {"phase": "glf", "batch_size": 32, "steps": steps, "options": {"initial": 64, **options}}
    flow = {"architecture": "coupling", "config": {"dim": 3, "blocks": 2, "hidden": 8}}
    return {
        "schema": 1,
        "name": name,
        "architecture": "glf",
        "license": "CC0-1.0",
        "data": {"dataset": "bars.npy", "range": [-1, 1]},
        "parts": {"autoencoder": AE, "flow": flow},
        "phases": [{**phase, "optimizer": {"lr": 0.01}}],
    }


def test_a_part_is_an_entry_of_its_own(here):
    data = recipe()
    data["parts"]["autoencoder"] = {**AE, "save_as": "bars-ae"}
    folder = dgmcore.train(data)
    model, part = dgmcore.load(folder), dgmcore.load(folder / "parts/bars-ae")
    x = bars(IndexedNoise(0, 4))
    with torch.no_grad():
        assert torch.equal(part.encode(x), model.parts["autoencoder"].encode(x))
    assert model.shared_parts == {"autoencoder": "bars-ae"}
    assert all(k.startswith("parts.flow.") for k in model.own_state())
    # and another flow on the same codes: two stages
    again = recipe("bars-second")
    again["parts"]["autoencoder"] = str(folder.resolve() / "parts/bars-ae")
    second = dgmcore.load(dgmcore.train(again))
    with torch.no_grad():
        assert torch.equal(second.parts["autoencoder"].encode(x), part.encode(x))


def test_the_perceptual_loss_brings_features_together(here):
    config = {"event_shape": [1, 8, 8], "channels": [8], "kernel": 3, "width": 16}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build("classifier", config).eval()
    bounds = Data(dataset="bars", event_shape=(1, 8, 8), range=(-1.0, 1.0), levels=None)
    features = network.save(here / "bars-features", name="bars-features", license="CC0-1.0", data=bounds)
    extractor = dgmcore.load(features)
    x = bars(IndexedNoise(0, 64))
    distances = {}
    for name, options in (("plain", {}), ("perceptual", {"perceptual": str(features), "perceptual_weight": 30.0})):
        model = dgmcore.load(dgmcore.train(recipe(f"bars-{name}", steps=40, **options)))
        with torch.no_grad():
            y = model.decode(model.encode(x))
            distances[name] = float((extractor.features(x) - extractor.features(y)).abs().sum(1).mean())
    assert distances["perceptual"] < 0.9 * distances["plain"]
    with pytest.raises(DgmError):
        dgmcore.train(recipe("bars-wrong", perceptual="no-such-entry"))
