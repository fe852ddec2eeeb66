"""Makes the helper modules beside the tests importable, and made-up installations."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from installation import Installation, invoke


def pytest_terminal_summary(terminalreporter):
    """Says how much was fuzzed, and what it took."""
    from fuzzing import Judge

    if Judge.results:
        count, accepted = (sum(r[i] for r in Judge.results) for i in (1, 2))
        slowest, grown = max(r[3] for r in Judge.results), max(r[4] for r in Judge.results)
        figures = f"{accepted:,} of them valid; slowest {slowest:.2f} s, memory +{grown / 2**20:.0f} MB"
        terminalreporter.write_line(f"fuzz: {count:,} inputs, {figures}")


@pytest.fixture(scope="session")
def warm_cache(tmp_path_factory):
    """An index with the record of the core, made once: its classes import torch."""
    first = Installation(tmp_path_factory.mktemp("warm"))
    first.run("list")
    return first.cache / "index"


@pytest.fixture
def installation(tmp_path, warm_cache, monkeypatch):
    """An installation of fake plugins that this process sees."""
    made = Installation(tmp_path, warm_cache)
    made.enter(monkeypatch)
    return made


@pytest.fixture(scope="session")
def toys_home(tmp_path_factory):
    return tmp_path_factory.mktemp("toys")


@pytest.fixture
def toys(toys_home, tmp_path, monkeypatch):
    """A family of toys (tests/toys.py) and an empty registry, used by this process; returns a folder for the test."""
    import toys

    registry = toys_home / "registry"  # one place for all tests: the index of a new one takes seconds
    shutil.rmtree(registry, ignore_errors=True)
    registry.mkdir()
    (tmp_path / "registry").symlink_to(registry)
    monkeypatch.setenv("DGM_REGISTRY", str(registry))
    for name, value in toys.install(toys_home).items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(str(toys_home / "modules"))
    _forget_user_plugins()
    yield tmp_path
    _forget_user_plugins()


@pytest.fixture(scope="session")
def toy_models_home(tmp_path_factory):
    """The data folder of a user whose only plugin is tests/toy_models.py, with an entry for each of its models."""
    import toy_models

    home = tmp_path_factory.mktemp("toy_models")
    toy_models.install(home)
    return home


@pytest.fixture
def toy_entries(toy_models_home, tmp_path, monkeypatch):
    """The entries of tests/toy_models.py, in an empty current folder, for `dgmcore.cli.main` and subprocesses."""
    monkeypatch.setenv("XDG_DATA_HOME", str(toy_models_home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(toy_models_home / "cache"))
    monkeypatch.setenv("DGM_PLUGINS", "train,eval,publish,data,authors,replay,export,latent,toys")
    monkeypatch.delenv("DGM_REGISTRY", raising=False)
    monkeypatch.chdir(tmp_path)
    _forget_user_plugins()
    yield tmp_path
    _forget_user_plugins()


@pytest.fixture
def dgm(toy_entries, capsys):
    """Runs a command in this process; returns its exit code, and what it printed on stdout and stderr."""
    return lambda *args: invoke(capsys, *map(str, args))


def _forget_user_plugins():
    for name in [n for n in sys.modules if n.split(".")[0] in ("dgm_user_plugins", "toys_models")]:
        del sys.modules[name]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub on the loopback interface that this process's `huggingface_hub` talks to."""
    from hub_server import HubServer
    from huggingface_hub import constants

    with HubServer() as server:
        for name, value in server.environment(tmp_path).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 1)
        monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr("dgmcore.hub.client.DELAYS", (0.01, 0.01))
        yield server


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    """A user with the plugin of toys that are trained."""
    import training_models

    with training_models.user(tmp_path_factory.mktemp("home")) as home:
        yield home


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, new and empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
