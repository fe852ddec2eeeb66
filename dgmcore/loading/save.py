"""Writing a model as a registry entry: `model.safetensors` and `model.yaml` in one folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import parse
from ..entry import SCHEMA, Entry, PartSpec
from ..errors import RegistryError, WeightsError
from ..files.atomic import replacing_folder
from ..plugins import distribution_of

if TYPE_CHECKING:
    from torch import Tensor

    from ..entry import Data, HubFile, Metric, Paper, Training
    from ..model import Model

__all__ = ["describe_parts", "save", "write_tensors"]


def save(
    model: Model,
    folder: str | os.PathLike[str],
    *,
    name: str,
    license: str,
    data: Data | Mapping[str, Any],
    summary: str = "",
    architecture: str | None = None,
    ema: bool = False,
    hub: HubFile | Mapping[str, Any] | None = None,
    sampling: Mapping[str, Any] | None = None,
    metrics: Iterable[Metric | Mapping[str, Any]] = (),
    training: Training | Mapping[str, Any] | None = None,
    papers: Iterable[Paper | Mapping[str, Any]] = (),
    tags: Iterable[str] = (),
    samples_png: str | os.PathLike[str] | None = None,
) -> Path:
    """Writes a model's weights and entry into `folder`, each under a temporary name first.

    Parts that are entries of their own are named in the entry and not stored again; all other parts are
    stored in the model's file. A tied tensor is stored once.

    Arguments:
        model: The model, whose config is stored with all its defaults.
        folder: The entry's folder, which :func:`dgmcore.load` reads; made if need be.
        name: The entry's name.
        license: The licence of the weights (an SPDX identifier, or a sentence).
        data: The data that the model stands for.
        summary: One line.
        architecture: The registered name; found from the model's class if left out.
        ema: Whether the weights are an average over the training.
        hub: Where the same file lies on the Hub.
        sampling: Defaults of the sampling options, instead of the class's.
        metrics: Measurements.
        training: How the weights came to be.
        papers: The papers that the model follows.
        tags: Words to search by.
        samples_png: A picture of samples, copied to `samples.png`.

    Returns:
        The folder.
    """

    folder, registered = Path(folder), architecture or architecture_of(model)
    state = {key: tensor.detach() for key, tensor in model.own_state().items()}
    with replacing_folder(folder, last="model.yaml") as stage:
        weights: dict[str, Any] = {"file": "model.safetensors", "ema": ema, "parameters": model.num_parameters()}
        if hub is not None:
            weights["hub"] = hub
        weights |= write_tensors(state, stage / "model.safetensors")
        entry = parse(
            Entry,
            _plain(
                {
                    "schema": SCHEMA,
                    "name": name,
                    "architecture": registered,
                    "package": distribution_of(registered),
                    "license": license,
                    "data": data,
                    "summary": summary,
                    "config": model.config_dict(),
                    "parts": describe_parts(model),
                    "weights": weights,
                    "sampling": dict(model._sampling_defaults if sampling is None else sampling),
                    "metrics": list(metrics),
                    "training": training,
                    "papers": list(papers),
                    "tags": list(tags),
                }
            ),
            source=f"entry {name}",
        )
        from ..entry import write_entry

        if samples_png is not None and Path(samples_png).resolve() != (folder / "samples.png").resolve():
            shutil.copyfile(samples_png, stage / "samples.png")
        write_entry(entry, stage / "model.yaml")
    return folder


def write_tensors(state: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    """Writes a safetensors file and returns its `sha256` and `size`."""

    from safetensors.torch import save_file

    from ..files.verify import sha256_of

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    try:
        save_file(tensors, path, metadata={"format": "pt"})
    except Exception as e:  # safetensors wraps the system's errors
        raise WeightsError(f"can't write {path.name}: {e}", "check the disk's free space") from e
    return {"sha256": sha256_of(path), "size": path.stat().st_size}


def describe_parts(model: Model) -> dict[str, str | PartSpec]:
    """Returns the section `parts` of a model's entry: names of entries, and descriptions of own parts."""

    return {
        name: model.shared_parts.get(name)
        or PartSpec(architecture=architecture_of(part), config=part.config_dict(), parts=describe_parts(part))
        for name, part in model.parts.items()
    }


def architecture_of(model: Model) -> str:
    """Returns the registered name of a model's architecture."""

    if model.architecture:
        return model.architecture
    from .. import plugins

    kind = type(model)
    known = plugins.architectures()
    # names are compared first, so that only the plugin in question is imported
    for name, info in known.items():
        if info.import_.rpartition(":")[2] == kind.__qualname__ and plugins.architecture(name) is kind:
            return name
    raise RegistryError(
        f"no plugin provides the architecture {kind.__module__}:{kind.__qualname__}",
        "give save(..., architecture=NAME), or register it with the hook dgm_architectures",
    )


def _plain(value: Any) -> Any:
    """Turns structs inside plain data into plain data."""
    import msgspec

    return msgspec.to_builtins(value)
