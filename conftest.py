"""Fixtures for the tests of the core and of every plugin."""

from __future__ import annotations

import importlib.util
import math
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent

# the tests bring their own Hub on loopback; read when huggingface_hub is imported
os.environ.pop("HF_HUB_OFFLINE", None)
# a run in the background of a shell ignores Ctrl-C, and so would the processes that the tests interrupt
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts first what takes minutes in one file, so that no worker is left alone with it at the end."""

    items.sort(key=lambda item: item.path.name not in ("test_typing.py", "test_docs.py"))


@pytest.fixture(autouse=True)
def _doctests(request: pytest.FixtureRequest) -> Iterator[None]:
    """Gives the examples in docstrings the names that they take for granted, and a random state of their own."""

    if not isinstance(request.node, pytest.DoctestItem):
        yield
        return
    import numpy
    import torch

    import dgmcore

    public = {name: getattr(dgmcore, name) for name in ("IndexedNoise", "load", "sample", "score")}
    request.getfixturevalue("doctest_namespace").update(public, math=math, np=numpy, torch=torch, dgmcore=dgmcore)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("dgmcore")
    group.addoption("--dtype", default="float64", help="of tests whose tolerances depend on it: float64 or float32")
    group.addoption("--device", default="cpu", help="of the conformance suite and of tests of models, such as cuda")


@pytest.fixture(scope="session")
def dtype(pytestconfig: pytest.Config) -> Any:
    """The floating-point type that `--dtype` names."""

    import torch

    return getattr(torch, pytestconfig.getoption("dtype"))


@pytest.fixture(scope="session")
def device(pytestconfig: pytest.Config) -> str:
    """The device that `--device` names."""

    device: str = pytestconfig.getoption("device")
    return device


@pytest.fixture(scope="session")
def within(dtype: Any) -> Callable[[float], float]:
    """Returns the tolerance that takes the place of one for float64: ten thousand roundings of `--dtype` at least."""

    import torch

    return lambda tolerance: max(tolerance, 1e4 * torch.finfo(dtype).eps if dtype != torch.float64 else 0.0)


@pytest.fixture(scope="session")
def recorder() -> Any:
    """A training step that moves nothing: it gives the same batch, and keeps the losses by optimiser."""

    from dgmcore.sampling.stream_noise import StreamNoise

    class Recorder:
        def __init__(self, batch: Any, index: int = 0, progress: float = 0.0, labels: Any = None):
            self.data, self.index, self.progress, self.total = batch, index, progress, 1000
            self.device, self.known = batch.device, labels
            self.losses: dict[str, list[Any]] = {}
            self.logged: dict[str, float] = {}
            self.streams: dict[int, StreamNoise] = {}
            self.batches = 0

        def batch(self) -> Any:
            self.batches += 1
            return self.data

        def labels(self) -> Any:
            return self.known

        def noise(self, n: int | None = None) -> StreamNoise:
            if self.streams.keys() != {self.index}:  # within a step calls go on in one stream
                given = {"scope": f"step{self.index}", "dtype": self.data.dtype}
                self.streams = {self.index: StreamNoise(1, len(self.data), **given)}
            return self.streams[self.index].with_n(n or len(self.data))

        def log(self, **values: Any) -> None:
            self.logged.update({key: float(getattr(v, "detach", lambda v=v: v)()) for key, v in values.items()})

        def minimize(self, loss: Any, optimizer: str = "model", *, retain_graph: bool = False) -> None:
            self.losses.setdefault(optimizer, []).append(float(loss.detach()))

    return Recorder


@pytest.fixture(scope="session")
def documented() -> Callable[[str], None]:
    """Returns a function that asserts of an architecture that its options are those of `docs/options.md`."""

    spec = importlib.util.spec_from_file_location("dgm_docs_build", ROOT / "docs" / "build.py")
    assert spec is not None and spec.loader is not None
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    page = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")

    def check(name: str) -> None:
        assert build.options_of(name) in page, f"{name}: entries without an option mean its default; else `make docs`"

    return check


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of the authors' published weights: $DGM_REFERENCE, or `shared/reference` beside the checkout."""

    folder = Path(os.environ.get("DGM_REFERENCE", ROOT.parent / "shared" / "reference"))
    if not folder.is_dir():
        pytest.skip("the authors' published weights are not here (set DGM_REFERENCE to their folder)")
    return folder
