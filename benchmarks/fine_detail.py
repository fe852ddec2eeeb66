"""How much fine detail pictures have: `python benchmarks/fine_detail.py NAME... [--n 1000]`, a table in Markdown.

For each model the mean energy of its grey pictures above half of Nyquist's frequency, over that of the data it is
evaluated on. 1 is as much as the data have, less is blur, more is grain; whether it is right it does not say.
The interval is a bootstrap's over samples and data.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch import Tensor

import dgmcore
from dgmcore.data import as_tensor, open_for


def energies(x: Tensor) -> np.ndarray:
    """Returns the energy of each picture `(n, c, h, w)` above half of Nyquist's frequency, `(n,)`."""

    grey = x.float().mean(1)
    height, width = grey.shape[1:]
    spectrum = torch.fft.fft2(grey - grey.mean((1, 2), keepdim=True)).abs().square()
    rows, columns = torch.fft.fftfreq(height)[:, None], torch.fft.fftfreq(width)[None]
    high = (rows.square() + columns.square()).sqrt() > 0.25  # cycles a pixel; Nyquist's is 0.5
    return (spectrum * high).sum((1, 2)).numpy() / (height * width) ** 2


def ratio(samples: np.ndarray, data: np.ndarray) -> tuple[float, float, float]:
    """Returns the relation of two means and its interval of 95 %."""

    rng = np.random.default_rng(0)
    again = [rng.choice(samples, len(samples)).mean() / rng.choice(data, len(data)).mean() for _ in range(1000)]
    low, high = np.quantile(again, [0.025, 0.975])
    return float(samples.mean() / data.mean()), float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", metavar="NAME")
    parser.add_argument("--n", type=int, default=1000, help="samples, and as many test data at most")
    args = parser.parse_args()
    print("| entry | fine detail, of the data's | 95 % |\n| --- | --- | --- |")
    for name in args.names:
        model = dgmcore.load(name)
        data = open_for(model, f"{model.entry.data.dataset}:test")
        real = energies(as_tensor(data, min(args.n, len(data))))
        value, low, high = ratio(energies(dgmcore.sample(model, args.n)), real)
        print(f"| `{name}` | {value:.2f} | {low:.2f} to {high:.2f} |", flush=True)


if __name__ == "__main__":
    main()
