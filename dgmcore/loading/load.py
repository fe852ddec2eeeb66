"""Building models, and loading them with their weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn
from torch.nn import init as initialisers
from torch.nn.modules import module as modules
from torch.overrides import TorchFunctionMode

from .. import plugins
from ..config import parse
from ..entry import Entry, PartSpec
from ..errors import DgmError, PluginError, RegistryError, UsageError, WeightsError
from ..files.safetensors import TensorInfo, read_header, read_tensors
from ..files.tensors import Misfit, copy_tensors
from ..model import Model
from ..registry.find import Located, check_circle, find_part, identity
from .weights import open_weights


def load(
    name: Any,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | str | None = None,
    revision: str | None = None,
) -> Model:
    """Loads a model in eval mode, its weights verified and checked tensor by tensor.

    Arguments:
        name: An entry's name, `plugin/name`, an entry's folder, or `hf://user/repo@revision`.
        device: Where the model goes.
        dtype: Floating-point type of the parameters; None keeps the file's.
        revision: Commit, tag or branch of the weights on the Hub, instead of the entry's own.

    Returns:
        The model, with its entry as `.entry` and the entry's sampling options as its defaults.

    Raises:
        DgmError: If the entry, its plugin or its weights are missing, damaged or do not fit.

    Example:
        >>> model = load("realnvp-moons")
        >>> model.capabilities
        ['generator', 'pushforward', 'trajectory', 'density', 'encoder']
    """
    name = str(name.absolute() if isinstance(name, Path) else name)
    dtype = getattr(torch, dtype, dtype) if isinstance(dtype, str) else dtype
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise UsageError(f"the dtype {dtype} is no floating-point type", "use float32, float64, bfloat16 or float16")
    place = _device(device)
    if name.startswith("hf://") and revision is not None:
        name, revision = f"{name.partition('@')[0]}@{revision}", None
    model = _Loader(revision).load(name)
    if dtype is not None:
        model.to(dtype)
    return on_device(model, place)


def _device(device: Any) -> torch.device:
    try:
        return torch.device(device)
    except (RuntimeError, TypeError):
        raise UsageError(f"there is no device {device}", "use cpu, cuda or mps") from None


def on_device(model: Model, device: Any) -> Model:
    """Moves a model; raises a UsageError if that can't be."""
    try:
        return model.to(_device(device))
    except (RuntimeError, AssertionError) as e:  # torch built without CUDA asserts
        raise UsageError(f"can't use the device {device}: {str(e).splitlines()[0]}", "use --device cpu") from None


def build(
    architecture: str,
    config: Any = None,
    parts: Mapping[str, str | Mapping[str, Any] | PartSpec | Model] | None = None,
    *,
    init: bool = True,
) -> Model:
    """Builds a model from the names of its architecture and parts.

    Arguments:
        architecture: A name that a plugin registers.
        config: Its config, as plain data or as the class's `Config`.
        parts: Each part as an entry's name (loaded with its weights, frozen, recorded in
            `shared_parts`), as the description of an own part (built here), or as a model.
        init: Whether to initialise weights; without, own weights are undefined, and the global
            random state is left as it was.
    """
    return _Loader(None).build(architecture, config, parts or {}, init=init)


class _Loader:
    """One load: entries by identity, so that a part named twice is one model; and the way down to it."""

    def __init__(self, revision: str | None):
        self.revision = revision
        self.loaded: dict[str, Model] = {}
        self.above: list[Located] = []

    def load(self, name: str) -> Model:
        located = find_part(name, [a.folder for a in self.above])
        key = identity(located)
        if key not in self.loaded:
            check_circle(located, self.above)
            self.above.append(located)
            try:
                self.loaded[key] = self._load(located)
            finally:
                self.above.pop()
        return self.loaded[key]

    def _load(self, located: Located) -> Model:
        entry = located.entry
        # the revision is that of the model asked for, not of its parts
        revision = self.revision if len(self.above) == 1 else None
        with open_weights(located, revision) if entry.weights else nullcontext((None, None)) as (path, file):
            header = read_header(file) if file else {}
            with memory_limit(header, entry.name):
                model = self.build(entry.architecture, entry.config, entry.parts, init=False)
            if entry.weights and file:
                layout, cast = entry.weights.layout, entry.weights.dtype is not None
                names = None if layout == "dgmcore" else model.tensor_names(layout, set(header))
                read_into(model, file, source=path, names=names, cast=cast)
            elif model.own_state():
                with open_weights(located):  # says that there are none
                    pass
        _check_data(model, entry)
        model.set_sampling_defaults(entry.sampling, source=f"{entry.name}: sampling")
        model.entry, model.noise_version = entry, entry.noise
        return model.eval()

    def build(self, architecture: str, config: Any, parts: Mapping[str, Any], *, init: bool) -> Model:
        kind = plugins.architecture(architecture)
        if not (isinstance(kind, type) and issubclass(kind, Model)):
            what = f"architecture {architecture} is no dgmcore.Model: {kind!r}"
            raise PluginError(what, "correct the plugin's import string")
        models = {name: self._part(part, init) for name, part in parts.items()}
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)  # a model does not depend on what a program has set
        try:
            with torch.inference_mode(False), torch.device("cpu"), nullcontext() if init else skip_init():
                model = kind(config, **models)
        except DgmError:
            raise
        except Exception as e:  # a constructor may say anything of numbers that it can't work with
            said = f"{type(e).__name__}: {' '.join(str(e).split())[:300]}"
            raise RegistryError(f"{architecture} can't be built with this config: {said}", "correct the config") from e
        finally:
            torch.set_default_dtype(before)
        model.shared_parts = {name: part for name, part in parts.items() if isinstance(part, str)}
        model.architecture = architecture
        return model

    def _part(self, part: Any, init: bool) -> Model:
        if isinstance(part, Model):
            return part
        if isinstance(part, str):
            return self.load(part).requires_grad_(False)
        part = parse(PartSpec, part, source="part")
        return self.build(part.architecture, part.config, part.parts, init=init)


