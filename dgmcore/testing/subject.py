"""What the checks look at: a model, how to build another like it, and data for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..interfaces import Likelihood
from ..model import Model
from ..noise import IndexedNoise

__all__ = ["Subject", "subject"]

_WEIGHT_SEED = 0


@dataclass
class Subject:
    """A model under test.

    Attributes:
        name: What the results call it.
        model: The model, in eval mode, on the CPU.
        architecture: Its architecture's registered name, if it has one.
        range: The range of its data, if bounded.
    """

    name: str
    model: Model
    architecture: str | None = None
    range: tuple[float, float] | None = None

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
        return twin.to(self.model.dtype).eval()

    def noise(self, n: int, seed: int = 0, start: int = 0) -> IndexedNoise:
        return IndexedNoise(seed, n, start, dtype=self.model.dtype)

    def sample(self, n: int, seed: int = 0, start: int = 0, **options: Any) -> Tensor:
        with torch.no_grad():
            return self.model.sample(self.noise(n, seed, start), **options)

    def data(self, n: int, seed: int = 1) -> Tensor:
        """Returns plausible data: the model's own samples if it draws, else uniform noise in its range."""

        if self.model.can("generator"):
            return self.sample(n, seed).detach()
        low, high = self.range or (-1.0, 1.0)
        return low + (high - low) * self.noise(n, seed).uniform(*self.shape)

    def scoring_noise(self, n: int) -> dict[str, Any]:
        """Returns the keyword arguments that `log_prob` needs: noise, unless it is exact or unnormalised."""

        if self.model.likelihood in (Likelihood.LOWER_BOUND, Likelihood.ESTIMATE):
            return {"noise": self.noise(n)}
        return {}

    def log_prob(self, x: Tensor) -> Tensor:
        return self.model.log_prob(x, **self.scoring_noise(len(x)))


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
            from ..plugins.provided import architecture

            kind = architecture(spec["architecture"])
            inner = {name: part(s) for name, s in {**kind.example_parts, **spec.get("parts", {})}.items()}
            return kind({**kind.example, **spec.get("config", {})}, **inner)
        return spec()

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_WEIGHT_SEED)
        return cls(cls.example, **{name: part(spec) for name, spec in cls.example_parts.items()})


def subject(what: str | type[Model] | Model) -> Subject:
    """Returns the subject for an architecture's name, an entry's name, a class or a model."""

    if isinstance(what, Model):
        model, name = what, type(what).__name__
    elif isinstance(what, type):
        model, name = build_example(what), what.__name__
    else:
        from ..plugins.provided import architecture, architectures

        name = what
        if what in architectures():
            return Subject(name, build_example(architecture(what)).eval(), what, _range(architecture(what)))
        from ..loading.load import load

        model = load(what)
    entry = model.entry
    bounds = entry.data.range if entry is not None else _range(type(model))
    return Subject(name, model.eval(), entry.architecture if entry is not None else None, bounds)


def _range(cls: type[Model]) -> tuple[float, float] | None:
    return getattr(cls, "data_range", None)
