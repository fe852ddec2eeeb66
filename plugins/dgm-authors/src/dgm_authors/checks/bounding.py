"""Checks on numbers: those that users set, those of other precisions, those far from the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dgmcore.errors import DgmError
from dgmcore.model import Model
from dgmcore.noise import IndexedNoise
from dgmcore.plugins.imports import import_string
from dgmcore.sampling.draw import sample
from dgmcore.sampling.scores import score

from ..limits import odd_values, refused_or_finite, unbounded
from ..subject import Subject, rebuild
from .base import Skip, registry

CHECKS, check = registry()

_N = 2


@check()
def numbers_state_their_bounds(it: Subject) -> None:
    """Each number of the config, of the options and of the phases' options has a bound below and one above."""

    model = type(it.model)
    kinds = {"config": model.Config, "sampling option": model.Sampling, "scoring option": model.Scoring}
    kinds |= {f"option of phase {name}": import_string(target).Options for name, target in model.phases.items()}
    for what, kind in kinds.items():
        for number in unbounded(kind):
            raise AssertionError(f"{what} {number} has no bounds: give it a type of dgmcore.config, such as Positive")


@check("generator")
def sampling_options_are_bounded(it: Subject) -> None:
    """Each number of the sampling options, set to 0, -1, something huge or NaN, is refused or draws what is finite."""

    sample(it.model, _N)
    for what, options in odd_values(it.model.sampling()):
        refused_or_finite(f"sampling option {what}", partial(_drawn, it, options))


@check()
def scoring_options_are_bounded(it: Subject) -> None:
    """Each number of the scoring options, set to 0, -1, something huge or NaN, is refused or gives finite values."""

    if not _judges(it.model):
        raise Skip("the model judges nothing")
    x = it.inside(_N)
    score(it.model, x)
    for what, options in odd_values(it.model.scoring()):
        refused_or_finite(f"scoring option {what}", partial(_scored, it, x, options))


@check()
def config_numbers_are_bounded(it: Subject) -> None:
    """Each number of the config, set to 0, -1, something huge or NaN, is refused or builds a model that works."""

    for what, changes in odd_values(it.model.config):
        refused_or_finite(f"config {what}", partial(_of_another_config, it, changes))


def _drawn(it: Subject, options: dict[str, Any]) -> Iterator[Tensor]:
    yield sample(it.model, _N, **options)


def _scored(it: Subject, x: Tensor, options: dict[str, Any]) -> Iterator[Tensor]:
    yield score(it.model, x, **options).values


def _of_another_config(it: Subject, changes: dict[str, Any]) -> Iterator[Tensor]:
    """Yields what a model with a changed config draws, and how it judges that."""

    try:
        model = rebuild(it.model, **changes).to(it.model.device).eval()
    except Exception:  # loading makes two lines of it
        return
    other = it.of(model)
    if model.can("generator"):
        yield sample(model, _N)
    if _judges(model):
        yield score(model, other.inside(_N)).values


def _judges(model: Model) -> bool:
    return model.can("density") or model.can("critic")


@check("density")
def far_data_are_no_accident(it: Subject) -> None:
    """The log-density of data far away is finite, -inf or refused: neither NaN nor +inf."""

    if it.range is not None:
        raise Skip("the data have a range, and what is outside is refused")
    near = it.data(4)
    for factor in (1e3, 1e8, 1e15):
        try:
            with torch.no_grad():
                values = it.log_prob(near * factor)
        except DgmError:
            continue
        wrong = values.isnan() | (values == torch.inf)
        assert not wrong.any(), f"data {factor:g} times as far have the log-density {float(values[wrong][0])}"


class _Rounded(IndexedNoise):
    """Noise with the numbers that another dtype can hold."""

    def __init__(self, *args: Any, through: torch.dtype, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.through = through

    def _like(self, n: int, start: int, scope: str) -> _Rounded:
        given = {"device": self.device, "dtype": self.dtype, "scope": scope}
        return _Rounded(self.seed, n, start, through=self.through, **given)

    def _draw(self, kind: str, shape: tuple[int, ...], name: str | None, dtype: torch.dtype | None = None) -> Tensor:
        drawn = super()._draw(kind, shape, name, dtype or self.through)
        return drawn if dtype is not None else drawn.to(self.dtype)


@check()
def other_precisions_are_right_or_refused(it: Subject) -> None:
    """In each dtype every call agrees with float64 to eight of its roundings (1e-4 at least), or is refused."""

    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        try:
            low = it.moved(dtype)
        except DgmError:
            continue
        high = it.of(low.model).moved(torch.float64)
        with torch.no_grad():
            x = it.inside(16).to(dtype)
        tolerance = max(8 * torch.finfo(dtype).eps, 1e-4)
        expected = dict(_RoundedSubject.of_subject(high, dtype).uses())
        for what, use in low.uses():
            try:
                with torch.no_grad():
                    got = use(x)
            except DgmError:
                continue
            with torch.no_grad():
                want = expected[what](x.double())
            assert got.dtype == dtype or got.dtype == torch.float32, f"{what} is {got.dtype} in a {dtype} model"
            spread = max(1.0, float(want.abs().max()))
            gap = float((got.double() - want).square().mean().sqrt()) / spread
            assert gap <= tolerance, (
                f"{what} in {dtype} is off by {gap:.2g} of its size: refuse the dtype (Model.dtypes), or compute in "
                "float32 what needs it"
            )


class _RoundedSubject(Subject):
    """A subject whose noise has been rounded to another dtype."""

    through: torch.dtype

    @classmethod
    def of_subject(cls, it: Subject, through: torch.dtype) -> _RoundedSubject:
        self = cls(it.name, it.model, it.architecture, it.range, it.levels)
        self.through = through
        return self

    def noise(self, n: int, seed: int = 0, start: int = 0) -> IndexedNoise:
        return _Rounded(seed, n, start, device=self.model.device, dtype=self.model.dtype, through=self.through)


@check()
def default_dtype_changes_nothing(it: Subject) -> None:
    """With `torch.set_default_dtype(torch.float64)` every call gives the same bits."""

    def in_double(use: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            with torch.no_grad():
                return use(x)
        finally:
            torch.set_default_dtype(before)

    _same(it, in_double, "under another default dtype")


@check()
def inference_mode_changes_nothing(it: Subject) -> None:
    """In `torch.inference_mode()` every call gives the same bits."""

    def inferring(use: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        with torch.inference_mode():
            return use(x)

    _same(it, inferring, "in inference mode")


def _same(it: Subject, under: Callable[[Callable[[Tensor], Tensor], Tensor], Tensor], where: str) -> None:
    x = it.data(3)
    for what, use in it.uses():
        with torch.no_grad():
            plain = use(x)
        try:
            other = under(use, x)
        except Exception as e:
            raise AssertionError(f"{what} fails {where}: {type(e).__name__}: {e}") from e
        assert plain.dtype == other.dtype, f"{what} is {other.dtype} {where}, else {plain.dtype}"
        assert torch.equal(plain, other), f"{what} gives other values {where}"
