"""The times and levels that training draws: their distribution, and that their ends are finite."""

from __future__ import annotations

import math

import pytest
import torch
from dgm_diffusion.flowmatching.model import FlowMatching
from dgm_diffusion.flowmatching.phases import Match
from dgm_diffusion.labels import labels_of
from dgm_diffusion.training import MatchDenoiser
from dgm_diffusion.vesde import VESDE

from dgmcore.noise import IndexedNoise
from dgmcore.sampling.stream_noise import StreamNoise


class Ends(StreamNoise):
    """Noise whose first uniform number is 0: one of the spread times is the very end."""

    def _draw(self, kind, shape, name, dtype=None):
        return super()._draw(kind, shape, name, dtype).mul_(0.0)


@pytest.mark.parametrize("noise", [Ends(0, 4000), StreamNoise(1, 4000)], ids=["ends", "random"])
def test_times_are_logit_normal_and_never_0_or_1(noise):
    phase = Match(FlowMatching(FlowMatching.example), Match.Options(times="logit-normal"))
    t = phase.times(noise, torch.zeros(4000, dtype=torch.float64))
    normal = torch.logit(t)
    assert abs(normal.mean()) < 0.01 and abs(normal.std() - 1) < 0.01
    assert t.min() >= torch.sigmoid(torch.tensor(-3.72)) and t.max() <= torch.sigmoid(torch.tensor(3.72)), "cut at 1e-4"
    plain = Match(phase.model, Match.Options()).times(noise, torch.zeros(4000))
    assert abs(plain.mean() - 0.5) < 0.01 and abs(plain.std() - 1 / math.sqrt(12)) < 0.01


@pytest.mark.parametrize("noise", [Ends(0, 4000), StreamNoise(1, 4000)], ids=["ends", "random"])
def test_levels_are_log_normal_within_those_of_the_model(noise):
    model = VESDE({**VESDE.example, "sigma_min": 1e-6, "sigma_max": 1e4})
    like = torch.zeros(4000, dtype=torch.float64)
    logs = (
        MatchDenoiser(model, MatchDenoiser.Options(levels="log-normal", mean=-0.5, std=2.0)).levels(noise, like).log()
    )
    assert abs(logs.mean() + 0.5) < 0.02 and abs(logs.std() - 2.0) < 0.02
    assert (logs + 0.5).abs().max() <= 2 * 3.72, "cut at 1e-4"
    narrow = VESDE({**VESDE.example, "sigma_min": 0.02, "sigma_max": 30.0})
    levels = MatchDenoiser(narrow, MatchDenoiser.Options(levels="log-normal", std=10.0)).levels(noise, like)
    assert levels.min() == pytest.approx(0.02) and levels.max() == pytest.approx(30.0)


def test_labels_go_round_by_the_numbers_of_samples_whatever_the_batch():
    whole = labels_of([3, 1, 2], IndexedNoise(0, 8), 5)
    parts = [labels_of([3, 1, 2], IndexedNoise(0, n, start), 5) for start, n in ((0, 2), (2, 5), (7, 1))]
    assert torch.equal(whole, torch.cat(parts)) and whole.tolist() == [3, 1, 2, 3, 1, 2, 3, 1]
    child = IndexedNoise(0, 5).child("a").narrow(2, 3)
    assert labels_of([3, 1, 2], child, 5).tolist() == [2, 3, 1]
    assert labels_of([3, 1, 2], StreamNoise(0, 4), 5).tolist() == [3, 1, 2, 3], "a stream begins anew"
