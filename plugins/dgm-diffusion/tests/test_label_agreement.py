"""The metric of models that draw what they are asked for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from dgm_diffusion import metrics
from dgm_diffusion.flowmatching.model import FlowMatching

from dgmcore.entry import Data, Entry, Metric
from dgmcore.errors import DgmError


class Painter(FlowMatching):
    """Draws the label it is asked for as a constant; class 2 looks like class 0."""

    def sample(self, noise, **options):
        labels = torch.tensor(self.sampling(options).label)[(noise.start + torch.arange(noise.n)) % 5]
        return torch.where(labels == 2, 0, labels)[:, None].float().expand(-1, 2)


class Reader:
    def __init__(self, name, data, device):
        assert name == "lenet-fashion"

    def logits(self, x):
        return -(x[:, :1] - torch.arange(5.0)).abs()

    def fields(self):
        return {"features": "lenet-fashion"}


def run_of(model, asked=None):
    entry = Entry(schema=1, name="x", architecture="x", license="MIT", data=Data(dataset="fashion", event_shape=(2,)))

    def record(name, value, **fields):
        return Metric(name=name, value=value, **fields)

    return SimpleNamespace(model=model, entry=entry, asked=asked, seed=0, record=record)


@pytest.mark.parametrize(("asked", "n"), [(None, 1000), (50, 50)])
def test_the_share_of_samples_that_are_what_was_asked_for(monkeypatch, asked, n):
    monkeypatch.setattr(metrics, "call", {"extractor": Reader}.__getitem__)
    found = metrics.label_agreement(run_of(Painter({"classes": 5}), asked))
    assert found.value == pytest.approx(0.8) and found.n == n
    assert found.sampling["label"] == [0, 1, 2, 3, 4], "plain data, as an entry has them"
    assert found.std == pytest.approx((0.8 * 0.2 / n) ** 0.5)
    assert found.interval == pytest.approx({1000: (0.774, 0.8236), 50: (0.6696, 0.8876)}[n], abs=1e-4), "Wilson's"


def test_models_without_classes_have_no_agreement():
    run = run_of(Painter())
    assert not metrics.label_agreement.requirements.applies(run)
    with pytest.raises(DgmError, match="takes no label"):
        metrics.label_agreement(run)
