"""Checks on what stays: state, devices, files."""

from __future__ import annotations

import ast
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

from ...entry import Data
from ..subject import Subject
from .base import Skip, registry

CHECKS, check = registry()


@check()
def eval_mode_is_idempotent(it: Subject) -> None:
    """In eval mode, drawing and measuring twice gives the same and changes no tensor of the model."""

    before = {k: v.clone() for k, v in it.model.state_dict().items()}
    first, second = _use(it), _use(it)
    for what, a in first.items():
        assert torch.equal(a, second[what]), f"{what} differs at the second call in eval mode"
    for name, tensor in it.model.state_dict().items():
        assert torch.equal(before[name], tensor), f"using the model in eval mode changed {name}"


@check()
def dtype_moves_everything(it: Subject) -> None:
    """`.to(torch.float64)` moves every floating tensor, and the model still draws and measures."""

    twin = Subject(it.name, it.fresh().to(torch.float64), it.architecture, it.range)
    for name, tensor in _tensors(twin.model):
        assert not tensor.is_floating_point() or tensor.dtype == torch.float64, f"{name} stayed {tensor.dtype}"
    for what, value in _use(twin).items():
        assert value.dtype == torch.float64, f"{what} is {value.dtype} in a float64 model"


@check()
def device_moves_everything(it: Subject) -> None:
    """`.to(device)` leaves no tensor behind (tried with the meta device)."""

    twin = it.fresh().to("meta")
    for name, tensor in _tensors(twin):
        assert tensor.device.type == "meta", f"{name} stayed on {tensor.device}: register it as a buffer"


@check()
def save_and_load_are_equal(it: Subject) -> None:
    """A saved model loads with equal config, tensors and samples."""

    if it.architecture is None:
        raise Skip("the model has no registered architecture, so no entry can name it")
    from ...loading.load import load
    from ...loading.save import save

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "saved-model"
        data = Data(dataset="none", event_shape=it.shape or (1,), range=it.range)
        save(it.model, target, name="saved-model", architecture=it.architecture, license="none", data=data)
        names = sorted(p.name for p in target.rglob("*") if p.is_file())
        strange = [n for n in names if not n.endswith((".yaml", ".safetensors", ".png"))]
        assert not strange, f"saving wrote {strange}: only YAML, safetensors and pictures travel"
        again = load(str(target))
        assert again.config == it.model.config, "the config changed on the way"
        mine, other = it.model.state_dict(), again.state_dict()
        assert mine.keys() == other.keys(), f"tensors changed: {sorted(mine.keys() ^ other.keys())[:3]}"
        for name, tensor in mine.items():
            assert torch.equal(tensor, other[name]), f"{name} changed on the way"
        if it.model.can("generator"):
            with torch.no_grad():
                a, b = it.fresh().sample(it.noise(3)), again.sample(it.noise(3))
            assert torch.equal(a, b), "the loaded model draws other samples"


@check()
def no_pickle_anywhere(it: Subject) -> None:
    """The package neither pickles nor loads with `torch.load(...)` without `weights_only=True`."""

    module = sys.modules.get(type(it.model).__module__.partition(".")[0])
    file = getattr(module, "__file__", None)
    if file is None:
        raise Skip("the model's package has no source files")
    root = Path(file)
    sources = root.parent.rglob("*.py") if root.name == "__init__.py" else [root]
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            problem = _pickles(node)
            assert problem is None, f"{source.name}:{node.lineno}: {problem}"


_PICKLES = {"pickle", "cPickle", "dill", "joblib", "cloudpickle", "shelve"}


def _pickles(node: ast.AST) -> str | None:
    if isinstance(node, ast.Import):
        names = {a.name.partition(".")[0] for a in node.names}
        return "imports pickle" if names & _PICKLES else None
    if isinstance(node, ast.ImportFrom):
        return "imports pickle" if (node.module or "").partition(".")[0] in _PICKLES else None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "load":
        owner = node.func.value
        if isinstance(owner, ast.Name) and owner.id == "torch":
            safe = any(
                k.arg == "weights_only" and isinstance(k.value, ast.Constant) and k.value.value is True
                for k in node.keywords
            )
            return None if safe else "torch.load without weights_only=True"
    return None


def _use(it: Subject) -> dict[str, Tensor]:
    """Draws, judges and measures; returns what came out, by name."""

    out: dict[str, Tensor] = {}
    x = it.data(2)
    with torch.no_grad():
        if it.model.can("generator"):
            out["sample"] = it.sample(2)
        if it.model.can("critic"):
            out["score"] = it.model.score(x)
        if it.model.can("density"):
            out["log_prob"] = it.log_prob(x)
        if it.model.can("encoder"):
            out["decode"] = it.model.decode(it.model.encode(x))
        if it.model.can("features"):
            out["features"] = it.model.features(x)
    return out


def _tensors(model: nn.Module):
    """Yields the model's parameters and buffers, and tensors that hide in plain attributes."""

    yield from model.named_parameters()
    yield from model.named_buffers()
    for prefix, module in model.named_modules():
        for key, value in vars(module).items():
            if isinstance(value, Tensor):
                yield f"{prefix}.{key}".lstrip("."), value
            elif isinstance(value, list | tuple):
                yield from (
                    (f"{prefix}.{key}[{i}]".lstrip("."), v) for i, v in enumerate(value) if isinstance(v, Tensor)
                )
            elif isinstance(value, dict) and key not in ("_parameters", "_buffers", "_modules"):
                yield from ((f"{prefix}.{key}[{k}]".lstrip("."), v) for k, v in value.items() if isinstance(v, Tensor))
