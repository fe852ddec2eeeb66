"""VAEBM as its authors publish it: two files, the checkpoint of an NVAE and that of an energy network."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from dgmcore.conversion.converters import Converted, convert_part, options_of, read_checkpoint, tensors_of
from dgmcore.errors import UsageError

__all__ = ["vaebm"]

#: Langevin steps and their size with which the authors draw, by the layout of the energy.
_STEPS = {"cifar10": (16, 8e-5), "celeba64": (20, 5e-6), "lsun64": (20, 4e-6), "celebahq256": (24, 3e-6)}


def vaebm(files: list[Path], options: dict[str, Any]) -> Converted:
    """Converts both files, in any order, to one model whose parts are its own.

    Options:
        potential: `published` (the default where the decoder is Gaussian), or `exact`.
        dataset: What they were trained on.
        base: The config of the NVAE, where its tensors do not show it.
        steps: Langevin steps, by default those of the authors; `step_size` likewise.
    """

    given = options_of(options, potential=None, dataset=None, base={}, steps=None, step_size=None)
    if len(files) != 2:
        raise UsageError(f"vaebm needs two files, not {len(files)}", "give the NVAE's checkpoint and the energy's")
    names = {file: set(tensors_of(read_checkpoint(file, allow=[Namespace]))) for file in files}
    vaes = [file for file in files if "enc_sampler.0.weight" in names[file]]
    energies = [file for file in files if {"conv1.weight", "linear.weight"} <= names[file]]
    if len(vaes) != 1 or len(energies) != 1:
        found = ", ".join(
            f"{f.name}: {'an NVAE' if f in vaes else 'an energy' if f in energies else 'neither'}" for f in files
        )
        raise UsageError(
            f"the two files are not an NVAE and an energy network ({found})",
            "the NVAE has tensors enc_sampler.*, the energy conv1, blocks.*, linear",
        )
    dataset = {"dataset": given["dataset"]} if given["dataset"] else {}
    base = convert_part("nvae", vaes, {**given["base"], **dataset})
    height = base.data.event_shape[1]
    energy = convert_part("vaebm-energy", energies, {"size": height, **dataset})
    if base.data.event_shape != energy.data.event_shape:
        raise UsageError(
            f"the NVAE draws {list(base.data.event_shape)}, the energy judges {list(energy.data.event_shape)}",
            "give two files of one model",
        )
    gaussian = base.config["decoder"] == "gaussian"
    potential = given["potential"] or ("published" if gaussian else "exact")
    if potential == "published" and not gaussian:
        raise UsageError(
            f"the published potential needs a Gaussian decoder, not {base.config['decoder']}", "--set potential=exact"
        )
    steps, step_size = _STEPS.get(energy.config["layout"], _STEPS["cifar10"])
    return Converted(
        architecture="vaebm",
        config={"potential": potential},
        parts={
            "base": {"architecture": base.architecture, "config": base.config},
            "critic": {"architecture": energy.architecture, "config": energy.config | {"data_range": base.data.range}},
        },
        state={
            **{f"parts.base.{name}": tensor for name, tensor in base.state.items()},
            **{f"parts.critic.{name}": tensor for name, tensor in energy.state.items()},
        },
        license="NVIDIA Source Code License for VAEBM and NVAE (non-commercial)",
        data=base.data,
        sampling={
            "steps": int(given["steps"] or steps),
            "step_size": float(given["step_size"] or step_size),
            **({"final_mean": ["x"]} if gaussian else {}),  # the authors show the decoder's mean
        },
        summary=f"VAEBM, {height}x{base.data.event_shape[2]}, published by its authors",
        papers=[*energy.papers, *base.papers],
    )
