"""The conformance suite for plugin authors; what runs it is the plugin dgm-authors.

Which checks run follows from a model's capabilities. In a test file::

    from dgmcore.testing import parametrize_with_checks

    @parametrize_with_checks(["my-architecture"])
    def test_conformance(check):
        check()

or `dgm check-plugin my-plugin` on the command line, or :func:`check_model` in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from .plugins import call

if TYPE_CHECKING:
    from .model import Model

__all__ = ["Result", "check_model", "parametrize_with_checks", "summarize"]


class Result(Protocol):
    """The outcome of one check: `status` is `passed`, `failed`, `skipped`, `expected` or `unexpected`."""

    model: str
    check: str
    status: str
    message: str
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether nothing has to be mended."""


def check_model(
    model: str | type[Model] | Model,
    *,
    only: Iterable[str] | None = None,
    expected_failures: Mapping[str, str] | None = None,
) -> list[Result]:
    """Runs the checks that apply to a model.

    Arguments:
        model: The name of an architecture, a plugin or an entry, a class, or a model.
        only: Names of checks; all that apply where it is left out.
        expected_failures: For names of checks, the reasons why they fail.
    """
    results: list[Result] = call("check_model")(model, only=only, expected_failures=expected_failures)
    return results


def parametrize_with_checks(
    models: Iterable[str | type[Model] | Model],
    *,
    expected_failures: Mapping[str, Mapping[str, str]] | None = None,
) -> Callable[..., Any]:
    """Returns a pytest decorator that parametrises `check` over all checks of all models.

    Arguments:
        models: As for :func:`check_model`; a plugin stands for all of its architectures.
        expected_failures: For a model's name, checks with reasons; they become strict `xfail` marks.
    """
    decorator: Callable[..., Any] = call("parametrize_with_checks")(models, expected_failures=expected_failures)
    return decorator


def summarize(results: Sequence[Result]) -> dict[str, int]:
    """Counts the outcomes of checks by their status."""
    counts: dict[str, int] = call("summarize")(results)
    return counts
