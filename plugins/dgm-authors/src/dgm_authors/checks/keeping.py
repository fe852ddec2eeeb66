"""Checks on what stays: state, devices, files."""

from __future__ import annotations

import ast
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from dgmcore.entry import Data
from dgmcore.loading.load import load
from dgmcore.model import save

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

    twin = it.moved(torch.float64)
    for name, tensor in _tensors(twin.model):
        assert not tensor.is_floating_point() or tensor.dtype == torch.float64, f"{name} stayed {tensor.dtype}"
    for what, value in _use(twin).items():
        assert value.dtype == torch.float64, f"{what} is {value.dtype} in a float64 model"


@check()
def device_moves_everything(it: Subject) -> None:
    """`.to(device)` leaves no tensor behind, and no call mixes devices (tried with the meta device)."""

    twin = it.moved("meta")
    for name, tensor in _tensors(twin.model):
        assert tensor.device.type == "meta", f"{name} stayed on {tensor.device}: register it as a buffer"
    x = torch.empty(2, *it.shape, device="meta", dtype=twin.model.dtype)
    for what, use in twin.uses():
        try:
            with torch.no_grad():
                use(x)
        except Exception as e:  # a step that depends on values has none here
            assert "device" not in str(e) or "Cannot copy out of meta" in str(e), f"{what} mixes devices: {e}"


@check()
def save_and_load_are_equal(it: Subject) -> None:
    """A saved model loads with equal config, tensors and samples."""

    if it.architecture is None:
        raise Skip("the model has no registered architecture, so no entry can name it")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "saved-model"
        data = Data(dataset="none", event_shape=it.shape or (1,), range=it.range)
        save(it.model, target, name="saved-model", architecture=it.architecture, license="none", data=data)
        names = sorted(p.name for p in target.rglob("*") if p.is_file())
        strange = [n for n in names if not n.endswith((".yaml", ".safetensors", ".png"))]
        assert not strange, f"saving wrote {strange}: only YAML, safetensors and pictures travel"
        again = load(str(target), device=it.model.device)
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
    problem = _first_pickle(root)
    assert problem is None, problem


@cache
def _first_pickle(root: Path) -> str | None:
    """Returns where a package, or a file, pickles."""

    for source in root.parent.rglob("*.py") if root.name == "__init__.py" else [root]:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            problem = _pickles(node)
            if problem is not None:
                return f"{source.name}:{getattr(node, 'lineno', 0)}: {problem}"
    return None


_PICKLES = {"pickle", "cPickle", "dill", "joblib", "cloudpickle", "shelve"}


def _pickles(node: ast.AST) -> str | None:
    if isinstance(node, ast.Import):
        names = {a.name.partition(".")[0] for a in node.names}
        return "imports pickle" if names & _PICKLES else None
    if isinstance(node, ast.ImportFrom):
        errors_only = all(a.name.endswith("Error") for a in node.names)
        return "imports pickle" if (node.module or "").partition(".")[0] in _PICKLES and not errors_only else None
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

    x = it.data(2)
    with torch.no_grad():
        return {what: use(x) for what, use in it.uses()}


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
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
