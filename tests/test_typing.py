"""Scripts of users, modules of authors and what `dgm new-plugin` writes pass `mypy --strict`: `py.typed` says so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from dgm_authors.new_plugin import new_plugin

api = pytest.importorskip("mypy.api")
pytest.importorskip("copier")

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "docs/tutorial.md", "docs/composition.md", "docs/registry.md", "docs/weights.md"]

USER = """
import torch
from torch import Tensor

import dgmcore

model = dgmcore.load("realnvp-moons")
x: Tensor = dgmcore.sample(model, 1000, seed=7)
nats: Tensor = model.log_prob(x)
kind: dgmcore.Likelihood = model.likelihood
again: Tensor = model.decode(model.encode(x))
judged: Tensor = model.score(x)
seen: Tensor = model.features(x)
for state in model.trajectory(dgmcore.IndexedNoise(0, 4)):
    print(state.shape)
pushed: Tensor = model.parts["base"].push(dgmcore.IndexedNoise(0, 4).named(model.noise_shapes))
mean: float = dgmcore.score(model, x).mean
dgmcore.train({"name": "mine"}, out="registry")
print(dgmcore.evaluate(model, ["nll"])[0].value, dgmcore.info("realnvp-moons")["summary"])
model.to(torch.float64).save("mine", name="mine", license="mit", data={"dataset": "moons", "event_shape": [2]})
"""

AUTHOR = """
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

import dgmcore
from dgmcore.config import Count, Positive


class Shift(dgmcore.Model):
    class Config(dgmcore.Config):
        scale: Positive = 1.0

    class Sampling(dgmcore.Options):
        steps: Count = 1

    config: Config
    likelihood: ClassVar[dgmcore.Likelihood] = dgmcore.Likelihood.EXACT

    def __init__(self, config: Any = None, **parts: dgmcore.Model):
        super().__init__(config, **parts)
        self.event_shape = (2,)
        self.shift = nn.Parameter(torch.full((2,), self.config.scale))

    @property
    def noise_shapes(self) -> Mapping[str, Any]:
        return {"z": (2,)}

    def push(self, eps: Mapping[str, Tensor]) -> Tensor:
        return eps["z"] + self.shift

    def sample(self, noise: dgmcore.Noise, **options: Any) -> Tensor:
        return self.push(noise.named(self.noise_shapes))

    def trajectory(self, noise: dgmcore.Noise, **options: Any) -> Iterator[Tensor]:
        yield self.sample(noise, **options)

    def log_prob(self, x: Tensor) -> Tensor:
        return -(x - self.shift).square().sum(1)


class Wide(Shift):
    class Config(Shift.Config):
        width: Count = 3

    @property
    def noise_shapes(self) -> Mapping[str, Any]:
        return {"z": (2,), "u": (1,)}


class Named(dgmcore.Model):
    noise_shapes: Mapping[str, Any] = {"z": (2,)}
    likelihood = dgmcore.Likelihood.ESTIMATE

    @property
    def orders(self) -> Tensor:
        return torch.zeros(1, 2)

    def log_prob(self, x: Tensor, noise: dgmcore.Noise | None = None) -> Tensor:
        return -x.square().sum(1)


print(Shift({"scale": 2.0}).config.scale, Shift.Config(scale=3.0))
"""


WRONG = 'import dgmcore\n\nx: str = dgmcore.load("a").log_prob(3)\n'


@pytest.fixture(scope="module")
def errors(tmp_path_factory):
    """What mypy finds wrong, by the name of the script; one run for all, as reading torch's types takes longest."""
    folder = tmp_path_factory.mktemp("typing")
    scripts = {"user": USER, "author": AUTHOR, "wrong": WRONG}
    for page in PAGES:
        for i, text in enumerate(re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.S)):
            scripts[f"{Path(page).stem.lower()}_{i}"] = text
    for name, text in scripts.items():
        (folder / f"{name}.py").write_text(text)
    started = new_plugin("my-family", folder)
    files = [*(str(folder / f"{name}.py") for name in scripts), *map(str, started.rglob("*.py"))]
    # the settings and the cache of `make lint`: strict, and torch's types are read once for both
    settings = ["--strict", f"--config-file={ROOT / 'pyproject.toml'}", f"--cache-dir={ROOT / '.mypy_cache'}"]
    printed = api.run([*settings, *files])[0]
    found = {name: [] for name in scripts}
    for line in printed.splitlines():
        if ": error:" in line:
            found.setdefault(Path(line.partition(":")[0]).stem, []).append(line)
    return found


def test_scripts_of_users_and_modules_of_authors_have_no_errors(errors):
    assert {name.rpartition("_")[0] for name in errors if "_" in name} == {Path(p).stem.lower() for p in PAGES}
    assert {name: lines for name, lines in errors.items() if lines and name != "wrong"} == {}


def test_a_wrong_script_is_told(errors):
    (line,) = errors["wrong"]
    assert "Incompatible types in assignment" in line
