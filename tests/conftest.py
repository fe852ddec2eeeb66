"""Makes the helper modules beside the tests importable, and made-up installations."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from installation import Installation


@pytest.fixture(scope="session")
def warm_cache(tmp_path_factory):
    """The compiled records of all installed plugins, made once: their classes import torch."""
    first = Installation(tmp_path_factory.mktemp("warm"))
    first.run("list")
    return first.cache / "plugins"


@pytest.fixture
def installation(tmp_path, warm_cache, monkeypatch):
    """An installation of fake plugins that this process sees."""
    made = Installation(tmp_path, warm_cache)
    made.enter(monkeypatch)
    return made
