"""The thesis's tables of image models, on Fashion-MNIST (those with m: MNIST), of the shipped entries, in Markdown.

    python benchmarks/papers_tables.py 3.1 [--n 10000] [--measure]    # or 3.2, 4.1, 4.1m, 4.2, 4.2m, 5.1

prints for each row the thesis's FID, ours in the features of `lenet-fashion` (`lenet-mnist`) with its 95 % interval
(of the jackknife over samples and data: how far other samples of the same weights would lie, not other trainings), and
both in relation to the table's first row. FIDs in different features can't be compared; orders and relations can. A
figure that the entry records with its interval, by this protocol, is taken from there; `--measure` measures all anew.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import dgmcore
from dgmcore.calls.listing import list_models
from dgmcore.config import to_dict
from dgmcore.entry import Metric


class Row(NamedTuple):
    """A line of a table: how the thesis calls it, its FID there if it has one, and our entry."""

    title: str
    published: float | None
    entry: str


TABLES: dict[str, list[Row]] = {
    "3.1": [
        Row("VAE", 57.5, "vae-fashion-beta1"),
        Row("WAE-GAN", 31.5, "wae-fashion"),
        Row("two-stage VAE", 26.1, "twostage-fashion"),
        Row("its first VAE alone", None, "vae64-fashion"),
        Row("RAE + GMM", 25.1, "rae-fashion"),
        Row("VAE + flow prior", 51.8, "vaeflow-fashion-beta1"),
        Row("the same, beta = 400", None, "vaeflow-fashion"),
        Row("VAE + flow posterior", 55.1, "iafvae-fashion"),
        Row("GLF", 21.3, "glf-fashion"),
    ],
    "3.2": [
        Row("NS GAN", 26.5, "nsgan-fashion"),
        Row("LSGAN, labels 1 and 0", 30.7, "lsgan-fashion"),
        Row("LSGAN, labels 1 and -1", None, "lsgan-pearson-fashion"),
        Row("SN GAN, hinge", None, "sngan-fashion"),
        Row("WGAN-GP", 24.5, "wgangp-fashion"),
        Row("MMD GAN", None, "mmdgan-fashion"),
        Row("GLF", 21.3, "glf-fashion"),
    ],
    "4.1": [
        Row("VAE", 57.1, "vae-fashion"),
        Row("VAEBM", 38.1, "vaebm-fashion"),
        Row("VAEBM by maximum likelihood", None, "vaebm-fashion-ml"),
    ],
    "4.1m": [
        Row("VAE", 18.9, "vae-mnist"),
        Row("VAEBM", 16.0, "vaebm-mnist"),
    ],
    "4.2": [
        Row("Glow, temperature 1", 58.7, "glow-fashion"),
        Row("Glow + EBM", 41.6, "glowebm-fashion"),
    ],
    "4.2m": [
        Row("Glow, temperature 1", 29.4, "glow-mnist"),
        Row("Glow + EBM", 12.3, "glowebm-mnist"),
    ],
    "5.1": [
        Row("EBM, noisy dynamics", 61.7, "ebm-fashion"),
        Row("EBM, noise-free dynamics", 50.1, "shortrun-fashion"),
        Row("with the generator's loss", 40.6, "shortrun-gan-fashion"),
    ],
}
#: Options of sampling that differ from the entry's own.
SAMPLING = {"vae64-fashion": {"mean": True}, "glow-fashion": {"temperature": 1.0}, "glow-mnist": {"temperature": 1.0}}


def fid(entry: str, n: int, measure: bool) -> Metric:
    """Returns the FID of an entry's n samples, as recorded or measured."""

    options = SAMPLING.get(entry, {})
    model = dgmcore.load(entry)
    for found in model.entry.metrics:
        own = {**to_dict(model.sampling()), **options}
        if not measure and (found.name, found.n, found.sampling) == ("fid", n, own) and found.interval:
            return found
    (metric,) = dgmcore.evaluate(model, ["fid"], n=n, **options)
    return metric


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=list(TABLES))
    parser.add_argument("--n", type=int, default=10_000, help="samples, and as many test data at most")
    parser.add_argument("--measure", action="store_true", help="measure what is recorded, too")
    args = parser.parse_args()
    rows = TABLES[args.table]
    shipped = {model["name"] for model in list_models()}
    base: float | None = None
    for line in (["", "entry", "thesis", "of the first", "ours", "95 %", "of the first"], ["---"] * 7):
        print(f"| {' | '.join(line)} |")
    for row in rows:
        if row.entry not in shipped:  # a recipe that has not made its entry yet
            print(f"| {row.title} | `{row.entry}` | {row.published or ''} | | not trained | | |")
            continue
        found = fid(row.entry, args.n, args.measure)
        base = base or found.value
        published = ["", ""]
        if row.published is not None and rows[0].published is not None:
            published = [str(row.published), f"{row.published / rows[0].published:.2f}"]
        ours = [f"{found.value:.2f}", "{:.2f} to {:.2f}".format(*found.interval), f"{found.value / base:.2f}"]
        print(f"| {' | '.join([row.title, f'`{row.entry}`', *published, *ours])} |", flush=True)


if __name__ == "__main__":
    main()
