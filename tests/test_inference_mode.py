"""Every architecture gives the same under `torch.inference_mode()`, also those that take gradients inside."""

from __future__ import annotations

import pytest
import torch
from dgm_authors.subject import subject

from dgmcore import plugins


def answers(s):
    """Returns what the model says of 4 samples, by question."""

    model, found = s.model, {}
    x = s.data(4).clone()
    if model.can("generator"):
        found["sample"] = model.sample(s.noise(4))
    if model.can("trajectory"):
        *_, found["trajectory"] = model.trajectory(s.noise(4))
    if model.can("density"):
        found["log_prob"] = s.log_prob(x)
    if model.can("critic"):
        found["score"] = model.score(x)
    if model.can("encoder"):
        found["decode"] = model.decode(model.encode(x))
    return found


@pytest.mark.parametrize("architecture", sorted(plugins.architectures()))
def test_inference_mode_changes_nothing(architecture):
    cls = plugins.architecture(architecture)
    if cls.Parts and not cls.example_parts:
        pytest.skip("the parts are anybody's: see test_compose and test_vaebm")
    s = subject(architecture)
    with torch.inference_mode():
        inside = answers(s)
    with torch.no_grad():
        outside = answers(s)
    assert inside.keys() == outside.keys()
    for question, value in outside.items():
        assert torch.equal(inside[question], value), question
    if s.model.can("critic"):  # what was kept inside is no obstacle to gradients outside
        x = s.data(4).clone().requires_grad_(True)
        torch.autograd.grad(s.model.score(x).sum(), x, allow_unused=True)


def test_a_critic_without_a_gradient_of_its_own_has_one_in_inference_mode():
    from dgm_ebms.odeflow import ascent

    s = subject("conv-energy")
    x, tangents = s.data(3), torch.randn(2, 3, *s.shape)
    expected = ascent(s.model, x, tangents)
    with torch.inference_mode():
        found = ascent(s.model, x.clone(), tangents)
    assert all(torch.allclose(a, b) for a, b in zip(found, expected, strict=True))
