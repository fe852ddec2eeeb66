"""Faces judged in two feature spaces: `python benchmarks/faces.py NAME... [--n 1600]`, a table in Markdown.

The first space is that of `facefeat-celeba`, which was trained on faces without labels. The second was trained by other
means on other data: a classifier of CIFAR-10, whose averages over all places at two resolutions are the features; it is
trained at the first call, in three minutes, and kept in `runs/faces-second.pt`. In both FID is against the people held
out, precision and recall have k = 3. Intervals of 95 % are bootstraps over samples and data, those of a difference with
the same data: models after the first are compared with it. Fine detail is that of `benchmarks/fine_detail.py`.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from dgm_eval.distances import frechet
from fine_detail import energies, ratio
from torch import Tensor, nn

import dgmcore
from dgmcore.data import as_tensor, open_data, open_for

KEPT = Path("runs/faces-second.pt")


class Second(nn.Module):
    """A small convolutional classifier of pictures `(n, 3, h, w)` in [-1, 1], of any size."""

    def __init__(self):
        super().__init__()
        widths = (3, 32, 64, 128, 128)
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, stride=1 + (b > 32), padding=1), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in pairwise(widths)
        )
        self.head = nn.Linear(256, 10)

    def features(self, x: Tensor) -> Tensor:
        """Returns the means of the last two stages, `(n, 256)`."""
        means = []
        for stage in self.stages:
            x = stage(x)
            means.append(x.mean((2, 3)))
        return torch.cat(means[-2:], 1)


def second() -> tuple[Second, float]:
    """Returns the second network and its accuracy on the test data of CIFAR-10."""
    net = Second()
    if KEPT.exists():
        net.load_state_dict(torch.load(KEPT, weights_only=True))
    else:
        train(net, open_data("cifar10:train", range=[-1, 1]))
        KEPT.parent.mkdir(exist_ok=True)
        torch.save(net.state_dict(), KEPT)
    test = open_data("cifar10:test", range=[-1, 1])
    at = np.arange(len(test))
    with torch.no_grad():
        right = net.eval().head(net.features(test.take(at))).argmax(1) == test.labels(at)
    return net, float(right.double().mean())


def train(net: Second, data, epochs: int = 40, size: int = 64) -> None:
    torch.manual_seed(0)
    rng, each = np.random.default_rng(0), len(data) // size
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=epochs * each)
    for _ in range(epochs):
        for at in rng.permutation(len(data))[: each * size].reshape(each, size):
            x, (down, across) = data.take(at), rng.integers(0, 9, 2)
            x = F.pad(x.flip(-1) if rng.random() < 0.5 else x, (4,) * 4)[..., down : down + 32, across : across + 32]
            loss = F.cross_entropy(net.head(F.dropout(net.features(x), 0.3)), data.labels(at))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def near(points: Tensor, others: Tensor, k: int = 3) -> float:
    """Returns the share of `others` that lie within the distance of some point to its k-th neighbour."""
    radius = torch.cdist(points, points).kthvalue(k + 1, 1).values
    return float((torch.cdist(others, points) <= radius).any(1).double().mean())


def bootstrap(values: list[Tensor], real: Tensor, times: int = 200) -> np.ndarray:
    """Returns FIDs of models' features against data, resampled, `(times, models)`."""
    rng = np.random.default_rng(0)

    def again(x: Tensor) -> Tensor:
        return x[torch.from_numpy(rng.integers(0, len(x), len(x)))]

    def once() -> list[float]:
        data = again(real)
        return [float(frechet(again(x), data)) for x in values]

    return np.array([once() for _ in range(times)])


def interval(value: float, draws: np.ndarray) -> str:
    low, high = np.quantile(draws - draws.mean(), [0.025, 0.975]) + value
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", metavar="NAME")
    parser.add_argument("--n", type=int, default=1600, help="samples, and as many test data at most")
    args = parser.parse_args()
    net, accuracy = second()
    spaces = {"first": dgmcore.load("facefeat-celeba").features, "second": net.features}
    real = as_tensor(open_for(dgmcore.load(args.names[0]), "celeba64:test"), args.n)
    drawn = {name: dgmcore.sample(dgmcore.load(name), args.n, seed=0) for name in args.names}
    print(f"{args.n} samples, {len(real)} faces of people held out; the second network is right in {accuracy:.2f}\n")
    print("| entry | space | FID | less than the first's | precision | recall | fine detail |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for space, features in spaces.items():
        with torch.no_grad():
            data, *values = (
                torch.cat([features(part) for part in x.split(100)]).double() for x in (real, *drawn.values())
            )
        draws = bootstrap(values, data)
        fids = [float(frechet(x, data)) for x in values]
        for i, (name, x) in enumerate(zip(args.names, values, strict=True)):
            gain = interval(fids[0] - fids[i], draws[:, 0] - draws[:, i]) if i else ""
            fine = "{:.2f} ({:.2f} to {:.2f})".format(*ratio(energies(drawn[name]), energies(real)))
            row = (f"`{name}`", space, interval(fids[i], draws[:, i]), gain, f"{near(data, x):.2f}")
            print("| " + " | ".join((*row, f"{near(x, data):.2f}", fine)) + " |", flush=True)


if __name__ == "__main__":
    main()
