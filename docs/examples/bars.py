"""A whole plugin in one file: a MADE of black and white pictures, its data, a metric, a converter, a command, tests.

Copy it into the plugin folder, `dgm plugins --trust bars`, and try `dgm train made-bars bars`, `dgm check-plugin bars`,
`dgm bars`; `pytest bars.py` runs its tests. The model is [1] with one hidden layer and the order of the raster.

References:
    [1] MADE: Masked Autoencoder for Distribution Estimation (Germain et al., 2015), https://arxiv.org/abs/1502.03509
"""

import itertools

import numpy as np
import torch
import torch.nn.functional as F
import typer
from torch import nn

import dgmcore
from dgmcore.config import Size
from dgmcore.conversion import Converted, read_checkpoint, tensors_of
from dgmcore.data.base import Dataset
from dgmcore.errors import DataError
from dgmcore.evaluation import flat, metric
from dgmcore.hookspecs import hookimpl

PLUGIN_API = 1
SIDE = 3

app = typer.Typer(add_completion=False)


@hookimpl
def dgm_architectures():
    where = f"{__name__}:MadeBars"
    return [{"name": "made-bars", "family": "bars", "import": where, "summary": "MADE of black and white pictures"}]


@hookimpl
def dgm_datasets():
    return [{"name": "bars", "import": f"{__name__}:bars", "summary": "Pictures of bars, black and white"}]


@hookimpl
def dgm_metrics():
    return [{"name": "bars", "import": f"{__name__}:share_of_bars", "summary": "The share of samples that are bars"}]


@hookimpl
def dgm_converters():
    return [{"format": "bars", "import": f"{__name__}:converted", "summary": "Weights of a MADE of bars"}]


@hookimpl
def dgm_commands():
    return [{"name": "bars", "import": f"{__name__}:app", "help": "Show the pictures of the data set bars."}]


class MadeBars(dgmcore.Model):
    class Config(dgmcore.Config):
        event_shape: tuple[Size, Size, Size] = (1, SIDE, SIDE)
        hidden: Size = 64

    likelihood = dgmcore.Likelihood.EXACT
    base_measure = "counting"  # `log_prob` is the log-probability of a picture
    data_range, data_levels = (0.0, 1.0), 2
    phases = {"likelihood": "dgm_train.objectives:MaximumLikelihood"}
    seen: torch.Tensor  # for those who check types: buffers
    told: torch.Tensor

    def __init__(self, config=None, **parts):
        super().__init__(config, **parts)
        self.event_shape = tuple(self.config.event_shape)
        pixels = int(np.prod(self.event_shape))
        self.enter, self.leave = nn.Linear(pixels, self.config.hidden), nn.Linear(self.config.hidden, pixels)
        rank = torch.arange(pixels)
        degree = torch.arange(self.config.hidden) % max(1, pixels - 1)
        self.register_buffer("seen", (rank <= degree[:, None]).float(), persistent=False)
        self.register_buffer("told", (degree < rank[:, None]).float(), persistent=False)  # pixels before it, not itself

    def logits(self, x):
        """Maps pixels `(n, D)` to the logit of each given those before it."""
        h = F.relu(F.linear(x, self.enter.weight * self.seen, self.enter.bias))
        return F.linear(h, self.leave.weight * self.told, self.leave.bias)

    def log_prob(self, x):
        x = x.flatten(1)
        return -F.binary_cross_entropy_with_logits(self.logits(x), x, reduction="none").sum(1)

    @torch.no_grad()
    def sample(self, noise, **options):
        self.sampling(options)
        u = noise.uniform(*self.event_shape).flatten(1)
        x = torch.zeros_like(u)
        for i in range(x.shape[1]):
            x[:, i] = (u[:, i] < torch.sigmoid(self.logits(x)[:, i])).to(x.dtype)
        return x.unflatten(1, self.event_shape)


class Bars(Dataset):
    """All pictures of whole rows, or of whole columns; `split` is `train` or `test`, which are the same here."""

    name, event_shape, range, levels = "bars", (1, SIDE, SIDE), (0.0, 1.0), 2

    def __init__(self, copies: int):
        lines = torch.tensor(list(itertools.product([0.0, 1.0], repeat=SIDE)))
        rows = lines[:, :, None].expand(-1, SIDE, SIDE)
        self.x = torch.cat([rows, rows.mT])[:, None].repeat(copies, 1, 1, 1)

    def __len__(self):
        return len(self.x)

    def take(self, index):
        return self.x[torch.as_tensor(np.asarray(index))]


def bars(split, root):
    if split not in ("train", "test"):
        raise DataError(f"bars has no split {split}", "its splits: train, test")
    return Bars(copies=100 if split == "train" else 1)


@metric(can=["generator"], views={flat: 1000}, applies=lambda run: run.entry.data.dataset == "bars")
def share_of_bars(run):
    x = run.samples(flat).unflatten(1, (SIDE, SIDE))
    is_bars = (x == x[:, :, :1]).flatten(1).all(1) | (x == x[:, :1]).flatten(1).all(1)
    return run.record("bars", float(is_bars.float().mean()), n=len(x))  # `n`, so that records can be compared


def converted(files, options):
    state = tensors_of(read_checkpoint(files[0]))
    data = {"dataset": "bars", "event_shape": [1, SIDE, SIDE], "range": [0, 1], "levels": 2}
    config = {"hidden": len(state["enter.bias"])}
    return Converted(architecture="made-bars", config=config, state=state, license=None, data=data)


@app.command()
def command():
    """Print the pictures of the data set."""
    for picture in Bars(1).x[:, 0]:
        print("\n".join("".join(" #"[int(v)] for v in row) for row in picture), end="\n\n")


# --- tests, for pytest ---------------------------------------------------------------------------------


def test_conformance():
    # inside the function: dgm imports this file to see what it has, and the suite asks dgm
    from dgmcore.testing import check_model

    assert [r for r in check_model(MadeBars) if not r.ok] == []


def test_there_are_bars():
    assert len(bars("test", None)) == 2 * 2**SIDE
