"""Data sets: toy densities in the plane, the pictures that the papers train on, and folders and zips of pictures."""

from __future__ import annotations

from dgmcore.hookspecs import hookimpl

PLUGIN_API = 1

_DATASETS = [
    ("moons", "toys:moons", "Two interleaved half circles in the plane"),
    ("swissroll", "toys:swissroll", "A spiral in the plane"),
    ("9gaussians", "toys:gaussians9", "A 3 x 3 grid of Gaussians"),
    ("25gaussians", "toys:gaussians25", "A 5 x 5 grid of narrow Gaussians"),
    ("mnist", "named:mnist", "Handwritten digits, 28 x 28"),
    ("fashion", "named:fashion", "Fashion-MNIST: garments, 28 x 28"),
    ("stacked-mnist", "named:stacked_mnist", "Three digits as the channels of one image, 1000 modes"),
    ("cifar10", "named:cifar10", "CIFAR-10: small photographs, 32 x 32"),
    ("celeba64", "named:celeba64", "CelebA: faces, aligned and cropped, 64 x 64"),
]


@hookimpl
def dgm_calls():
    what = "Open a picture, or a folder or a zip of pictures"
    return [
        {"name": "open_pictures", "import": "dgm_data.picture_files:open_pictures", "summary": what},
        {"name": "read_csv", "import": "dgm_data.tables:read_csv", "summary": "A table of numbers as text"},
        {"name": "read_file", "import": "dgm_data.regular:read_file", "summary": "A regular file of limited size"},
        {"name": "read_picture", "import": "dgm_data.reading:read_picture", "summary": "A picture as a model wants it"},
    ]


@hookimpl
def dgm_datasets():
    return [{"name": name, "import": f"dgm_data.{place}", "summary": summary} for name, place, summary in _DATASETS]
