"""What the checks look at: a model, how to build another like it, and data for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from dgmcore.calls.listing import list_models
from dgmcore.errors import PluginError, UsageError
from dgmcore.interfaces import Likelihood
from dgmcore.loading.load import load
from dgmcore.model import Model
from dgmcore.noise import IndexedNoise
from dgmcore.plugins.provided import architecture, architectures, plugins
from dgmcore.registry import find
from dgmcore.suggestions import did_you_mean

__all__ = ["Subject", "build_example", "class_of", "names_of", "rebuild", "subject"]

_WEIGHT_SEED = 0


@dataclass
class Subject:
    """A model under test.

    Attributes:
        name: What the results call it.
        model: The model, in eval mode.
        architecture: Its architecture's registered name, if it has one.
        range: The range of its data, if bounded.
        levels: The number of values that a datum's entries can have, if they are discrete.
    """

    name: str
    model: Model
    architecture: str | None = None
    range: tuple[float, float] | None = None
    levels: int | None = None

    def __post_init__(self) -> None:
        self._drawn: dict[tuple[int, int], Tensor] = {}

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.model.event_shape)

    @property
    def exact(self) -> bool:
        return self.model.can("density") and self.model.likelihood is Likelihood.EXACT

    def fresh(self, **changes: Any) -> Model:
        """Builds another model of the same class and config with the same weights."""

        twin = rebuild(self.model, **changes)
        twin.load_state_dict(self.model.state_dict())
        return twin.to(self.model.device, self.model.dtype).eval()

    def of(self, model: Model) -> Subject:
        """Returns the same subject with another model."""

        return replace(self, model=model)

    def moved(self, *where: Any) -> Subject:
        """Returns the same subject with a copy of the model on another device or of another dtype."""

        return self.of(self.fresh().to(*where))

    def noise(self, n: int, seed: int = 0, start: int = 0) -> IndexedNoise:
        return IndexedNoise.of(self.model, seed, n, start)

    def sample(self, n: int, seed: int = 0, start: int = 0, **options: Any) -> Tensor:
        with torch.no_grad():
            return self.model.sample(self.noise(n, seed, start), **options)

    def data(self, n: int, seed: int = 1) -> Tensor:
        """Returns plausible data: the model's own samples if it draws, else uniform noise in its range."""

        if (n, seed) not in self._drawn:
            self._drawn[n, seed] = self._draw(n, seed)
        return self._drawn[n, seed].clone()

    def inside(self, n: int) -> Tensor:
        """Returns plausible data cut to their range: a flow may overshoot the values that a pixel can have."""

        x = self.data(n)
        return x if self.range is None else x.clamp(*self.range)

    def _draw(self, n: int, seed: int) -> Tensor:
        if self.model.can("generator"):
            return self.sample(n, seed).detach()
        low, high = self.range or (-1.0, 1.0)
        return low + (high - low) * self.noise(n, seed).uniform(*self.shape)

    def states(self, most: int) -> Tensor | None:
        """Returns all data that there can be, `(levels^d, *event_shape)`, or None if those are more than `most`."""

        if self.levels is None or self.range is None or self.levels ** math.prod(self.shape) > most:
            return None
        values = torch.linspace(*self.range, self.levels, device=self.model.device, dtype=self.model.dtype)
        return torch.cartesian_prod(*[values] * math.prod(self.shape)).reshape(-1, *self.shape)

    def scoring_noise(self, n: int) -> dict[str, Any]:
        """Returns the keyword arguments that `log_prob` needs: noise, unless it is exact or unnormalised."""

        if self.model.likelihood in (Likelihood.LOWER_BOUND, Likelihood.ESTIMATE):
            return {"noise": self.noise(n)}
        return {}

    def log_prob(self, x: Tensor) -> Tensor:
        return self.model.log_prob(x, **self.scoring_noise(len(x)))

    def uses(self) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
        """Yields the names of the calls that it answers, each with a function of data `(n, *event_shape)`."""

        model = self.model
        if model.can("generator"):
            yield "sample", lambda x: model.sample(self.noise(len(x)))
        if model.can("critic"):
            yield "score", model.score
        if model.can("density"):
            yield "log_prob", self.log_prob
        if model.can("encoder"):
            yield "decode", lambda x: model.decode(model.encode(x))
        if model.can("features"):
            yield "features", model.features


def rebuild(model: Model, **changes: Any) -> Model:
    """Builds an untrained model of the same class, config and parts."""

    config = {**model.config_dict(), **changes}
    parts = {name: rebuild(part) for name, part in model.parts.items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_WEIGHT_SEED)
        return type(model)(config, **parts)


def build_example(cls: type[Model]) -> Model:
    """Builds the small example of an architecture (`Model.example`, `Model.example_parts`)."""

    def part(spec: Any) -> Model:
        if isinstance(spec, Mapping):
            kind: type[Model] = architecture(spec["architecture"])
            inner = {name: part(s) for name, s in {**kind.example_parts, **spec.get("parts", {})}.items()}
            return kind({**kind.example, **spec.get("config", {})}, **inner)
        model: Model = spec()
        return model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_WEIGHT_SEED)
        return cls(cls.example, **{name: part(spec) for name, spec in cls.example_parts.items()})


def names_of(name: str) -> list[str]:
    """Returns the architectures of a plugin, or the name itself if it is an architecture or an entry.

    Raises:
        PluginError: If the plugin has no architectures, or none that work.
        UsageError: If nothing has the name.
    """

    known = architectures()
    of_plugin = sorted(a for a, record in known.items() if record.plugin == name)
    if of_plugin:
        return of_plugin
    found = {p.name: p for p in plugins()}
    if name in found:
        what = "; ".join(e.what for e in found[name].errors) or "it has no architectures"
        raise PluginError(f"plugin {name} has nothing to check: {what}", "dgm plugins shows what is wrong with it")
    if name in known:
        return [name]
    entries = {m["name"] for m in list_models()}
    if name in entries or "/" in name or name.startswith("."):
        return [name]
    hint = did_you_mean(name, {*found, *known, *entries}, "see `dgm plugins`, or `dgm list --architectures`")
    raise UsageError(f"{name} is no plugin, architecture or entry", hint)


def class_of(what: str | type[Model] | Model) -> type[Model]:
    """Returns the class of an architecture, an entry or a model; nothing is built."""

    if isinstance(what, str):
        kind: type[Model] = architecture(what if what in architectures() else find(what).entry.architecture)
        return kind
    return what if isinstance(what, type) else type(what)


def subject(what: str | type[Model] | Model) -> Subject:
    """Returns the subject for an architecture's name, an entry's name, a class or a model."""

    if isinstance(what, str) and what in architectures():
        return _subject(what, build_example(architecture(what)), what)
    if isinstance(what, str):
        return _subject(what, load(what))
    if isinstance(what, type):
        return _subject(what.__name__, build_example(what))
    return _subject(type(what).__name__, what)


def _subject(name: str, model: Model, known_as: str | None = None) -> Subject:
    entry = model.entry
    if entry is None:
        return Subject(name, model.eval(), known_as, model.data_range, model.data_levels)
    return Subject(name, model.eval(), entry.architecture, entry.data.range, entry.data.levels)
