"""The conformance suite for plugin authors.

Which checks run follows from a model's capabilities. In a test file::

    from dgmcore.testing import parametrize_with_checks

    @parametrize_with_checks(["my-plugin"])
    def test_conformance(check):
        check()

or `dgm check-plugin my-plugin` on the command line, or :func:`check_model` in Python.
"""

from __future__ import annotations

from .runner import Result, check_model, parametrize_with_checks, summarize
from .subject import Subject, names_of

__all__ = ["Result", "Subject", "check_model", "names_of", "parametrize_with_checks", "summarize"]
