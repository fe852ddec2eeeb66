"""Models under observations, against what is known: posteriors on a grid, held-out pictures, classes, and their cost.

python benchmarks/given.py points            # total variation, two-sample test, R-hat
python benchmarks/given.py pictures          # misfit, spread, PSNR beside the mean's and the nearest neighbour's
python benchmarks/given.py labels            # agreement of two classifiers, FID
python benchmarks/given.py classes           # the same agreement without chains, by weights of plain draws
python benchmarks/given.py cost              # time over steps times the time of a gradient
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from dgm_given import Observation, given

import dgmcore
from dgmcore.data import as_tensor, open_for
from dgmcore.noise import IndexedNoise

POINTS = {
    "realnvp-moons": ("x0=0.5", (1.0, 0.3, 0.1, 0.03, 0.01)),
    "nsf-moons": ("x0=0.5", (1.0, 0.3, 0.1, 0.03)),
    "vae-25gaussians": ("x0=0.5", (2.0, 1.0, 0.5, 0.1)),
    "vaebm-25gaussians": ("x0=0.5", (2.0, 1.0, 0.5, 0.1)),
}


# --- points -----------------------------------------------------------------------------------------


def log_density_on(model, axis: torch.Tensor, near: torch.Tensor) -> torch.Tensor:
    """Returns the logarithm of a model's density on the cells `near` of a grid, up to a constant."""

    x = torch.cartesian_prod(axis, axis)[near]
    base = model.parts["base"] if model.parts else model
    with torch.no_grad():
        if base.noise_shapes.keys() == {"z", "x"}:
            value = _marginal(base, axis).flatten()[near].log()
        else:
            value = torch.cat([base.log_prob(part) for part in x.split(8192)])
        if base is not model:
            value = value + model.config.weight * torch.cat([model.critic_score(part) for part in x.split(8192)])
    return value


def _marginal(vae, axis: torch.Tensor) -> torch.Tensor:
    """Returns a VAE's density on a grid: a sum over codes of Gaussians, each a product of one of either axis."""

    codes = torch.linspace(-5, 5, 401)
    total = torch.zeros(len(axis), len(axis), dtype=torch.float64)
    for z in torch.cartesian_prod(codes, codes).split(8192):
        zeros = torch.zeros(len(z), 2)
        mean = vae.push({"z": z, "x": zeros})
        std = vae.push({"z": z, "x": zeros + 1}) - mean
        first, second = (
            (-((axis - mean[:, k, None]) / std[:, k, None]).square() / 2).exp() / std[:, k, None] for k in (0, 1)
        )
        total += (first * (-z.square().sum(1, keepdim=True) / 2).exp()).T @ second
    return total


def posterior_on_grid(model, seen, limits=(-6.0, 6.0), cells=600):
    """Returns the cells' centres `(cells,)` of both axes and their probabilities `(cells, cells)`."""

    step = (limits[1] - limits[0]) / cells
    axis = limits[0] + step * (torch.arange(cells) + 0.5)
    x = torch.cartesian_prod(axis, axis)
    value = torch.full((len(x),), -torch.inf)
    likelihood = seen.score(x)
    near = likelihood > likelihood.max() - 25  # elsewhere nothing is
    value[near] = (log_density_on(model, axis, near) + likelihood[near]).float()
    return axis, value.double().softmax(0).reshape(cells, cells)


