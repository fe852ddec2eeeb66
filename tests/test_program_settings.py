"""What a program has set in torch changes nothing: autocast, a default device or type, inference mode, no gradients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from training_runs import recipe, weights

import dgmcore


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


STATES = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "device": lambda: torch.device("meta"),
    "float64": lambda: default_dtype(torch.float64),
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
}


def answers(model: dgmcore.Model) -> dict[str, torch.Tensor]:
    from dgm_latent.interpolate import between_samples
    from dgm_latent.reconstruct import reconstruct

    x = torch.linspace(-1, 1, 8, device="cpu", dtype=torch.float32).view(4, 2)
    (nll,) = dgmcore.evaluate(model, "nll", 8)
    return {
        "sample": dgmcore.sample(model, 4, seed=1),
        "score": dgmcore.score(model, x).values,
        "evaluate": torch.tensor(nll.value, device="cpu", dtype=torch.float64),
        "reconstruct": reconstruct(model, x),
        "interpolate": between_samples(model, 1, 3, seed=1),
        "distribution": model.as_distribution(accept="estimate").log_prob(x),
    }


@pytest.fixture(scope="module", params=["ffjord-moons", "nice-moons"])
def judged(request):
    model = dgmcore.load(request.param)
    return model, answers(model)


@pytest.mark.parametrize("state", STATES)
def test_models_give_the_same(judged, state):
    model, expected = judged
    with STATES[state]():
        found = answers(model)
    for question, value in expected.items():
        assert found[question].dtype == value.dtype and torch.equal(found[question], value.detach()), question


def test_a_training_gives_the_same(trainer, here):
    expected = weights(dgmcore.train(recipe(name="plain")))
    for number, state in enumerate(STATES.values()):
        with state():
            found = weights(dgmcore.train(recipe(name=f"set{number}")))
        assert all(torch.equal(found[name], value) for name, value in expected.items())