def _check_data(model: Model, entry: Entry) -> None:
    """Refuses an entry that says of its data what is not so of its model."""
    said = entry.data
    declared, levels = (vars(model).get(key) for key in ("data_range", "data_levels"))  # the class's are examples
    facts: list[tuple[str, Any, Any]] = [
        ("data.event_shape", list(said.event_shape), list(getattr(model, "event_shape", said.event_shape))),
        ("data.range", said.range and list(said.range), list(declared or said.range or ()) or None),
        ("data.levels", said.levels, said.levels and (levels or said.levels)),
        ("weights.parameters", (w := entry.weights) and w.parameters, w and w.parameters and model.num_parameters()),
    ]
    for key, ours, its in facts:
        if ours != its:
            what = f"{entry.name}: {key}: {ours} is not the model's, which is {its}"
            raise RegistryError(what, "correct it or config in the entry, or get it again")


#: What costs time or random numbers; constants are kept, as constructors may compute with them.
_DRAWN = {initialisers.uniform_, initialisers.normal_, initialisers.kaiming_uniform_}


class _SkipInit(TorchFunctionMode):
    """A drawing initialiser leaves its tensor as it is. A mode holds for the thread that enters it alone."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        return kwargs["tensor"] if func in _DRAWN else func(*args, **kwargs)


@contextmanager
def skip_init() -> Iterator[None]:
    """In this thread, layers leave their weights undefined, and the global random state comes back unchanged."""
    with torch.random.fork_rng(devices=[]), _SkipInit():
        yield


def read_into(
    model: Model, file: BinaryIO, *, source: object, names: dict[str, str] | None = None, cast: bool = False
) -> None:
    """Copies a file's tensors into a model, in place: one memory map, one copy; all of them, or none.

    Tied tensors are stored once, under any of their names; the tie is the model's, so the copy reaches all of them.

    Arguments:
        model: The model; the tensors of its shared parts are not in the file.
        file: A safetensors file whose header was read, called `source` in an error.
        names: For files of another library: the file's name for each of the model's names.
        cast: Whether the file's floating-point numbers may have another type than the model's.

    Raises:
        WeightsError: If it does not fit the model.
    """
    names = names or {}
    groups = ({names.get(name, name): tensor for name, tensor in group.items()} for group in model.own_groups())
    try:
        with read_tensors(file) as tensors:
            copy_tensors(groups, tensors, cast=cast)
    except Misfit as e:
        what = f"{source} does not fit {type(model).__name__}: {e}"
        raise WeightsError(what, "the weights belong to another config or architecture; nothing was changed") from None


#: The innermost limit of this thread.
_innermost: ContextVar[object] = ContextVar("innermost", default=None)
#: Bytes that a module or a tensor counts beside its numbers: many small ones take their time, too.
_EACH = 2**15


@contextmanager
def memory_limit(header: Mapping[str, TensorInfo], name: str) -> Iterator[None]:
    """In this thread, a model that grows far beyond the tensors of its file is an error while it is built.

    An entry comes from anywhere; a number in its config must not take the memory, or the day. Tensors are counted
    when a module registers them: one that is larger than the machine is never written to before.

    Arguments:
        header: The tensors of the model's own file.
        name: The entry's name, for the error.

    Raises:
        WeightsError: In the block.
    """
    left = 4 * max((info.data_offsets[1] for info in header.values()), default=0) + 2**26 + 24 * _EACH * len(header)
    ours = object()

    def take(owner: nn.Module, key: str, value: Tensor | nn.Module | None) -> None:
        nonlocal left
        if _innermost.get() is not ours:  # another thread's model, or that of a part
            return
        left -= _EACH + (value.numel() * value.element_size() if isinstance(value, Tensor) else 0)
        if left < 0:
            what = f"the config of {name} makes a model that is larger than its weights"
            raise WeightsError(what, "correct the config, or get the entry again")

    token = _innermost.set(ours)
    hooks = [
        modules.register_module_parameter_registration_hook(take),
        modules.register_module_buffer_registration_hook(take),
        modules.register_module_module_registration_hook(take),
    ]
    try:
        yield
    finally:
        _innermost.reset(token)
        for hook in hooks:
            hook.remove()
