"""The base class of all models: an `nn.Module` with a typed config, options and parts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import msgspec
import torch
from torch import Tensor, nn

from . import entry as entries
from . import plugins
from .config import Config as AnyConfig
from .config import parse, to_dict
from .entry import ENTRY_FILE, SCHEMA, WEIGHTS_FILE, Data, Entry, HubFile, PartSpec
from .errors import CapabilityError, OptionError, PluginError, UsageError
from .files.atomic import replacing_folder
from .files.tensors import write_tensors
from .interfaces import CAPABILITIES, Likelihood, capabilities, capability_with
from .noise import takes_noise


class Model(nn.Module):
    """A generative model, a critic, or a part of one.

    A subclass states its typed config and options as nested :class:`~dgmcore.Config` classes, and
    implements the protocols of :mod:`dgmcore.interfaces` that it honestly can.

    Arguments:
        config: A :class:`Config` of the class, or plain data for one.
        parts: The models it is composed of, one for each name in `Parts`.

    Example:
        >>> class Shift(Model):
        ...     class Config(dgmcore.Config):
        ...         dim: int = 2
        ...     def __init__(self, config=None, **parts):
        ...         super().__init__(config, **parts)
        ...         self.event_shape = (self.config.dim,)
        ...         self.noise_shapes = {"z": self.event_shape}
        ...         self.shift = nn.Parameter(torch.zeros(self.event_shape))
        ...     def push(self, eps):
        ...         return eps["z"] + self.shift
        ...     def sample(self, noise):
        ...         return self.push(noise.named(self.noise_shapes))
        >>> Shift({"dim": 3}).event_shape
        (3,)
    """

    Config: ClassVar[type[AnyConfig]] = AnyConfig
    #: Options of `sample` and `trajectory`; an entry's `sampling` changes the defaults.
    Sampling: ClassVar[type[AnyConfig]] = AnyConfig
    #: Options of `log_prob` and `score`.
    Scoring: ClassVar[type[AnyConfig]] = AnyConfig
    #: Parts by name, each with the capabilities that it must have.
    Parts: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    #: Training phases by name: import strings ``module:Class`` of :class:`dgmcore.training.Phase`.
    phases: ClassVar[Mapping[str, str]] = {}
    #: A config small enough to be tried in a second, and parts for it (`{"architecture": ..., "config": ...}`):
    #: what the conformance suite and the docs build.
    example: ClassVar[Mapping[str, Any]] = {}
    example_parts: ClassVar[Mapping[str, Any]] = {}
    #: Floating-point types in which it draws and judges as the conformance suite asks; :meth:`to` refuses others.
    dtypes: ClassVar[tuple[torch.dtype, ...]] = (torch.float32, torch.float64, torch.bfloat16, torch.float16)

    #: The range of its data, if bounded, and how many values an entry can have, if they are discrete.
    data_range: tuple[float, float] | None = None
    data_levels: int | None = None

    #: What `log_prob` is a density against: "lebesgue" (values in the range of the data), "counting" (the data's own
    #: levels), or None (as a Bernoulli likelihood of grey values: no bits per dimension); `__init__` may set it.
    base_measure: str | None = "lebesgue"

    #: The version of the noise that it draws by (:mod:`dgmcore.noise`), as its entry says.
    noise_version: int = 1

    event_shape: tuple[int, ...]
    #: An instance of the class's `Config`.
    config: Any
    #: The models that it is composed of.
    parts: Mapping[str, Model]

    if TYPE_CHECKING:
        # what capabilities bring: which of them a loaded model has is known at run time only (see `__getattr__`)
        sample: Callable[..., Tensor]
        push: Callable[..., Tensor]
        trajectory: Callable[..., Iterator[Tensor]]
        score: Callable[..., Tensor]
        log_prob: Callable[..., Tensor]
        log_conditionals: Callable[..., Tensor]
        encode: Callable[..., Any]
        decode: Callable[..., Tensor]
        features: Callable[..., Tensor]
        likelihood: ClassVar[Likelihood]
        noise_shapes: Any  # `Mapping[str, Any]`, as an attribute or as a property
        orders: Any  # `Tensor`, likewise

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        for name in ("Sampling", "Scoring"):
            if cls.__dict__.get("Config") in getattr(cls, name).__mro__:
                raise TypeError(f"{cls.__name__}.{name} inherits the model's own Config: write `class {name}(Options)`")
        if "sample" in cls.__dict__:
            cls.sample = takes_noise(cls.sample)

    def __init__(self, config: AnyConfig | Mapping[str, Any] | None = None, **parts: Model):
        super().__init__()
        kind = type(self).__name__
        if hasattr(type(self), "log_prob") and not self.can("density"):  # without a word it would be none
            hint = "write in the class, for example, likelihood = dgmcore.Likelihood.EXACT"
            raise PluginError(f"{kind} has a log_prob, and does not say what it is", hint)
        self.config = parse(self.Config, {} if config is None else config, source=f"config of {kind}")
        missing, extra = sorted(set(self.Parts) - set(parts)), sorted(set(parts) - set(self.Parts))
        if missing or extra:
            what = f"needs the part {', '.join(missing)}" if missing else f"has no part {', '.join(extra)}"
            raise UsageError(f"{kind} {what}", f"its parts are: {', '.join(self.Parts) or 'none'}")
        for name, part in parts.items():
            if lacking := [c for c in self.Parts[name] if c not in capabilities(part)]:
                what = f"part {name} of {kind} is no {lacking[0]}: {type(part).__name__}"
                raise UsageError(what, f"give an entry with the capabilities {', '.join(self.Parts[name])}")
        self.parts = cast(Mapping[str, Model], nn.ModuleDict(parts))
        #: Parts that are entries of their own, by name; their weights are not in this model's file.
        self.shared_parts: dict[str, str] = {}
        #: The name that a plugin gave the architecture, where the model was built by name.
        self.architecture: str | None = None
        #: The entry that the model was loaded from.
        self.entry: Entry | None = None
        self._sampling_defaults: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        """Finds parameters, buffers and modules, as `nn.Module` does.

        Raises:
            CapabilityError: For a member of a capability that it has not; also an AttributeError.
        """
        try:
            return super().__getattr__(name)
        except AttributeError:
            capability = capability_with(name)
            if capability is None:
                raise
        can = f"it can: {', '.join(self.capabilities) or 'nothing'}; see dgm list --can {capability}"
        raise CapabilityError(f"{type(self).__name__} has no {name}: it is no {capability}", can)

    def __repr__(self) -> str:
        """Says what it is; `torch.nn.Module.__repr__(model)` shows its layers."""
        about = f"{self.entry.name}: {self.entry.summary}" if self.entry is not None else "no entry"
        shape = "x".join(map(str, getattr(self, "event_shape", ())))
        can, device = ", ".join(capabilities(self)), str(self.device)
        where = f"{self.num_parameters():,} weights, {_name(self.dtype)}, on {device}"
        return f"{type(self).__name__} ({about})\n  data {shape or 'of no shape'}; {where}\n  can: {can}"

    # --- options -------------------------------------------------------------------------------

    def set_sampling_defaults(self, defaults: Mapping[str, Any], source: str = "sampling") -> None:
        """Changes the defaults of the sampling options, as an entry's `sampling` does."""
        parse(self.Sampling, dict(defaults), source=source)
        self._sampling_defaults = dict(defaults)

    def sampling(self, options: Mapping[str, Any] | None = None) -> Any:
        """Returns the typed sampling options: the class's, changed by the entry's, changed by `options`.

        Raises:
            OptionError: For an unknown option or a wrong type.
        """
        merged = {**self._sampling_defaults, **(options or {})}
        return parse(self.Sampling, merged, source="sampling options", error=OptionError)

    def scoring(self, options: Mapping[str, Any] | None = None) -> Any:
        """Returns the typed scoring options; raises as :meth:`sampling`."""
        return parse(self.Scoring, dict(options or {}), source="scoring options", error=OptionError)

    # --- what it is ----------------------------------------------------------------------------

    @property
    def capabilities(self) -> list[str]:
        """The names of the protocols that it implements."""
        return capabilities(self)

    def can(self, capability: str) -> bool:
        """Whether it implements a protocol, by name (see :data:`dgmcore.interfaces.CAPABILITIES`)."""
        assert capability in CAPABILITIES, capability
        return capability in capabilities(self)

    @property
    def device(self) -> torch.device:
        return next((t.device for t in chain(self.parameters(), self.buffers())), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        return next((t.dtype for t in chain(self.parameters(), self.buffers()) if t.is_floating_point()), torch.float32)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Moves and casts it as `nn.Module.to` does.

        Raises:
            UsageError: For a dtype in which it, or a part, is not right (:attr:`dtypes`).
        """
        dtypes = [given.dtype if isinstance(given, Tensor) else given for given in (*args, *kwargs.values())]
        for part in (module for module in self.modules() if isinstance(module, Model)):
            for dtype in dtypes:
                if isinstance(dtype, torch.dtype) and dtype.is_floating_point and dtype not in part.dtypes:
                    hint = f"use {', '.join(_name(d) for d in part.dtypes)}"
                    raise UsageError(f"{type(part).__name__} is not right in {_name(dtype)}", hint)
        return super().to(*args, **kwargs)

    def half(self) -> Self:
        return self.to(torch.float16)

    def bfloat16(self) -> Self:
        return self.to(torch.bfloat16)

    def refuse_half(self, what: str) -> None:
        """Refuses half precision for `what`: sums of many logarithms, such as a density, are wrong in it.

        Raises:
            UsageError: If the weights are of type float16 or bfloat16.
        """
        if self.dtype in (torch.float16, torch.bfloat16):
            said = f"{what} of {type(self).__name__} is not right in {_name(self.dtype)}"
            raise UsageError(said, "load it in float32 for that")

    def as_distribution(self, accept: str | None = None, **options: Any) -> torch.distributions.Distribution:
        """Returns the model as a distribution of torch; the work of the plugin dgm-export, which says more."""
        made: torch.distributions.Distribution = plugins.call("as_distribution")(self, accept, **options)
        return made

    def num_parameters(self) -> int:
        """The number of trainable numbers, shared parts included."""
        return sum(p.numel() for p in self.parameters())

    def config_dict(self) -> dict[str, Any]:
        """The config as plain data, defaults included."""
        return to_dict(self.config)

    def train(self, mode: bool = True) -> Self:
        """Sets the training mode; parts that are entries of their own stay in eval mode."""
        super().train(mode)
        for name in self.shared_parts:
            self.parts[name].eval()
        return self

    # --- weights -------------------------------------------------------------------------------

    def own_groups(self) -> Iterator[dict[str, Tensor]]:
        """Yields the tensors of the model's own file, those that are tied (share their storage wholly) as one group.

        Tensors of shared parts are not in the file, under whatever name the model knows them.
        """
        models = [(place, module) for place, module in self.named_modules() if isinstance(module, Model)]
        shared = tuple(f"{place}.parts.{name}.".lstrip(".") for place, model in models for name in model.shared_parts)
        groups: dict[Any, dict[str, Tensor]] = {}
        for name, tensor in self.state_dict().items():
            key = (tensor.data_ptr(), tuple(tensor.shape), tensor.dtype) if tensor.numel() else name
            groups.setdefault(key, {})[name] = tensor
        return (group for group in groups.values() if not any(name.startswith(shared) for name in group))

    def own_state(self) -> dict[str, Tensor]:
        """Returns the tensors of the model's own file: all but those of shared parts, ties under their first name."""
        return dict(next(iter(group.items())) for group in self.own_groups())

    def tensor_names(self, layout: str, present: Collection[str]) -> dict[str, str]:
        """Returns the name in another library's file for each of the model's own tensors (`weights.layout`).

        Arguments:
            layout: The library's layout, such as `diffusers`.
            present: The names in the file, for layouts that changed with time.

        Raises:
            UsageError: If the architecture reads no such layout; those that do override this.
        """
        what = f"{type(self).__name__} reads no weights in the layout {layout}"
        raise UsageError(what, "correct weights.layout in the entry")

    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        name: str,
        license: str,
        data: Data | Mapping[str, Any],
        architecture: str | None = None,
        ema: bool = False,
        hub: HubFile | Mapping[str, Any] | None = None,
        samples_png: str | os.PathLike[str] | None = None,
        dtype: str | None = None,
        **about: Any,
    ) -> Path:
        """Writes `model.safetensors` and `model.yaml` into `folder`, each under a temporary name first.

        Parts that are entries of their own are named in the entry and not stored again; all other parts are
        stored in the model's file. A tied tensor is stored once.

        Arguments:
            folder: The entry's folder, which :func:`dgmcore.load` reads; made if need be.
            architecture: The registered name; found from the model's class if left out.
            ema: Whether the weights are an average over the training.
            hub: Where the same file lies on the Hub.
            samples_png: A picture of samples, copied to `samples.png`.
            dtype: `float16` or `bfloat16` to store the weights in half precision; loading widens them again.
            about: What else an :class:`~dgmcore.entry.Entry` may say: `summary`, `sampling` (the defaults of its
                options), `metrics`, `training`, `papers`, `tags`.

        Returns:
            The folder.
        """
        folder, registered = Path(folder), architecture or self.registered_name()
        said = {"sampling": self._sampling_defaults} | {key: v for key, v in about.items() if v is not None}
        described = dict(  # a key that is there twice is a TypeError
            schema=SCHEMA,
            name=name,
            architecture=registered,
            package=plugins.distribution_of(registered),
            license=license,
            data=data,
            config=self.config,
            parts=self._describe_parts(),
            weights={"ema": ema, "parameters": self.num_parameters(), "dtype": dtype, "hub": hub or None},
            noise=self.noise_version,
            **said,
        )
        with replacing_folder(folder, last=ENTRY_FILE) as stage:
            described["weights"] |= write_tensors(self.own_state(), stage / WEIGHTS_FILE, dtype=dtype)._asdict()
            entry = parse(Entry, msgspec.to_builtins(described), source=f"entry {name}")
            if samples_png is not None and Path(samples_png).resolve() != (folder / "samples.png").resolve():
                shutil.copyfile(samples_png, stage / "samples.png")
            entries.write_entry(entry, stage)
        return folder

    def registered_name(self) -> str:
        """Returns the name that a plugin gave the architecture; raises a RegistryError if none did."""
        return self.architecture or plugins.name_of(type(self))

    def _describe_parts(self) -> dict[str, str | PartSpec]:
        """Returns the section `parts` of the entry: names of entries, and descriptions of own parts."""
        return {
            name: self.shared_parts.get(name)
            or PartSpec(architecture=part.registered_name(), config=to_dict(part.config), parts=part._describe_parts())
            for name, part in self.parts.items()
            if isinstance(part, Model)
        }


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


save = Model.save  # for those who name the function
