"""A family for tests: a one-file plugin in a user folder of its own."""

from __future__ import annotations

import os
from pathlib import Path

from installation import trust

PLUGIN = """
import dgmcore.hookspecs as dgm

PLUGIN_API = 1


@dgm.hookimpl
def dgm_architectures():
    return [
        {"name": "toy-shift", "family": "toys", "import": "toys_models:Shift", "summary": "A shifted Gaussian"},
        {"name": "toy-tied", "family": "toys", "import": "toys_models:Tied", "summary": "Two tied layers"},
        {"name": "toy-pair", "family": "toys", "import": "toys_models:Pair", "summary": "The sum of two parts"},
    ]
"""

MODELS = """
import torch
from torch import nn

import dgmcore


class Shift(dgmcore.Model):
    class Config(dgmcore.Config):
        dim: int = 2
        width: int = 1

    def __init__(self, config=None, **parts):
        super().__init__(config, **parts)
        self.event_shape = (self.config.dim,)
        self.shift = nn.Parameter(torch.zeros(self.event_shape))
        self.bulk = nn.Linear(self.config.width, self.config.dim, bias=False)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @property
    def noise_shapes(self):
        return {"z": self.event_shape}


    def push(self, eps):
        return eps["z"] + self.shift

    def sample(self, noise):
        return self.push(noise.named(self.noise_shapes))


class Tied(Shift):
    def __init__(self, config=None, **parts):
        super().__init__(config, **parts)
        self.twin = nn.Linear(self.config.width, self.config.dim, bias=False)
        self.twin.weight = self.bulk.weight


class Pair(dgmcore.Model):
    Parts = {"first": ("generator",), "second": ("generator",)}

    def __init__(self, config=None, **parts):
        super().__init__(config, **parts)
        self.event_shape = self.parts["first"].event_shape
        self.scale = nn.Parameter(torch.ones(()))

    def sample(self, noise):
        first, second = (self.parts[n].sample(noise.child(n)) for n in ("first", "second"))
        return self.scale * (first + second)
"""


def install(home: Path) -> dict[str, str]:
    """Writes the plugin into a user folder under `home` and returns the environment that finds it, and no other."""

    plugins, modules = home / "data" / "dgmcore" / "plugins", home / "modules"
    for path, text in ((plugins / "toys.py", PLUGIN), (modules / "toys_models.py", MODELS)):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():  # the index would see that it was written anew
            path.write_text(text)
            trust(plugins)
    return {
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "DGM_PLUGINS": "train,eval,publish,data,authors,toys",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(modules), os.environ.get("PYTHONPATH")])),
    }
