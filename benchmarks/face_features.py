"""Does FID in our face features order spoilt faces rightly?  python benchmarks/face_features.py [--json]

Real faces that the feature network was not trained on are spoilt, a little to much, and compared with real
faces: for every kind FID must rise with the strength, and lie above real against real. The ways to
spoil are written here anew with Pillow and numpy; the last four are kinds that the network never saw in training.
The faces of the held-out people are cut into two halves: the one is spoilt, the other stays as it is.
The exit status is 1 if blur, noise or a mixture is out of order.
"""

from __future__ import annotations

import argparse
import json
import sys

import numpy as np
import torch
from dgm_eval.distances import frechet
from PIL import Image, ImageFilter

from dgmcore import load
from dgmcore.data import as_tensor, open_data

LEVELS = {
    "blur": (0.5, 1.0, 2.0, 3.0),  # standard deviation, pixels
    "noise": (5, 15, 30, 60),  # standard deviation, of 255
    "mix (two faces)": (0.1, 0.2, 0.35, 0.5),  # share of the other face
    "mix (other images)": (0.1, 0.25, 0.5, 1.0),  # share of images replaced by noise textures
    "salt and pepper": (0.01, 0.05, 0.1, 0.2),  # share of pixels
    "black rectangles": (0.15, 0.3, 0.45, 0.6),  # side, of the image's
    "swirl": (0.5, 1.0, 2.0, 4.0),  # radians at the centre
    "average of k faces": (2, 3, 4, 8),
}


def blur(x, level, rng):
    return np.stack([np.asarray(Image.fromarray(i).filter(ImageFilter.GaussianBlur(level))) for i in x])


def noise(x, level, rng):
    return _bytes(x + rng.normal(0, level, x.shape))


def mix(x, level, rng):
    return _bytes((1 - level) * x + level * x[rng.permutation(len(x))])


def others(x, level, rng):
    """Replaces images by smooth random textures with the faces' colours."""
    replaced = rng.random(len(x)) < level
    coarse = rng.integers(0, 256, (int(replaced.sum()), 8, 8, 3), dtype=np.uint8)
    out = x.copy()
    out[replaced] = [np.asarray(Image.fromarray(i).resize((64, 64), Image.Resampling.BICUBIC)) for i in coarse]
    return out


def salt(x, level, rng):
    hit, white = rng.random(x.shape[:3]) < level, rng.random(x.shape[:3]) < 0.5
    return np.where(hit[..., None], np.where(white[..., None], 255, 0), x).astype(np.uint8)


def rectangles(x, level, rng):
    out, side = x.copy(), int(64 * level)
    for image, (i, j) in zip(out, rng.integers(0, 65 - side, (len(x), 2)), strict=True):
        image[i : i + side, j : j + side] = 0
    return out


def swirl(x, level, rng):
    rows, columns = np.mgrid[-31.5:32, -31.5:32]
    angle = level * np.exp(-np.hypot(rows, columns) / 16)
    i = rows * np.cos(angle) - columns * np.sin(angle) + 31.5
    j = rows * np.sin(angle) + columns * np.cos(angle) + 31.5
    return x[:, np.rint(i).astype(int).clip(0, 63), np.rint(j).astype(int).clip(0, 63)]


def average(x, level, rng):
    return _bytes(np.mean([x] + [x[rng.permutation(len(x))].astype(float) for _ in range(level - 1)], axis=0))


def _bytes(x):
    return x.round().clip(0, 255).astype(np.uint8)


SPOIL = (blur, noise, mix, others, salt, rectangles, swirl, average)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--features", default="facefeat-celeba", help="the entry whose features are judged")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    network = load(args.features)
    real = as_tensor(open_data("celeba64:test", range=(0, 255))).byte().permute(0, 2, 3, 1).numpy()
    order = np.random.default_rng(0).permutation(len(real))
    mine, reference = real[order[: len(real) // 2]], real[order[len(real) // 2 :]]

    def features(x):
        low, high = network.entry.data.range
        images = torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255 * (high - low) + low
        with torch.no_grad():
            return torch.cat([network.features(block) for block in images.split(256)])

    target = features(reference)
    floor = frechet(features(mine), target)
    found, wrong = {}, []
    for (kind, levels), spoil in zip(LEVELS.items(), SPOIL, strict=True):
        rng = np.random.default_rng(1)
        found[kind] = [frechet(features(spoil(mine, level, rng)), target) for level in levels]
        if [floor, *found[kind]] != sorted([floor, *found[kind]]):
            wrong.append(kind)

    if args.json:
        print(json.dumps({"floor": floor, "n": len(mine), "n_real": len(reference), "fid": found, "wrong": wrong}))
    else:
        print(f"FID in {args.features}, {len(mine)} spoilt faces against {len(reference)} real ones")
        print(f"{'real against real':22} {floor:8.3f}")
        for kind, values in found.items():
            shown = "  ".join(f"{level:>5g}: {value:8.3f}" for level, value in zip(LEVELS[kind], values, strict=True))
            print(f"{kind:22} {shown}  {'WRONG ORDER' if kind in wrong else 'rises'}")
    return int(any(kind.startswith(("blur", "noise", "mix")) for kind in wrong))


if __name__ == "__main__":
    sys.exit(main())
