"""The conformance suite passes good models and fails each broken one at the right check."""

from __future__ import annotations

import pytest
from conformance_models import BROKEN, Good

from dgmcore.errors import UsageError
from dgmcore.testing import check_model, summarize
from dgmcore.testing.checks import CHECKS

# what can only be tried with an installed plugin: test_conformance_plugin.py
WITH_PLUGIN = {"listing-imports-no-torch", "hook-data-agree", "save-and-load-are-equal", "no-pickle-anywhere"}


def test_good_model_passes_and_says_how_many_checks_ran():
    results = check_model(Good)
    bad = [r for r in results if not r.ok]
    assert not bad, bad
    counts = summarize(results)
    assert counts["checks"] == len(CHECKS), "Good has every capability, so every check applies"
    assert counts["passed"] >= len(CHECKS) - len(WITH_PLUGIN) - 1


@pytest.mark.parametrize("broken", [b for b in BROKEN if b.caught_by not in WITH_PLUGIN], ids=lambda b: b.__name__)
def test_broken_model_fails_at_its_check(broken):
    results = {r.check: r for r in check_model(broken)}
    assert results[broken.caught_by].status == "failed", results[broken.caught_by]
    assert results[broken.caught_by].message


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
