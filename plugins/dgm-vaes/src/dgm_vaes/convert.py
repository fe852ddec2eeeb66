"""Weights that others publish: the VAE of Ruthotto & Haber, and NVAE."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dgmcore.entry import Data
from dgmcore.errors import UsageError

_RH_PAPER = {"title": "An Introduction to Deep Generative Modeling", "url": "https://arxiv.org/abs/2103.05180"}
_RH_NOTICE = "Copyright (c) 2021 Lars Ruthotto, github.com/EmoryMLIP/DeepGenerativeModelingIntro"
_NVAE_PAPER = {"title": "NVAE: A Deep Hierarchical Variational Autoencoder", "url": "https://arxiv.org/abs/2007.03898"}

if TYPE_CHECKING:
    from torch import Tensor

    from dgmcore.conversion.converters import Converted

__all__ = ["nvae", "nvae_config", "nvae_state", "rh_vae", "rh_vae_state"]

_RH = {
    "e.conv1": "features.0",
    "e.conv2": "features.2",
    "g.fc": "network.0",
    "g.bn2": "network.2",
    "g.conv2": "network.4",
    "g.bn1": "network.5",
    "g.conv1": "network.7",
}


def rh_vae_state(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames the tensors of `trainVAE.pt`: the encoder `e.*` with its two heads, and the generator `g.*`."""

    import torch

    state = {}
    for kind in ("weight", "bias"):
        try:
            state[f"heads.{kind}"] = torch.cat([tensors[f"e.fc_mu.{kind}"], tensors[f"e.fc_logvar.{kind}"]])
        except KeyError as e:
            raise UsageError(
                f"no VAE of rh-vae: the tensor {e.args[0]} is missing", "give trainVAE.pt, encoder and generator"
            ) from None
    for name, tensor in tensors.items():
        layer, _, kind = name.rpartition(".")
        if layer in _RH:
            state[f"{_RH[layer]}.{kind}"] = tensor
        elif layer not in ("e.fc_mu", "e.fc_logvar"):
            state[name] = tensor  # unknown: the core lists it
    return state


def rh_vae(files: list[Path], options: dict[str, Any]) -> Converted:
    """Converts `trainVAE.pt`; its posterior is the one that it was trained to sample, with std = exp(head)."""

    from dgmcore.conversion.converters import Converted, read_checkpoint, tensors_of

    if len(files) != 1:
        raise UsageError(f"rh-vae needs one file, not {len(files)}", "give trainVAE.pt")
    state = rh_vae_state(tensors_of(read_checkpoint(files[0])))
    latents = state["network.0.weight"].shape[1]
    return Converted(
        architecture="rh-vae",
        config={"latents": latents, "posterior_std": "exp", **options},
        state=state,
        license="MIT",
        data=Data(dataset="mnist", event_shape=(1, 28, 28), range=(0.0, 1.0), levels=256),
        summary=f"VAE on MNIST, q = {latents}, published by Ruthotto & Haber",
        papers=[_RH_PAPER],
        notes=[_RH_NOTICE],
    )


# --- NVAE -----------------------------------------------------------------------------------------

_TOWERS = {"pre_process": "pre_process", "enc_tower": "encoder", "dec_tower": "decoder", "post_process": "post_process"}
_PLAIN = (
    (r"prior_ftr0$", "prior"),
    (r"stem\.(\w+)$", r"stem.\1"),
    (r"enc0\.1\.(\w+)$", r"top.1.\1"),
    (r"enc_sampler\.(\d+)\.(\w+)$", r"posteriors.\1.\2"),
    (r"dec_sampler\.(\d+)\.1\.(\w+)$", r"priors.\1.1.\2"),
    (r"image_conditional\.1\.(\w+)$", r"head.1.\1"),
)
_CELL = (
    (r"conv\.(\w+)$", r"conv.\1"),  # a combiner
    (r"skip\.1\.(\w+)$", r"skip.conv.\1"),
    (r"_ops\.(\d)\.bn_act\.(\w+)$", r"ops.norms.\1.0.\2"),
    (r"_ops\.(\d)\.conv_0\.(\w+)$", r"ops.convs.\1.\2"),
    (r"se\.se\.0\.(\w+)$", r"se.squeeze.\1"),
    (r"se\.se\.2\.(\w+)$", r"se.excite.\1"),
)
_FLOW = {"conv.convz.0": "expand", "conv.convz.2": "depthwise", "mu.conv_0": "shift"}


