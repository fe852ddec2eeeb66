"""The conformance suite passes good models and fails each broken one at the right check."""

from __future__ import annotations

import ast
import time
from contextlib import suppress
from pathlib import Path
from unittest import mock

import pytest
import torch
from conformance_models import BROKEN, Good, GoodPixels
from dgm_authors import limits
from dgm_authors.checks import CHECKS
from dgm_authors.subject import names_of

import dgmcore
from dgmcore import Options
from dgmcore.errors import PluginError, UsageError
from dgmcore.plugins import architectures
from dgmcore.testing import check_model, parametrize_with_checks, summarize

ROOT = Path(__file__).parents[1]

# what can only be tried with an installed plugin: test_conformance_plugin.py
WITH_PLUGIN = {"listing-imports-no-torch", "hook-data-agree", "save-and-load-are-equal", "no-pickle-anywhere"}


def test_good_model_passes_and_says_how_many_checks_ran():
    results = check_model(Good)
    bad = [r for r in results if not r.ok]
    assert not bad, bad
    counts = summarize(results)
    assert counts["checks"] == len(CHECKS), "Good has every capability, so every check applies"
    discrete = {r.check: r for r in check_model(GoodPixels)}
    assert all(r.ok for r in discrete.values()), discrete
    passed = {r.check for r in results if r.status == "passed"}
    passed |= {name for name, r in discrete.items() if r.status == "passed"}
    assert passed >= {c.name for c in CHECKS} - WITH_PLUGIN - {"lower-bound-is-one"}


@pytest.mark.parametrize("broken", [b for b in BROKEN if b.caught_by not in WITH_PLUGIN], ids=lambda b: b.__name__)
def test_broken_model_fails_at_its_check(broken):
    results = {r.check: r for r in check_model(broken)}
    assert results[broken.caught_by].status == "failed", results[broken.caught_by]
    assert results[broken.caught_by].message


@parametrize_with_checks(["core", "eval"])
def test_conformance_of_the_core(check, device):
    check(device)


def test_every_architecture_meets_the_suite():
    """Some test file names each architecture, or its plugin, to `parametrize_with_checks`."""
    named = set()
    for file in [*ROOT.glob("tests/test_*.py"), *ROOT.glob("plugins/*/tests/test_*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "parametrize_with_checks":
                named |= {n.value for n in ast.walk(node.args[0]) if isinstance(n, ast.Constant)}
    known = {*architectures(), *(record.plugin for record in architectures().values())}
    met = {architecture for name in named & known for architecture in names_of(name)}
    assert met == set(architectures())


def test_a_plugin_stands_for_its_architectures():
    assert names_of("flows") == sorted(n for n, r in architectures().items() if r.plugin == "flows")
    assert names_of("realnvp") == ["realnvp"]
    with pytest.raises(UsageError, match="flow"):
        names_of("flowz")
    results = check_model("gans", only=["has-a-capability"])
    assert [r.model for r in results] == names_of("gans") and all(r.ok for r in results)


def test_a_deadline_ends_what_never_ends():
    def forever():
        while True:
            with suppress(Exception):
                time.sleep(0.001)

    with pytest.raises(AssertionError, match="bound"), mock.patch.object(limits, "SECONDS", 0.1):
        limits.refused_or_finite("steps", forever)


def test_odd_values_reach_every_number():
    class Inner(Options):
        size: int = 3

    class All(Options):
        inner: Inner = Inner()
        rate: float = 0.5
        limit: int | None = None
        pair: tuple[int, float] = (1, 2.0)
        name: str = "x"
        flag: bool = True

    changes = dict(limits.odd_values(All()))
    assert {what.partition("=")[0] for what in changes} == {"inner.size", "rate", "limit", "pair[0]", "pair[1]"}
    assert changes["inner.size=-1"] == {"inner": {"size": -1}} and changes["pair[1]=0"] == {"pair": [1, 0]}


def test_a_log_prob_of_no_kind_is_an_error():
    class Nameless(dgmcore.Model):
        event_shape = (2,)

        def log_prob(self, x):
            return -x.square().sum(1)

    with pytest.raises(PluginError, match="Nameless has a log_prob"):
        Nameless()


def test_a_dtype_that_is_not_right_is_refused():
    class Exact(Good):
        dtypes = (torch.float32, torch.float64)

    for cast in (lambda m: m.to(torch.bfloat16), lambda m: m.half(), lambda m: m.bfloat16()):
        with pytest.raises(UsageError, match=r"Exact is not right in (b)?float16"):
            cast(Exact())
    assert Exact().to("cpu", torch.float64).dtype == torch.float64 and Good().half().dtype == torch.float16


def test_every_check_is_shown_to_fail():
    assert {b.caught_by for b in BROKEN} | WITH_PLUGIN == {c.name for c in CHECKS}


def test_expected_failures_are_strict_and_need_reasons():
    broken = next(b for b in BROKEN if b.__name__ == "NotNormalised")
    expected = {"integrates-to-one": "off by e^6, as published"}
    result = check_model(broken, expected_failures=expected, only=expected)[0]
    assert result.status == "expected" and result.ok and "as published" in result.message
    result = check_model(Good, expected_failures=expected, only=expected)[0]
    assert result.status == "unexpected" and not result.ok
    with pytest.raises(ValueError, match="reason"):
        check_model(Good, expected_failures={"integrates-to-one": " "})
    with pytest.raises(UsageError, match="integrates-to-one"):
        check_model(Good, expected_failures={"integrates-to-two": "a typo"})
