"""Models in the layout of diffusers: a pipeline's or a U-Net's folder, or its files.

A folder of diffusers holds `config.json` (the arguments of `UNet2DModel`) beside `diffusion_pytorch_model.safetensors`
or `.bin`, perhaps of float16 (`.fp16`) or in shards that an `.index.json` names, and the scheduler's
`scheduler_config.json`; pipelines keep them in `unet/` and `scheduler/`, the first ones, such as those of
`google/ddpm-cifar10-32`, all in one folder. Of a repository on a Hub those files are fetched that are read (`fetch`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dgmcore.conversion.converters import Converted, options_of, read_checkpoint, tensors_of
from dgmcore.conversion.foreign import shards_of
from dgmcore.entry import Data
from dgmcore.errors import UsageError, WeightsError
from dgmcore.hub.client import NoFile, ask
from dgmcore.hub.fetch import fetch_first, fetch_text

__all__ = ["diffusers_unet", "fetch", "names_in_file", "schedule_config"]

_NAME = "diffusion_pytorch_model"
#: What a folder may call its weights, the best first: whole before cut into shards, float32 before float16.
_WEIGHTS = (
    f"{_NAME}.safetensors",
    f"{_NAME}.safetensors.index.json",
    f"{_NAME}.bin",
    f"{_NAME}.bin.index.json",
    f"{_NAME}.fp16.safetensors",
    f"{_NAME}.safetensors.index.fp16.json",
    f"{_NAME}.fp16.bin",
    f"{_NAME}.bin.index.fp16.json",
)
_SHARD = re.compile(r"\w[\w.-]*\.safetensors")
_MOST_SHARDS = 1000
_SCHEDULER = ("scheduler_config.json",)
_MAX_JSON = 1_000_000

# what attention was called until diffusers 0.12, whose files are still on the Hub
_OLD = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
_ATTENTION = re.compile(r"(.*\.attentions\.\d+\.)(to_q|to_k|to_v|to_out\.0)(\.\w+)")


def names_in_file(names: Iterable[str], present: Collection[str]) -> dict[str, str]:
    """Returns the file's name of each tensor of a `UNet2DModel`, be the file new or old.

    Example:
        >>> names_in_file(["mid.attentions.0.to_q.bias"], {"mid.attentions.0.query.bias"})
        {'mid.attentions.0.to_q.bias': 'mid.attentions.0.query.bias'}
    """

    result = {}
    for name in names:
        found = _ATTENTION.fullmatch(name)
        old = f"{found[1]}{_OLD[found[2]]}{found[3]}" if found else name
        result[name] = old if name not in present and old in present else name
    return result


def diffusers_unet(files: list[Path], options: dict[str, Any]) -> Converted:
    """Converts a `UNet2DModel` with the schedule of its scheduler.

    Options:
        dataset: What it was trained on; `images` by default.
        args: Arguments of `UNet2DModel`, where there is no `config.json`, or to change it.
        scheduler: Values of `scheduler_config.json`, likewise.
        variant: `fp16` for those of a folder's weights, where it has others too.
    """

    given = options_of(options, dataset="images", args={}, scheduler={}, variant=None)
    weights = _find(files, _of_variant(given["variant"]), "unet") or next(
        (f for f in files if f.suffix in (".safetensors", ".bin")), None
    )
    if weights is None:
        raise UsageError(
            f"{files[0].name} holds no {_WEIGHTS[0]}", "give a folder as diffusers saves it, or the weights' file"
        )
    shards = [weights.parent / name for name in shards_of(weights)] if weights.suffix == ".json" else []
    beside = [*files, weights.parent, weights.parent.parent / "scheduler"]
    config_file = _find([weights.parent, *files], ("config.json",), "unet")
    scheduler_file = _find(beside, _SCHEDULER, "scheduler")
    if config_file is None and not given["args"]:
        raise UsageError(
            f"{weights.name} has no config.json beside it", "give that file too, or --set args.block_out_channels=[...]"
        )
    config = _read(config_file) if config_file else {}
    kind = config.get("_class_name", "UNet2DModel")
    if kind != "UNet2DModel":
        raise WeightsError(
            f"{config_file} describes a {kind}, not a UNet2DModel", "only that architecture is known here"
        )
    args = {k: v for k, v in config.items() if not k.startswith("_")} | given["args"]
    scheduler = (_read(scheduler_file) if scheduler_file else {}) | given["scheduler"]
    state = tensors_of(read_checkpoint(weights))
    channels = int(args.get("in_channels", 3))
    size = args.get("sample_size") or 0
    height, width = (size, size) if isinstance(size, int) else size
    if not height:
        raise UsageError("the U-Net's config states no sample_size", "--set args.sample_size=32")
    model = {
        "event_shape": [channels, height, width],
        "network": {"kind": "unet", "args": args},
        **schedule_config(scheduler),
    }
    notes = [] if scheduler_file or given["scheduler"] else ["no scheduler_config.json was given: DDPM's defaults"]
    license = _license([*files, weights.parent, weights.parent.parent])
    return Converted(
        architecture="ddpm",
        config=model,
        state=_new_names(state),
        license=license,
        data=Data(dataset=str(given["dataset"]), event_shape=(channels, height, width), range=(-1.0, 1.0), levels=256),
        summary=f"Denoising diffusion with diffusers' U-Net, {height}x{width}",
        papers=[{"title": "Denoising Diffusion Probabilistic Models", "url": "https://arxiv.org/abs/2006.11239"}],
        files=[f for f in (weights, *shards, config_file, scheduler_file) if f],
        notes=notes,
    )


def fetch(repo: str, revision: str | None, options: Mapping[str, Any]) -> Path:
    """Fetches what there is to convert of a repository, all of it from one commit, and returns its folder in the cache.

    Weights are safetensors: what the Hub states as their sha256 is recorded, and must stay.

    Arguments:
        repo: The repository, `USER/REPO`.
        revision: Commit, tag or branch.
        options: Those of the format; `variant` chooses the weights.

    Raises:
        DgmError: If it is none of diffusers', holds no safetensors, or its index names what is no file beside it.
    """

    inner, config = _first(repo, revision, ("config.json", "unet/config.json"))
    inner, folder = inner.removesuffix("config.json"), config.parents[inner.count("/")]
    commit = folder.name
    for name in ("README.md", "scheduler_config.json", "scheduler/scheduler_config.json"):
        with suppress(NoFile):
            fetch_text(repo, name, commit)
    for name in _of_variant(options.get("variant")):
        if ".bin" in name:
            continue
        try:
            if name.endswith(".json"):
                shards = list(shards_of(fetch_text(repo, inner + name, commit)))
            else:
                shards = [name]
                ask(repo, inner + name, commit, f"hf://{repo}")
        except NoFile:
            continue
        if len(shards) > _MOST_SHARDS or not all(map(_SHARD.fullmatch, shards)):
            what = f"{inner}{name} of {repo} names other files than safetensors beside it, or too many"
            raise WeightsError(what, "nothing is fetched; ask its publisher")
        for shard in shards:
            fetch_first(repo, inner + shard, commit, name=f"hf://{repo}")
        return folder
    what = f"{repo} has no weights as safetensors" + (
        f", variant {options['variant']}" if options.get("variant") else ""
    )
    raise WeightsError(what, "download its file yourself, if you trust it: dgm convert FOLDER --as NAME")


def _first(repo: str, revision: str | None, names: Iterable[str]) -> tuple[str, Path]:
    """Returns the first of these files that a repository has."""

    for name in names:
        with suppress(NoFile):
            return name, fetch_text(repo, name, revision)
    raise WeightsError(f"{repo} has no config.json, here or in unet/", "name a repository in the layout of diffusers")


def _of_variant(variant: str | None) -> tuple[str, ...]:
    """Returns the names of weights of a variant, such as `fp16`; of None all."""

    if variant not in (None, "fp16"):
        raise UsageError(f"variant={variant} is not known", "--set variant=fp16, or leave it out")
    return tuple(name for name in _WEIGHTS if not variant or variant in name)


def schedule_config(scheduler: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the part of our config that says what a scheduler of diffusers says.

    Raises:
        WeightsError: If it says what is not known here, since samples would then be wrong.
    """

    def choose(key: str, default: str, table: Mapping[str, str]) -> str:
        value = scheduler.get(key, default)
        if value not in table:
            raise WeightsError(f"the scheduler's {key} {value} is not known here", f"known: {', '.join(table)}")
        return table[value]

    for key in ("trained_betas", "thresholding", "rescale_betas_zero_snr"):
        if scheduler.get(key):
            raise WeightsError(f"the scheduler's {key} is not known here", "use diffusers for this model")
    name = choose("beta_schedule", "linear", {"linear": "linear", "squaredcos_cap_v2": "cosine"})
    ends = {"beta_min": scheduler.get("beta_start", 1e-4), "beta_max": scheduler.get("beta_end", 0.02)}
    limit = float(scheduler.get("clip_sample_range", 1.0))
    small, large = "small", "large"
    return {
        "schedule": {
            "name": name,
            "steps": int(scheduler.get("num_train_timesteps", 1000)),
            **(ends if name == "linear" else {}),
        },
        "prediction": choose("prediction_type", "epsilon", {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}),
        "clip": [-limit, limit] if scheduler.get("clip_sample", True) else None,
        "variance": choose(
            "variance_type",
            "fixed_small",
            {"fixed_small": small, "fixed_small_log": small, "fixed_large": large, "fixed_large_log": large},
        ),
    }


