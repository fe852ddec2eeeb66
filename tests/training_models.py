"""A one-file plugin of small models whose training has everything that a resume could lose."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

import dgmcore.hookspecs as dgm
from dgmcore import Config, Likelihood, Model
from dgmcore.training import Phase

PLUGIN_API = 1


class Blob(Model):
    """A Gaussian in the plane with a diagonal covariance."""

    phases = {"fit": "dgm_train.objectives:MaximumLikelihood", "point": f"{__name__}:Point"}
    likelihood = Likelihood.EXACT

    def __init__(self, config=None, **parts):
        super().__init__(config, **parts)
        self.event_shape = (2,)
        self.mean = nn.Parameter(torch.randn(2))
        self.log_std = nn.Parameter(torch.zeros(2))

    @property
    def noise_shapes(self):
        return {"z": (2,)}

    def push(self, eps):
        return self.mean + self.log_std.exp() * eps["z"]

    def sample(self, noise):
        return self.push(noise.named(self.noise_shapes))

    def log_prob(self, x):
        z = (x - self.mean) / self.log_std.exp()
        return (-0.5 * z.square() - self.log_std - 0.5 * math.log(2 * math.pi)).sum(-1)


class Point(Phase):
    """Brings the mean to where the options say; NaN or exploding from a step on, if they say so."""

    class Options(Config):
        to: float = 0.0
        nan_at: int | None = None
        explode_at: int | None = None
        poison_at: int | None = None

    def step(self, step):
        o = self.options
        loss = (self.model.mean - o.to).square().sum() + 0 * self.model.log_std.sum()
        if step.index == o.poison_at:  # a gradient that is lost though the loss is fine
            loss = loss + (self.model.mean * 0).abs().sqrt().sum()
        step.minimize(loss * {o.nan_at: math.nan, o.explode_at: 1e20}.get(step.index, 1.0))
        step.log(mean=self.model.mean[0])


class Duo(Model):
    """A generator and its critic: dropout, running statistics, two optimisers, second derivatives, a buffer."""

    class Config(Config):
        width: int = 16
        dropout: float = 0.25

    phases = {"play": f"{__name__}:Play", "mean": f"{__name__}:Mean"}

    def __init__(self, config=None, **parts):
        super().__init__(config, **parts)
        self.event_shape = (2,)
        w, p = self.config.width, self.config.dropout
        self.generator = nn.Sequential(nn.Linear(2, w), nn.BatchNorm1d(w), nn.SiLU(), nn.Dropout(p), nn.Linear(w, 2))
        self.critic = nn.Sequential(nn.Linear(2, w), nn.SiLU(), nn.Linear(w, 1))

    @property
    def noise_shapes(self):
        return {"z": (2,)}

    def push(self, eps):
        return self.generator(eps["z"])

    def sample(self, noise):
        return self.push(noise.named(self.noise_shapes))

    def score(self, x):
        return self.critic(x)[:, 0]


class Play(Phase):
    """WGAN-GP with a memory of old samples."""

    class Options(Config):
        critic_steps: int = 2

    optimizers = ("critic", "generator")

    def __init__(self, model, options):
        super().__init__(model, options)
        self.memory = torch.zeros(8, 2)

    def parameters(self):
        return {"critic": self.model.critic.parameters(), "generator": self.model.generator.parameters()}

    def averaged(self):
        return self.model.generator

    def step(self, step):
        for _ in range(self.options.critic_steps):
            x = step.batch()
            fake = self.model.sample(step.noise()).detach()
            fake = torch.cat([fake[8:], self.memory.to(fake.device)]) if len(fake) > 8 else fake
            middle = (x + step.noise().uniform(1) * (fake - x)).requires_grad_()
            (slope,) = torch.autograd.grad(self.model.score(middle).sum(), middle, create_graph=True)
            penalty = (slope.norm(dim=1) - 1).square().mean()
            step.minimize(self.model.score(fake).mean() - self.model.score(x).mean() + penalty, "critic")
        fake = self.model.sample(step.noise())
        step.minimize(-self.model.score(fake).mean(), "generator")
        self.memory = fake[:8].detach().cpu()
        step.log(penalty=penalty)

    def state(self):
        return {"memory": self.memory}

    def restore(self, state):
        self.memory = state["memory"]


class Mean(Phase):
    """Regresses the critic on the first coordinate: no noise, the same on any number of processes."""

    def parameters(self):
        return {"model": self.model.critic.parameters()}

    def setup(self, step):
        with torch.no_grad():
            self.model.critic[0].bias.fill_(0.1 * step.batch().ndim)

    def step(self, step):
        x = step.batch()
        step.minimize((self.model.score(x) - x[:, 0]).square().mean())

    def validate(self, x, noise):
        return (self.model.score(x) - x[:, 0]).square()


class Pair(Model):
    """A blob and a critic in one."""

    Parts = {"base": ("pushforward",), "critic": ("critic",)}
    phases = {"tilt": f"{__name__}:Tilt"}

    def __init__(self, config=None, **parts):
        super().__init__(config, **parts)
        self.event_shape = self.parts["base"].event_shape

    @property
    def noise_shapes(self):
        return self.parts["base"].noise_shapes

    def push(self, eps):
        return self.parts["base"].push(eps)

    def sample(self, noise):
        return self.push(noise.named(self.noise_shapes))

    def score(self, x):
        return self.parts["critic"].score(x)


class Tilt(Phase):
    """Moves the critic only."""

    def __init__(self, model, options):
        super().__init__(model, options)
        model.parts["base"].requires_grad_(False)

    def averaged(self):
        return self.model.parts["critic"]

    def step(self, step):
        x = step.batch()
        fake = self.model.sample(step.noise(len(x)))
        step.minimize(self.model.score(fake).mean() - self.model.score(x).mean())


@dgm.hookimpl
def dgm_architectures():
    return [
        {
            "name": f"train-{k.__name__.lower()}",
            "family": "toys",
            "import": f"{__name__}:{k.__name__}",
            "summary": "A toy.",
        }
        for k in (Blob, Duo, Pair)
    ]


def install(home: Path) -> None:
    """Makes this file a plugin of the user whose data folder is `home`."""

    from installation import trust  # here, since the copy has no such neighbour

    plugins = home / "dgmcore" / "plugins"
    plugins.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(__file__, plugins / "training_models.py")
    trust(plugins)


@contextmanager
def user(home: Path, **environment: str) -> Iterator[Path]:
    """Makes this process, and what it starts, those of a user with this plugin, whose folder is `home`."""

    import pytest

    variables = {
        "XDG_DATA_HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "DGM_PLUGINS": "train,eval,data,training_models",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**variables, **environment}.items():
            patch.setenv(name, value)
        install(home)
        yield home
