"""Small models whose samples, densities and codes are known; also a one-file plugin, and entries for them."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import torch
from torch import Tensor, nn

import dgmcore.hookspecs as dgm
from dgmcore import Config, Likelihood, Model, Options

PLUGIN_API = 1


class Ridge(Model):
    """A bent Gaussian in the plane: pushforward, exact density, encoder."""

    likelihood = Likelihood.EXACT

    def __init__(self, config=None, **parts):
        super().__init__(config, **parts)
        self.event_shape = (2,)
        self.width = nn.Parameter(torch.tensor(0.4))

    @property
    def noise_shapes(self):
        return {"z": (2,)}

    def push(self, eps):
        return self.decode(eps["z"])

    def sample(self, noise, **options):
        self.sampling(options)
        return self.push(noise.named(self.noise_shapes))

    def encode(self, x):
        return torch.stack([x[:, 0], (x[:, 1] - torch.sin(2 * x[:, 0])) / self.width], -1)

    def decode(self, z):
        return torch.stack([z[:, 0], z[:, 1] * self.width + torch.sin(2 * z[:, 0])], -1)

    def log_prob(self, x, **options):
        self.scoring(options)
        return -0.5 * self.encode(x).square().sum(1) - math.log(2 * math.pi) - self.width.log()


class Pixels(Model):
    """Images of independent Gaussian pixels around a gradient, in [-1, 1] and beyond: pushforward, exact density."""

    class Config(Config):
        channels: int = 1
        scale: float = 0.3

    likelihood = Likelihood.EXACT

    def __init__(self, config=None, **parts):
        super().__init__(config, **parts)
        self.event_shape = (self.config.channels, 8, 8)
        ramp = torch.linspace(-0.8, 0.8, 64).view(1, 8, 8).repeat(self.config.channels, 1, 1)
        self.mean = nn.Parameter(ramp)

    @property
    def noise_shapes(self):
        return {"z": self.event_shape}

    def push(self, eps):
        return self.mean + self.config.scale * eps["z"]

    def sample(self, noise, **options):
        self.sampling(options)
        return self.push(noise.named(self.noise_shapes))

    def encode(self, x):
        return (x - self.mean) / self.config.scale

    def decode(self, z):
        return self.push({"z": z})

    def log_prob(self, x, **options):
        self.scoring(options)
        constant = math.log(self.config.scale) + 0.5 * math.log(2 * math.pi)
        return (-0.5 * self.encode(x).square() - constant).flatten(1).sum(1)


class Walk(Model):
    """Langevin dynamics towards N(3, 1) in the plane: an iterative sampler, which uses gradients inside."""

    class Sampling(Options):
        steps: int = 10
        step_size: float = 0.5
        init: Tensor | None = None

    def __init__(self, config=None, **parts):
        super().__init__(config, **parts)
        self.event_shape = (2,)
        self.centre = nn.Parameter(torch.full((2,), 3.0))

    def trajectory(self, noise, **options):
        o = self.sampling(options)
        x = noise.normal(2) if o.init is None else o.init.expand(noise.n, 2).clone()
        yield x
        for _ in range(o.steps):
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                (drift,) = torch.autograd.grad(-0.5 * (x - self.centre).square().sum(), x)
            x = x.detach() + o.step_size / 2 * drift + math.sqrt(o.step_size) * noise.normal(2)
            yield x

    def sample(self, noise, **options):
        *_, last = self.trajectory(noise, **options)
        return last


class Paint(Walk):
    """The same for images of 8 x 8 pixels, from a picture on: takes `init`."""

    def __init__(self, config=None, **parts):
        super().__init__(config, **parts)
        self.event_shape = (1, 8, 8)

    def trajectory(self, noise, **options):
        o = self.sampling(options)
        x = torch.zeros(1, 8, 8) if o.init is None else o.init
        for step in range(o.steps):
            yield (x + 0.01 * step * noise.normal(1, 8, 8, name="z")).clamp(-1, 1)


class Judge(Model):
    """A critic that likes the right half plane."""

    def __init__(self, config=None, **parts):
        super().__init__(config, **parts)
        self.event_shape = (2,)
        self.slope = nn.Parameter(torch.tensor(2.0))

    def score(self, x):
        return self.slope * x[:, 0]


class Bound(Ridge):
    """A lower bound that is loose by a mean of 1 / k nats, at random."""

    class Scoring(Options):
        k: int = 1

    likelihood = Likelihood.LOWER_BOUND

    def log_prob(self, x, *, noise=None, **options):
        from dgmcore import IndexedNoise

        k = self.scoring(options).k
        noise = noise or IndexedNoise(0, len(x), dtype=x.dtype)
        return super().log_prob(x) - noise.normal().square() / k


class Levels(Model):
    """The uniform distribution of 8-bit images: a probability of levels, 8 bits a dimension."""

    likelihood = Likelihood.EXACT
    base_measure = "counting"

    def __init__(self, config=None, **parts):
        super().__init__(config, **parts)
        self.event_shape = (1, 8, 8)
        self.one = nn.Parameter(torch.ones(()))

    def log_prob(self, x):
        return (self.one * -64 * math.log(256)).expand(len(x))


@dgm.hookimpl
def dgm_architectures():
    kinds = (Ridge, Pixels, Walk, Paint, Judge, Bound, Levels)
    return [
        {
            "name": f"toy-{k.__name__.lower()}",
            "family": "toys",
            "import": f"{__name__}:{k.__name__}",
            "summary": "A toy.",
        }
        for k in kinds
    ]


PLANE = {"dataset": "moons", "event_shape": [2]}
IMAGES = {"dataset": "mnist", "event_shape": [1, 8, 8], "range": [-1.0, 1.0], "levels": 256}


def install(home: Path) -> None:
    """Makes this file a plugin of the user whose data folder is `home`, with an entry for each model."""

    from installation import trust  # here, since the copy has no such neighbour

    from dgmcore.model import save

    plugins = home / "dgmcore" / "plugins"
    plugins.mkdir(parents=True)
    shutil.copyfile(__file__, plugins / "toys.py")
    trust(plugins)
    for kind, data in (
        (Ridge, PLANE),
        (Pixels, IMAGES),
        (Walk, PLANE),
        (Paint, IMAGES),
        (Judge, PLANE),
        (Bound, PLANE),
        (Levels, IMAGES),
    ):
        name = kind.__name__.lower()
        folder = home / "dgmcore" / "registry" / name
        save(kind(), folder, name=name, architecture=f"toy-{name}", license="CC0-1.0", data=data, sampling={})