def drawn_from_grid(axis, p, n, seed):
    generator = torch.Generator().manual_seed(seed)
    cells = torch.multinomial(p.flatten(), n, replacement=True, generator=generator)
    step = axis[1] - axis[0]
    jitter = (torch.rand(n, 2, generator=generator) - 0.5) * step
    return torch.stack([axis[cells // len(axis)], axis[cells % len(axis)]], 1) + jitter


def total_variation(x, y_axis, p, bins: int):
    """Returns the total variation of samples to cells' probabilities, on about `bins` bins of equal probability."""

    sums = p.sum(1).cumsum(0)
    rows = max(1, round(math.sqrt(bins)))
    cuts = torch.searchsorted(sums, torch.arange(1, rows) / rows)
    edges = [0, *cuts.tolist(), len(y_axis)]
    found, wanted = [], []
    step = y_axis[1] - y_axis[0]
    i = ((x[:, 0] - y_axis[0]) / step).round().long()
    j = ((x[:, 1] - y_axis[0]) / step).round().long()
    for low, high in pairwise(edges):
        band = p[low:high].sum(0)
        inner = torch.searchsorted(band.cumsum(0), torch.arange(1, rows) / rows * band.sum())
        ends = [0, *inner.tolist(), len(y_axis)]
        here = (i >= low) & (i < high)
        for bottom, top in pairwise(ends):
            found.append(float((here & (j >= bottom) & (j < top)).double().mean()))
            wanted.append(float(band[bottom:top].sum()))
    return 0.5 * float(np.abs(np.subtract(found, wanted)).sum())


def two_samples(x, y, seed=0):
    """Returns the accuracy of a nearest-neighbour classifier that tells two sets apart, cross-validated."""

    from sklearn.model_selection import cross_val_score
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.preprocessing import StandardScaler

    data = StandardScaler().fit_transform(torch.cat([x, y]).numpy())
    labels = np.r_[np.zeros(len(x)), np.ones(len(y))]
    order = np.random.default_rng(seed).permutation(len(labels))
    return float(cross_val_score(KNeighborsClassifier(51), data[order], labels[order], cv=5).mean())


def points(n: int, only: str | None) -> None:
    print("model               sigma   TV    (of the grid's own draws)  C2ST   R-hat  ESS     acceptance  seconds")
    for name, (text, sigmas) in POINTS.items():
        if only not in (None, name):
            continue
        model = dgmcore.load(name)
        for sigma in sigmas:
            asked = dgmcore.given(model, text, sigma=[sigma])
            began = time.perf_counter()
            x = dgmcore.sample(asked, n, seed=0)
            took = time.perf_counter() - began
            fine = min(4000, max(600, round(48 / sigma)))  # cells of a quarter of sigma, where memory allows
            axis, p = posterior_on_grid(model, asked.observations[0], cells=fine)
            mine, best = (total_variation(s, axis, p, 64) for s in (x, drawn_from_grid(axis, p, n, 1)))
            told = two_samples(x, drawn_from_grid(axis, p, n, 2))
            r = asked.report()
            print(
                f"{name:20}{sigma:<6g}{mine:6.3f} {best:15.3f} {told:19.3f} {r['r_hat']:8.3f} {r['ess']:8.0f} "
                f"{r['acceptance']:8.2f} {took:10.1f}",
                flush=True,
            )


# --- pictures ---------------------------------------------------------------------------------------

PICTURES = (
    "vae-fashion",
    "glf-fashion",
    "glow-fashion",
    "dcgan-mnist",
    "ddgan-fashion",
    "ddpm-fashion",
    "nvae-celeba",
    "vaebm-celeba",
    "vaebm-celeba-elbo",
)


def observations_of(x, limits):
    """Yields names of operators, each with the observation of a datum `(C, H, W)` that it makes."""

    from dgm_given import operators

    side = x.shape[-1]
    sigma = 0.025 * (limits[1] - limits[0])
    known = torch.ones(side, side, dtype=torch.bool)
    known[side // 4 : 3 * side // 4, side // 4 : 3 * side // 4] = False
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)) * sigma
    yield "hole", Observation(x + noise, mask=known, sigma=sigma, what="hole")
    for text in ("downsample:4", "blur:1.5", *(("grey",) if x.shape[0] == 3 else ())):
        y = operators.build(text, tuple(x.shape))(x[None])[0]
        noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(0)) * sigma
        yield text, Observation(y + noise, text, sigma=sigma, what=text)


def psnr(x, truth, limits):
    span = limits[1] - limits[0]
    return float((-10 * ((x - truth) / span).square().flatten(1).mean(1).log10()).mean())


def pictures(n: int, only: str | None) -> None:
    """`n` held-out pictures of each model, three samples of each."""

    from dgmcore.sampling.pictures.pixels import save_grid

    print("model          seen          misfit/sigma  spread  PSNR  of their mean  mean picture  neighbour  seconds")
    for name in PICTURES:
        if only not in (None, name):
            continue
        model = dgmcore.load(name)
        data, limits = model.entry.data.dataset, model.entry.data.range
        train = as_tensor(open_for(model, f"{data}:train"), 2000)
        rows = []
        for x in as_tensor(open_for(model, f"{data}:test"), n):
            for text, seen in observations_of(x, limits):
                asked = given(model, seen)
                began = time.perf_counter()
                samples = asked.sample(IndexedNoise(0, 3)).clamp(*limits)
                took = time.perf_counter() - began
                nearest = train[(seen.seen(train) - seen.y).flatten(1).square().sum(1).argmin()][None]
                mean = samples.mean(0, keepdim=True)
                others = [psnr(z, x, limits) for z in (samples, mean, train.mean(0, keepdim=True), nearest)]
                miss = float(seen.misfit(samples).mean()) / seen.sigma
                spread = float(samples.std(0).mean())
                told = " ".join(f"{v:10.2f}" for v in others)
                print(f"{name:15}{text:14}{miss:8.2f} {spread:10.3f} {told} {took:10.1f}", flush=True)
                rows.append(torch.cat([x[None], _shown(seen, x, limits), samples]))
        save_grid(torch.cat(rows), limits, f"given-{name}.png", columns=5)


def _shown(seen, x, limits):
    """Returns what was seen as a picture of the datum's size."""

    if seen.known is not None:
        return torch.where(seen.known[1], x, torch.tensor(limits[0]))[None]
    y = seen.y[None] if seen.y.shape[-1] == x.shape[-1] else torch.nn.functional.interpolate(seen.y[None], x.shape[-2:])
    return y.expand(1, *x.shape)


# --- classes ----------------------------------------------------------------------------------------


def second_classifiers(data: str) -> dict[str, tuple[torch.nn.Module, float]]:
    """Returns classifiers of other architectures and seeds than ours, in [-1, 1], and how often each is right.

    They are trained on all data, and kept in the file `runs/given-judges-DATA.pt`.
    """

    kept, like = Path(f"runs/given-judges-{data}.pt"), dgmcore.load(f"lenet-{data}")
    nets = {"dense": _dense(), "convolutional": _convolutional()}
    if kept.exists():
        for key, state in torch.load(kept, weights_only=True).items():
            nets[key].load_state_dict(state)
    else:
        train = open_for(like, f"{data}:train")
        index = np.random.default_rng(1).permutation(len(train))
        x, y = train.take(index), train.labels(index)
        for key, steps, size in (("dense", 3500, 128), ("convolutional", 1200, 64)):
            _train(nets[key], x, y, steps, size)
        kept.parent.mkdir(exist_ok=True)
        torch.save({key: net.state_dict() for key, net in nets.items()}, kept)
    test = open_for(like, f"{data}:test")
    places = np.arange(10_000)
    x, y = test.take(places), test.labels(places)
    return {key: (net.eval(), float((classes_of(net, x) == y).double().mean())) for key, net in nets.items()}


def _dense() -> torch.nn.Module:
    n = torch.nn
    return n.Sequential(n.Flatten(), n.Linear(784, 256), n.ReLU(), n.Dropout(0.2), n.Linear(256, 10))


def _convolutional() -> torch.nn.Module:
    n = torch.nn
    layers: list[torch.nn.Module] = []
    for a, b in ((1, 24), (24, 48)):
        layers += [n.Conv2d(a, b, 3, padding=1), n.BatchNorm2d(b), n.GELU()]
        layers += [n.Conv2d(b, b, 3, stride=2, padding=1), n.BatchNorm2d(b), n.GELU()]
    return n.Sequential(*layers, n.Flatten(), n.Dropout(0.3), n.Linear(48 * 49, 10))


def _train(net, x, y, steps: int, size: int) -> None:
    torch.manual_seed(1)
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for step in range(steps):
        at = torch.arange(step * size, (step + 1) * size) % len(x)
        loss = torch.nn.functional.cross_entropy(net(x[at] + 0.1 * torch.randn_like(x[at])), y[at])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def classes_of(net, x):
    with torch.no_grad():
        return torch.cat([net(part).argmax(1) for part in x.split(500)])


def labels(n: int, only: str | None, wanted: Sequence[int]) -> None:
    """`n` samples of each class that is wanted."""

    from dgm_eval.metrics.fid import frechet

    print("model         class  first  dense  convolutional  FID to the class  unconditional  seconds")
    for name in ("vae-fashion", "glf-mnist", "dcgan-mnist"):
        if only not in (None, name):
            continue
        model = dgmcore.load(name)
        data = model.entry.data.dataset
        nets = second_classifiers(data)
        print("right of test data: " + ", ".join(f"{key} {right:.3f}" for key, (_, right) in nets.items()), flush=True)
        plain = dgmcore.sample(model, n, seed=1)
        train = open_for(model, f"{data}:train")
        known = train.labels(np.arange(20_000)).numpy()
        for k in wanted:
            asked = dgmcore.given(model, f"label={k}")
            judge = asked.observations[0]
            began = time.perf_counter()
            x = dgmcore.sample(asked, n, seed=0)
            took = time.perf_counter() - began
            features = judge._hidden[0].features
            with torch.no_grad():
                of = (train.take(np.flatnonzero(known == k)[:1500]), x, plain)
                real, mine, other = (torch.cat([features(judge.carried(part)) for part in z.split(250)]) for z in of)
            seen = _centred(x, model.entry.data.range)
            agree = [float((classes_of(net, z) == k).double().mean()) for net, z in _judged(judge, nets, x, seen)]
            told = "".join(f"{share:8.3f}" for share in agree)
            fids = frechet(mine, real), frechet(other, real)
            print(
                f"{name:15}{k:4}{told} {fids[0]:14.1f} {fids[1]:14.1f} {took:8.0f}  {asked.report_line()}", flush=True
            )


def _judged(judge, nets, x, seen):
    return [(judge.logits, x), *((net, seen) for net, _ in nets.values())]


def _centred(x, limits):
    """Returns pictures in the range [-1, 1]."""

    return (x - limits[0]) * (2 / (limits[1] - limits[0])) - 1


def classes(n: int, only: str | None) -> None:
    """Each class without chains: `n` draws of the model, with the likelihood of the class as their weights."""

    print("model         class  drawn  effective draws  given the class: first  dense  convolutional")
    for name in ("vae-fashion", "glf-mnist", "dcgan-mnist"):
        if only not in (None, name):
            continue
        model = dgmcore.load(name)
        judge = dgmcore.given(model, "label=0").observations[0]
        nets = second_classifiers(model.entry.data.dataset)
        x = dgmcore.sample(model, n, seed=1)
        seen = _centred(x, model.entry.data.range)
        found = [classes_of(net, y) for net, y in _judged(judge, nets, x, seen)]
        with torch.no_grad():
            sure = torch.cat([_sureness(judge, part) for part in x.split(500)])
        for k in range(10):
            p = (judge.weight * sure[:, k].double()).softmax(0)
            shares = "".join(f"{float(p[one == k].sum()):10.3f}" for one in found)
            drawn = float((found[0] == k).double().mean())
            print(f"{name:15}{k:4}{drawn:8.3f}{1 / float(p.square().sum()):12.0f}{shares}", flush=True)


def _sureness(judge, x):
    """Returns the logarithms of the classes' probabilities by the least sure view, `(n, classes)`."""

    return torch.stack([judge.logits(view).log_softmax(1) for view in judge._views(x)]).amin(0)


# --- cost -------------------------------------------------------------------------------------------


def cost(n: int, only: str | None) -> None:
    """Time of chains over the number of their steps times that of a gradient, of `n` chains."""

    from dgm_given.samplers import posterior_of

    print("model          gradient, ms   a step, ms   ratio")
    for name in ("realnvp-moons", "vae-fashion", "glow-fashion", "nvae-celeba"):
        if only not in (None, name):
            continue
        model = dgmcore.load(name)
        text = "x0=0.5" if model.event_shape == (2,) else None
        datum = model.sample(IndexedNoise(9, 1))[0]
        seen = text or next(observations_of(datum.detach(), model.entry.data.range or (-1, 1)))[1]
        asked = given(model, seen)
        target = posterior_of(asked)
        eps = target.draw(IndexedNoise(0, n))
        target.evaluate(eps, True)
        pairs = []
        for _ in range(3):
            began = time.process_time()
            for _ in range(5):
                target.evaluate(eps, True)
            gradient = (time.process_time() - began) / 5
            took = []
            for steps in (5, 15):
                began = time.process_time()
                asked.sample(IndexedNoise(0, n), sampler="mala", warmup=0, steps=steps, step_size=1e-3, candidates=1)
                took.append(time.process_time() - began)
            pairs.append((gradient, (took[1] - took[0]) / 10))
        gradient, step = (float(np.median(column)) for column in zip(*pairs, strict=True))
        print(f"{name:15}{1e3 * gradient:10.1f} {1e3 * step:12.1f} {step / gradient:10.2f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["points", "pictures", "labels", "classes", "cost"])
    parser.add_argument("-n", type=int, default=None)
    parser.add_argument("--only")
    parser.add_argument("--label", type=int, action="append", help="a class, of labels; repeatable (all)")
    a = parser.parse_args()
    n = a.n or {"points": 10_000, "pictures": 8, "labels": 500, "classes": 8000, "cost": 16}[a.what]
    more = (a.label or range(10),) if a.what == "labels" else ()
    globals()[a.what](n, a.only, *more)
