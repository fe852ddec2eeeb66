"""Weights that the authors of denoising diffusion GANs publish (NVIDIA Source Code License, non-commercial)."""

from __future__ import annotations

import re
from argparse import Namespace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from dgmcore.conversion.converters import Converted, options_of, read_checkpoint, tensors_of
from dgmcore.entry import Data
from dgmcore.errors import UsageError
from dgmcore.loading.load import build

from .discriminator import ConvDiscriminator
from .model import DDGAN
from .unet import Attention, Block, PyramidDown, UNetGenerator

__all__ = ["ddgan", "discriminator_names", "generator_names"]

_BLOCK = {
    "GroupNorm_0.style": "norm1.style",
    "Conv_0": "conv1",
    "Dense_0": "time",
    "GroupNorm_1.style": "norm2.style",
    "Conv_1": "conv2",
    "Conv_2": "skip",
}
_ATTENTION = {"GroupNorm_0": "norm", "NIN_0": "query", "NIN_1": "key", "NIN_2": "value", "NIN_3": "out"}


def generator_names(generator: UNetGenerator) -> dict[str, str]:
    """Returns {published name: our name} of every tensor of a generator."""

    paths = {id(module): path for path, module in generator.named_modules()}
    names = {}
    for number, module in enumerate(generator.in_published_order()):
        table = {Block: _BLOCK, Attention: _ATTENTION, PyramidDown: {"Conv2d_0": "conv"}}.get(type(module), {"": ""})
        ours = dict(module.named_parameters())
        for published, own in table.items():
            for kind in ("weight", "bias"):
                mine = ".".join(p for p in (own, kind) if p)
                if mine in ours:
                    theirs = {"weight": "W", "bias": "b"}[kind] if published.startswith("NIN") else kind
                    key = ".".join(p for p in ("all_modules", str(number), published, theirs) if p)
                    names[key] = f"{paths[id(module)]}.{mine}"
    dense = [i for i, m in enumerate(generator.mapping or []) if isinstance(m, nn.Linear)]
    for i in dense:
        for kind in ("weight", "bias"):
            names[f"z_transform.{i + 1}.{kind}"] = f"mapping.{i}.{kind}"  # theirs begins with PixelNorm
    return names


def discriminator_names(discriminator: ConvDiscriminator) -> dict[str, str]:
    """Returns {published name: our name} of every tensor of a discriminator."""

    simple = {
        "time1": "t_embed.main.0",
        "time2": "t_embed.main.2",
        "first": "start_conv",
        "last": "final_conv",
        "logit": "end_linear",
    }
    block = {"conv1": "conv1.0", "conv2": "conv2.0", "time": "dense_t1", "skip": "skip.0"}
    names = {}
    for ours in discriminator.state_dict():
        found = re.fullmatch(r"blocks\.(\d+)\.(\w+)\.(weight|bias)", ours)
        if found:
            names[f"conv{int(found[1]) + 1}.{block[found[2]]}.{found[3]}"] = ours
        else:
            layer, _, kind = ours.rpartition(".")
            names[f"{simple[layer]}.{kind}"] = ours
    return names


def ddgan(files: list[Path], options: dict[str, Any]) -> Converted:
    """Converts the published generator, with its discriminator if that is given, or a run's `content.pth` with both.

    The configuration is inferred from shapes, and from the arguments of the run if the file has them.

    Options:
        size: The image's height; by default 4 at the lowest level, or 256 with six levels.
        steps: The number of steps; 4 by default.
        dataset: What it was trained on; by default cifar10 for 32 pixels, else images.
    """

    given = options_of(options, size=None, steps=None, dataset=None)
    if not 1 <= len(files) <= 2:
        raise UsageError(
            f"ddgan takes one or two files, not {len(files)}", "give the generator's, then the discriminator's"
        )
    states, run = [], {}
    for file in files:
        checkpoint = read_checkpoint(file, allow=[Namespace])
        run |= vars(checkpoint["args"]) if isinstance(checkpoint.get("args"), Namespace) else {}
        nets = [checkpoint[k] for k in ("netG_dict", "netD_dict") if k in checkpoint]
        states += [tensors_of(net) for net in nets or [checkpoint]]
    generator = next((s for s in states if "all_modules.0.weight" in s), None)
    discriminator = next((s for s in states if "start_conv.weight" in s), None)
    if generator is None:
        raise UsageError(
            "no file holds a generator of a denoising diffusion GAN", "its tensors begin with all_modules.0"
        )
    if len(states) != 1 + (discriminator is not None):
        raise UsageError("the files are not one generator and one discriminator", "give those of one model")
    told = {"size": given["size"] or run.get("image_size"), "steps": given["steps"] or run.get("num_timesteps")}
    config = infer(generator, discriminator, {k: v for k, v in told.items() if v})
    config |= {k: float(run[k]) for k in ("beta_min", "beta_max") if k in run}
    model = build("ddgan", config, init=False)
    assert isinstance(model, DDGAN)
    state = _rename(generator, generator_names(model.generator), "generator.", "the generator")
    if discriminator is not None:
        state |= _rename(discriminator, discriminator_names(model.discriminator), "discriminator.", "the discriminator")
    dataset = given["dataset"] or run.get("dataset") or ("cifar10" if config["event_shape"][1] == 32 else "images")
    return Converted(
        architecture="ddgan",
        config=model.config_dict(),
        state=state,
        license="NVIDIA Source Code License: non-commercial research only",
        data=Data(
            dataset={"celeba_256": "celebahq", "lsun": "lsun-church"}.get(dataset, str(dataset)),
            event_shape=model.event_shape,
            range=(-1.0, 1.0),
            levels=256,
        ),
        summary=f"Denoising diffusion GAN, {model.event_shape[1]}x{model.event_shape[2]}, published by its authors",
        papers=[
            {
                "title": "Tackling the Generative Learning Trilemma with Denoising Diffusion GANs",
                "url": "https://arxiv.org/abs/2112.07804",
            }
        ],
        notes=[] if discriminator is not None else ["the discriminator was not given, so there is none"],
    )


