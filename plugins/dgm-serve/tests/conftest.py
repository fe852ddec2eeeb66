"""Makes the helpers beside the tests importable, a server that all of them ask, and a browser for the page's."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import browsing
from dgm_serve.limits import Limits
from serving import Served, serving


@pytest.fixture(scope="session")
def served():
    """A server on loopback in a thread, with short patience and few connections."""
    with serving(Limits(patience=1.0, connections=40, seconds=100.0, waiting=4, body=100_000)) as server:
        yield server


@pytest.fixture
def client(served) -> Served:
    return served


@pytest.fixture(scope="session")
def chromium():
    with browsing.browser() as browser:
        yield browser


@pytest.fixture(scope="session")
def address():
    """The address of a server for the page's tests."""
    process, address = browsing.serve()
    yield address
    browsing.end(process)


@pytest.fixture
def visit(chromium, address):
    made = browsing.Visit(chromium, address)
    yield made
    made.context.close()
