"""Runs checks and reports them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from dgmcore.errors import UsageError
from dgmcore.suggestions import did_you_mean

from .checks import CHECKS, Check, Skip
from .subject import Subject, class_of, names_of, subject

if TYPE_CHECKING:
    from dgmcore.model import Model

__all__ = ["Result", "check_model", "parametrize_with_checks", "summarize"]


@dataclass(frozen=True)
class Result:
    """The outcome of one check.

    `status` is ``passed``, ``failed``, ``skipped`` (the message says why it does not apply),
    ``expected`` (it failed, with a written reason) or ``unexpected`` (it passed though a failure was expected).
    """

    model: str
    check: str
    status: str
    message: str = ""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return self.status in ("passed", "skipped", "expected")


def check_model(
    model: str | type[Model] | Model,
    *,
    expected_failures: Mapping[str, str] | None = None,
    only: Iterable[str] | None = None,
) -> list[Result]:
    """Runs every check that the capabilities of a model call for.

    Arguments:
        model: The name of an architecture (its small example is built), of a plugin (all of its architectures) or of an
            entry, or a class, or a model.
        expected_failures: Checks that are known to fail, each with a reason. An expected failure that
            passes is reported as ``unexpected``: reasons must not outlive their causes.
        only: The names of the checks to run; all by default.

    Returns:
        One result for each check that applies, in the order of the suite.
    """

    expected = dict(expected_failures or {})
    _refuse_unknown(expected)
    for name, reason in expected.items():
        if not reason.strip():
            raise ValueError(f"the expected failure {name} needs a written reason")
    chosen = list(CHECKS) if only is None else [CHECKS_BY_NAME[n] for n in _refuse_unknown(only)]
    results = []
    for what in names_of(model) if isinstance(model, str) else [model]:
        it = subject(what)
        results += [_run(c, it, expected.get(c.name)) for c in chosen if c.applies(type(it.model))]
    return results


def parametrize_with_checks(
    models: Iterable[str | type[Model] | Model],
    *,
    expected_failures: Mapping[str, Mapping[str, str]] | None = None,
) -> Callable[..., Any]:
    """Returns a pytest decorator that parametrises `check` over all checks of all models.

    Models are built when their first check runs. `check()` takes a device to run on: `check("cuda")`.

    Arguments:
        models: As for :func:`check_model`, and names of plugins, which stand for all of their architectures.
        expected_failures: For a model's name, checks with reasons; they become strict `xfail` marks.
    """

    import pytest

    cases = []
    for model in (m for given in models for m in (names_of(given) if isinstance(given, str) else [given])):
        kind = class_of(model)
        name = model if isinstance(model, str) else kind.__name__
        reasons = (expected_failures or {}).get(name, {})
        _refuse_unknown(reasons)
        build = _built_once(model)
        for check in CHECKS:
            if check.applies(kind):
                marks = [pytest.mark.xfail(reason=reasons[check.name], strict=True)] if check.name in reasons else []
                cases.append(pytest.param(_case(check, build), id=f"{name}-{check.name}", marks=marks))
    return pytest.mark.parametrize("check", cases)


def summarize(results: Iterable[Result]) -> dict[str, int]:
    """Returns how many results have each status, and their number under ``checks``."""

    counts = {"checks": 0, "passed": 0, "failed": 0, "skipped": 0, "expected": 0, "unexpected": 0}
    for r in results:
        counts["checks"] += 1
        counts[r.status] += 1
    return counts


CHECKS_BY_NAME = {c.name: c for c in CHECKS}


def _refuse_unknown(names: Iterable[str]) -> list[str]:
    names = list(names)
    for name in names:
        if name not in CHECKS_BY_NAME:
            raise UsageError(f"there is no check {name}", did_you_mean(name, CHECKS_BY_NAME))
    return names


def _run(check: Check, it: Subject, reason: str | None) -> Result:
    began = time.perf_counter()
    try:
        check(it)
        status, message = "passed", ""
    except Skip as skip:
        status, message = "skipped", str(skip)
    except Exception as e:  # a check fails by whatever the model raises
        status, message = "failed", f"{type(e).__name__}: {e}" if not isinstance(e, AssertionError) else str(e)
    if reason is not None:
        if status == "failed":
            status, message = "expected", f"{reason} ({message})"
        elif status == "passed":
            status, message = "unexpected", f"passes, so remove the expected failure: {reason}"
    return Result(it.name, check.name, status, message, time.perf_counter() - began)


def _built_once(model: str | type[Model] | Model) -> Callable[[str], Subject]:
    """Returns what gives the subject for a model on a device, the same one every time."""

    @cache
    def build(device: str) -> Subject:
        it = subject(model)
        it.model.to(device)
        return it

    return build


def _case(check: Check, build: Callable[[str], Subject]) -> Callable[..., None]:
    import pytest

    def run(device: str = "cpu") -> None:
        try:
            check(build(device))
        except Skip as skip:
            pytest.skip(str(skip))

    return run