def _cell(rest: str, upsampled: bool) -> str | None:
    """Renames a tensor inside a cell; `upsampled` depthwise cells start with an interpolation."""

    for pattern, name in _CELL:
        if re.match(pattern, rest):
            return re.sub(pattern, name, rest)
    if found := re.match(r"skip\.conv_(\d)\.(\w+)$", rest):
        return f"skip.convs.{int(found[1]) - 1}.{found[2]}"
    found = re.match(r"_ops\.0\.conv\.(\d)\.(.+)$", rest)
    if not found:
        return None
    # norm, (conv, norm + swish), (depthwise, norm + swish), conv, norm
    offset, kind = int(upsampled), found[2].rpartition(".")[2]
    at = int(found[1]) - offset
    first, second = {0: (0, None), 1: (1, 2), 2: (3, 4), 3: (5, None), 4: (6, None)}[at]
    return f"ops.{second + offset}.0.{kind}" if found[2].startswith("conv.1.") else f"ops.{first + offset}.{kind}"


def nvae_state(tensors: Mapping[str, Any], flows: int = 0) -> dict[str, Any]:
    """Renames the tensors of a published NVAE; `weight_normalized` twins are dropped.

    Arguments:
        tensors: Tensors (or their shapes) by published name.
        flows: Pairs of flow cells per group.
    """

    state, unknown = {}, []
    for key, value in tensors.items():
        if key.endswith(".weight_normalized"):
            continue
        tower, _, rest = key.partition(".")
        new = None
        if tower in _TOWERS:
            number, _, rest = rest.partition(".")
            upsampled = f"{tower}.{number}._ops.0.conv.0.bn.weight" not in tensors
            inner = _cell(rest, upsampled)
            new = inner and f"{_TOWERS[tower]}.{number}.{inner}"
        elif tower == "nf_cells":
            found = re.match(r"(\d+)\.cell([12])\.(.+)\.(\w+)$", rest)
            if found and found[3] in _FLOW and flows:
                group, pair = divmod(int(found[1]), flows)
                new = f"flows.{group}.{pair}.{('first', 'second')[found[2] == '2']}.{_FLOW[found[3]]}.{found[4]}"
        else:
            for pattern, name in _PLAIN:
                if re.match(pattern, key):
                    new = re.sub(pattern, name, key)
        if new:
            state[new] = value
        else:
            unknown.append(key)
    if unknown:
        raise UsageError(
            f"no NVAE known here: {', '.join(f'{key} is unknown' for key in unknown)}",
            "give a checkpoint of NVAE's own code",
        )
    return state