def infer(
    generator: dict[str, Tensor], discriminator: dict[str, Tensor] | None, options: dict[str, Any]
) -> dict[str, Any]:
    """Returns the config that the shapes of a checkpoint tell."""

    width, channels = generator["all_modules.2.weight"].shape[:2]
    levels = _levels(generator)
    size = int(options.get("size", 256 if len(levels) == 6 else 4 * 2 ** (len(levels) - 1)))
    dense = [k for k in generator if re.fullmatch(r"z_transform\.\d+\.weight", k)]
    d: dict[str, Any] = {"kind": "none"}
    if discriminator is not None:
        d = {
            "kind": "conv",
            "size": "large" if "conv6.conv1.0.weight" in discriminator else "small",
            "width": discriminator["start_conv.weight"].shape[0] // 2,
            "embedding": discriminator["t_embed.main.0.weight"].shape[0],
        }
    return {
        "event_shape": [channels, size, size],
        "steps": int(options.get("steps", 4)),
        "latent": generator["z_transform.1.weight"].shape[1],
        "generator": {
            "kind": "unet",
            "width": width,
            "multipliers": [level["channels"] // width for level in levels],
            "blocks": levels[0]["blocks"],
            "attention": [size >> i for i, level in enumerate(levels) if level["attention"]],
            "embedding": generator["z_transform.1.weight"].shape[0],
            "mapping_layers": len(dense) - 1,
        },
        "discriminator": d,
    }


def _levels(generator: dict[str, Tensor]) -> list[dict[str, Any]]:
    """Reads channels, blocks and attention of each level of the way down; a level ends in a layer of the pyramid."""

    levels: list[dict[str, Any]] = [{"channels": 0, "blocks": 0, "attention": False}]
    pyramids = sum(1 for k in generator if k.endswith(".Conv2d_0.weight"))
    for number in range(3, len(generator)):
        level, prefix = levels[-1], f"all_modules.{number}."
        if f"{prefix}Conv2d_0.weight" in generator:
            level["blocks"] -= 1  # the last one resampled
            levels.append({"channels": 0, "blocks": 0, "attention": False})
        elif f"{prefix}NIN_0.W" in generator:
            level["attention"] = True
        elif len(levels) > pyramids and level["blocks"] == levels[0]["blocks"]:
            break  # the middle begins
        else:
            level["channels"] = generator[f"{prefix}Conv_0.weight"].shape[0]
            level["blocks"] += 1
    return levels


def _rename(state: dict[str, Tensor], names: dict[str, str], prefix: str, what: str) -> dict[str, Tensor]:
    missing, unknown = sorted(set(names) - set(state)), sorted(set(state) - set(names))
    if missing or unknown:
        listed = [f"{name} is missing" for name in missing] + [f"{name} is unknown" for name in unknown]
        raise UsageError(
            f"{what} does not fit: {'; '.join(listed)}",
            "is it a checkpoint of denoising diffusion GAN? its image height can be set with --set size=...",
        )
    return {
        prefix + ours: state[theirs].T.contiguous() if theirs.endswith(".W") else state[theirs]
        for theirs, ours in names.items()
    }
