"""Weights that the authors of denoising diffusion GANs publish (NVIDIA Source Code License, non-commercial)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from dgmcore.conversion import Converted, read_checkpoint
from dgmcore.entry import Data
from dgmcore.errors import UsageError

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
    """Converts a generator checkpoint, and a discriminator's if given (the authors publish generators).

    The configuration is inferred from shapes. What they do not tell is taken from `options`: `size` (the image's
    height; default 4 at the lowest level, or 256 with six levels), `steps` (default 4) and `dataset`.
    """

    if not 1 <= len(files) <= 2:
        raise UsageError(
            f"ddgan takes one or two files, not {len(files)}", "give the generator's, then the discriminator's"
        )
    states = [_bare(read_checkpoint(file)) for file in files]
    generator = next((s for s in states if "all_modules.0.weight" in s), None)
    discriminator = next((s for s in states if "start_conv.weight" in s), None)
    if generator is None:
        raise UsageError(
            "no file holds a generator of a denoising diffusion GAN", "its tensors begin with all_modules.0"
        )
    config = infer(generator, discriminator, options)
    model = DDGAN(config)
    state = _rename(generator, generator_names(model.generator), "generator.", "the generator")
    if discriminator is not None:
        state |= _rename(discriminator, discriminator_names(model.discriminator), "discriminator.", "the discriminator")
    else:
        state |= {k: v for k, v in model.state_dict().items() if k.startswith("discriminator.")}
    return Converted(
        architecture="ddgan",
        config=model.config_dict(),
        state=state,
        license="NVIDIA Source Code License: non-commercial research only",
        data=Data(
            dataset=str(options.get("dataset", "cifar10")), event_shape=model.event_shape, range=(-1.0, 1.0), levels=256
        ),
        summary="Denoising diffusion GAN, published by its authors",
    )


def infer(
    generator: dict[str, Tensor], discriminator: dict[str, Tensor] | None, options: dict[str, Any]
) -> dict[str, Any]:
    """Returns the config that the shapes of a checkpoint tell."""

    width, channels = generator["all_modules.2.weight"].shape[:2]
    levels = _levels(generator)
    size = int(options.get("size", 256 if len(levels) == 6 else 4 * 2 ** (len(levels) - 1)))
    dense = [k for k in generator if re.fullmatch(r"z_transform\.\d+\.weight", k)]
    d: dict[str, Any] = {"kind": "conv", "size": "large" if size > 64 else "small"}
    if discriminator is not None:
        d["size"] = "large" if "conv6.conv1.0.weight" in discriminator else "small"
        d["width"] = discriminator["start_conv.weight"].shape[0] // 2
        d["embedding"] = discriminator["t_embed.main.0.weight"].shape[0]
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


def _bare(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def _rename(state: dict[str, Tensor], names: dict[str, str], prefix: str, what: str) -> dict[str, Tensor]:
    missing, unknown = sorted(set(names) - set(state)), sorted(set(state) - set(names))
    if missing or unknown:
        raise UsageError(
            f"{what} does not fit: missing {missing[:5]}, unknown {unknown[:5]}",
            "is it a checkpoint of denoising diffusion GAN? its image height can be set with --set size=...",
        )
    return {
        prefix + ours: state[theirs].T.contiguous() if theirs.endswith(".W") else state[theirs]
        for theirs, ours in names.items()
    }