def nvae_config(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Reads the structure of a published NVAE off the names and shapes of its tensors."""

    def kinds(tower: str) -> list[str]:
        """`down`, `up`, `cell` or `combiner` for each module of a tower."""
        names: dict[int, set[str]] = {}
        for key in shapes:
            if found := re.match(rf"{tower}\.(\d+)\.(\w+)\.?(\w*)", key):
                names.setdefault(int(found[1]), set()).update({found[2], f"{found[2]}.{found[3]}"})
        return [
            "down" if "skip.conv_1" in n else "up" if "skip.1" in n else "cell" if "_ops" in n else "combiner"
            for _, n in sorted(names.items())
        ]

    def expand(tower: str) -> int:
        wide = [s for k, s in shapes.items() if re.match(rf"{tower}\.\d+\._ops\.0\.conv\.\d\.conv\.0\.weight$", k)]
        return wide[0][0] // wide[0][1] if wide else 0

    encoder, decoder, before = kinds("enc_tower"), kinds("dec_tower"), kinds("pre_process")
    scales, blocks = encoder.count("down") + 1, before.count("down")
    groups = [part.count("c") for part in "".join(k[0] if k != "combiner" else "x" for k in encoder).split("d")]
    first = encoder.index("combiner") if "combiner" in encoder else len(encoder)
    groups = [g // first for g in groups]
    total = sum(groups)
    after = decoder[1:]
    head = shapes["image_conditional.1.weight"][0]
    image = shapes["stem.weight"][1]
    kind = "bernoulli" if head == image else "gaussian" if head == 2 * image else "logistics"
    mixtures = head // (1 + image * (3 if image == 3 else 2))
    size = [n << (blocks + scales - 1) for n in shapes["prior_ftr0"][1:]]
    pad = 2 if image == 1 and size[0] == 32 else 0
    cells = len({k.split(".")[1] for k in shapes if k.startswith("nf_cells.")})
    return {
        "event_shape": [image, *(n - 2 * pad for n in size)],
        "channels": shapes["stem.weight"][0],
        "latents": shapes["enc_sampler.0.weight"][0] // 2,
        "groups": groups,
        "scales": scales,
        "encoder_cells": first,
        "decoder_cells": next((i for i, k in enumerate(after) if k == "combiner"), 1) - (after[:1] == ["up"]),
        "blocks": blocks,
        "block_cells": len(before) // max(blocks, 1),
        "expand": expand("dec_tower"),
        "post_expand": expand("post_process"),
        "squeeze_excite": any(".se.se." in k for k in shapes),
        "flows": cells // total,
        "pad": pad,
        "decoder": kind,
        **({"mixtures": mixtures} if kind == "logistics" else {}),
    }


def nvae(files: list[Path], options: dict[str, Any]) -> Converted:
    """Converts a checkpoint of NVAE's or VAEBM's own code.

    Its structure is read off its tensors. What they do not show, whether posteriors are relative to priors and the
    levels of the data, is taken from the arguments of the run in the file. `options` change the config; `dataset` is
    one too.
    """

    from argparse import Namespace

    from dgmcore.conversion.converters import Converted, read_checkpoint, tensors_of

    if len(files) != 1:
        raise UsageError(f"nvae needs one file, not {len(files)}", "give checkpoint.pt")
    checkpoint = read_checkpoint(files[0], allow=[Namespace])
    tensors = tensors_of(checkpoint)
    if "stem.weight" not in tensors or "enc_sampler.0.weight" not in tensors:
        raise UsageError(
            f"{files[0].name} is no NVAE: it lacks stem or enc_sampler", "give a checkpoint of NVAE's code"
        )
    config = nvae_config({k: tuple(v.shape) for k, v in tensors.items()})
    arguments = checkpoint.get("args")
    if arguments is not None and hasattr(arguments, "res_dist"):
        config["residual_posterior"] = bool(arguments.res_dist)
    levels = 2 ** int(getattr(arguments, "num_x_bits", 8))
    if config["decoder"] == "logistics":
        config["levels"] = levels
    dataset = options.pop("dataset", getattr(arguments, "dataset", None)) or "images"
    config |= options
    shape = tuple(config["event_shape"])
    return Converted(
        architecture="nvae",
        config=config,
        state=nvae_state(tensors, config["flows"]),
        license="NVIDIA Source Code License (non-commercial)",
        data=Data(
            dataset={"celeba_64": "celeba64"}.get(dataset, dataset),
            event_shape=shape,
            range=(0.0, 1.0) if config["decoder"] == "bernoulli" else (-1.0, 1.0),
            levels=levels,
        ),
        papers=[_NVAE_PAPER],
        summary=f"NVAE, {shape[1]}x{shape[2]}, published by its authors",
    )
