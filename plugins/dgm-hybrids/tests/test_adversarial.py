"""The game of a base against its critic: both losses where they are known, R1, and the likelihood that stays."""

from __future__ import annotations

import math

import pytest
import torch
from dgm_hybrids.adversarial import AdversarialLikelihood, r1_penalty
from dgm_hybrids.vaebm import VAEBM
from test_hybrids_options import BATCH, Base, Level, Recorder
from torch import nn
from torch.nn.functional import softplus

from dgmcore import Likelihood, Model
from dgmcore.errors import OptionError


class Slope(Model):
    """score(x) = b + w . x"""

    def __init__(self, config=None, **parts):
        super().__init__(config, **parts)
        self.weight = nn.Parameter(torch.tensor([3.0, 4.0]))
        self.level = nn.Parameter(torch.zeros(()))

    def score(self, x):
        return self.level + x @ self.weight


def game(critic=None, base=None, config=None, **options):
    model = VAEBM(config, base=base or Base(), critic=critic or Level())
    said = {"likelihood_weight": 0.0, "r1": 0.0, **options}
    return AdversarialLikelihood(model, AdversarialLikelihood.Options(**said))


def played(step, **options):
    game(**options).step(step)
    return step


def test_both_players_have_the_non_saturating_losses():
    critic = Level()
    nn.init.constant_(critic.level, 0.7)
    losses = played(Recorder(), critic=critic).losses
    up, down = softplus(torch.tensor([-0.7, 0.7])).tolist()
    assert losses["critic"] == [pytest.approx(up + down)] and losses["base"] == [pytest.approx(up)]


@pytest.mark.parametrize(("index", "share"), [(0, 1.0), (3, 0.0), (4, 1.0)])
def test_r1_is_half_of_gamma_times_the_squared_slope_and_as_heavy_as_it_is_rare(index, share):
    without = played(Recorder(index=index), critic=Slope()).losses["critic"][0]
    with_r1 = played(Recorder(index=index), critic=Slope(), r1=0.6, r1_every=4).losses["critic"][0]
    assert with_r1 - without == pytest.approx(share * 4 * 0.3 * (3**2 + 4**2), abs=1e-4)


def test_the_penalty_is_the_mean_over_data_of_the_squared_norm():
    x = BATCH.clone().requires_grad_()
    want = 4 * BATCH.square().sum(1).mean()  # the gradient of |x|^2 is 2 x
    assert torch.isclose(r1_penalty(x.square().sum(1), x).detach(), want, rtol=1e-5)


@pytest.mark.parametrize(("index", "share"), [(0, 1.0), (1, 0.0), (2, 1.0)])
def test_the_likelihood_of_a_number_counts_with_its_weight_and_as_much_as_it_is_rare(index, share):
    step = played(Recorder(index=index), likelihood_weight=0.5, likelihood_every=2)
    nats = -float(BATCH.square().sum(1).mean()) / 2  # of each of the two numbers of a datum
    assert step.losses["base"][0] == pytest.approx(math.log(2) - share * 2 * 0.5 * nats, rel=1e-5)


def test_an_exact_density_is_asked_without_noise():
    class Flow(Base):
        likelihood = Likelihood.EXACT

        def log_prob(self, x):
            return -x.square().sum(1)

    step = played(Recorder(), base=Flow(), likelihood_weight=1.0)
    assert step.logged["likelihood"] == pytest.approx(-float(BATCH.square().sum(1).mean()) / 2, rel=1e-5)


def test_draws_are_at_their_mean_where_the_model_holds_them_there():
    phase = game(config={"mean": ["x"]})
    assert torch.equal(phase._draws(Recorder(), len(BATCH)), Recorder().noise().named({"z": (2,)})["z"])


def test_the_game_carries_draws_to_the_data():
    """Draws are gain * z, data 2 z: against a critic that sees the spread, the gain goes to 2."""

    class Spread(Model):
        def __init__(self, config=None, **parts):
            super().__init__(config, **parts)
            self.weight, self.level = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))

        def score(self, x):
            return self.level + self.weight * x.square().sum(1)

    phase = game(critic=Spread(), config={"mean": ["x"]}, r1=0.1, r1_every=1)
    optimizers = {k: torch.optim.Adam(list(p), 0.02, betas=(0.0, 0.9)) for k, p in phase.parameters().items()}

    class Step(Recorder):
        def batch(self):
            return 2 * BATCH[:256].roll(self.index, 0)

        def minimize(self, loss, optimizer="model", *, retain_graph=False):
            optimizers[optimizer].zero_grad()
            loss.backward()
            optimizers[optimizer].step()

    for index in range(400):
        phase.step(Step(BATCH[:256], index))
    assert float(phase.model.parts["base"].gain.detach()) == pytest.approx(2.0, abs=0.2)
    assert phase.averaged() is phase.model.parts["base"]


def test_parts_that_are_entries_of_their_own_are_refused():
    for name in ("base", "critic"):
        model = VAEBM(base=Base(), critic=Level())
        model.shared_parts[name] = "some-entry"
        with pytest.raises(OptionError, match=f"trains the {name}"):
            AdversarialLikelihood(model, AdversarialLikelihood.Options())


def test_held_out_data_are_judged_by_the_likelihood():
    phase = game()
    assert torch.allclose(phase.validate(BATCH, Recorder().noise()), BATCH.square().sum(1))