def _new_names(state: Mapping[str, Any]) -> dict[str, Any]:
    """Returns tensors under the names of our model, whose network is the U-Net."""

    today = {old: new for new, old in _OLD.items()}
    pattern = re.compile(rf"(.*\.attentions\.\d+\.)({'|'.join(today)})(\.\w+)")
    return {
        "network." + pattern.sub(lambda found: f"{found[1]}{today[found[2]]}{found[3]}", name): tensor
        for name, tensor in state.items()
    }


def _find(places: Iterable[Path], names: tuple[str, ...], inner: str) -> Path | None:
    """Returns the first file of these names among files and in folders, `inner` being the pipeline's folder for it."""

    for place in places:
        for name in names:
            candidates = [place / inner / name, place / name] if place.is_dir() else [place]
            for candidate in candidates:
                if candidate.name == name and candidate.is_file():
                    return candidate
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            found = json.loads(stream.read(_MAX_JSON + 1)[:_MAX_JSON])
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise WeightsError(f"{path} holds no configuration in JSON", "get the file again")
    return found


def _license(places: Iterable[Path]) -> str | None:
    """Returns the licence that the front matter of a repository's README states."""

    for place in places:
        card = place / "README.md"
        if place.is_dir() and card.is_file():
            with card.open(encoding="utf-8", errors="replace") as stream:
                found = re.search(r"\A---\n(?:.*\n)*?license:\s*(\S+)\s*\n", stream.read(20_000))
            if found:
                return found[1]
    return None
