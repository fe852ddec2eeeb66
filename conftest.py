"""Fixtures for the tests of the core and of every plugin."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

ROOT = Path(__file__).parent

# the tests bring their own Hub on loopback; read when huggingface_hub is imported
os.environ.pop("HF_HUB_OFFLINE", None)
# a run in the background of a shell ignores Ctrl-C, and so would the processes that the tests interrupt
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of the authors' published weights: $DGM_REFERENCE, or `shared/reference` beside the checkout."""

    folder = Path(os.environ.get("DGM_REFERENCE", ROOT.parent / "shared" / "reference"))
    if not folder.is_dir():
        pytest.skip("the authors' published weights are not here (set DGM_REFERENCE to their folder)")
    return folder
