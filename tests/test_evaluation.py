"""Evaluations of models whose quality is known."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from dgm_eval.metrics.fid import frechet
from dgm_eval.models.classifier import Classifier
from dgm_eval.real import splits
from dgm_eval.records import merged, record
from dgm_eval.run import Evaluation

from dgmcore import Model, Options, evaluate, plugins
from dgmcore.entry import Data, Entry, Metric
from dgmcore.errors import DgmError, NotFiniteError, OptionError, UsageError
from dgmcore.evaluation import compare, differences
from dgmcore.interfaces import Likelihood


def entry(name: str, **data) -> Entry:
    return Entry(schema=1, name=name, architecture="test", license="MIT", data=Data(**data))


class Grid(Model):
    """The 25 Gaussians themselves, exactly, or some of them."""

    class Sampling(Options):
        modes: int = 25
        spread: float = 1.0

    likelihood = Likelihood.EXACT

    def __init__(self, offset: float = 0.0):
        super().__init__()
        self.event_shape, self.offset, self.seen = (2,), offset, []
        line = torch.arange(5.0) - 2
        self.centres = torch.cartesian_prod(line, line)
        self.entry = entry("grid", dataset="25gaussians", event_shape=(2,))
        if offset:
            self.likelihood = Likelihood.UNNORMALIZED

    def sample(self, noise, **options):
        o = self.sampling(options)
        self.seen.append(noise.n)
        return self.centres[noise.integers(o.modes)] + 0.0839 * o.spread * noise.normal(2)

    def log_prob(self, x):
        squares = (x[:, None] - self.centres).square().sum(2) / 0.0839**2
        return (-0.5 * squares).logsumexp(1) - math.log(25 * 2 * math.pi * 0.0839**2) + self.offset


def values(records) -> dict[str, float]:
    return {r.name: r.value for r in records}


def test_the_truth_about_the_25_gaussians():
    model = Grid()
    found = evaluate(model, n=4000)
    assert {r.name for r in found} == {"energy-distance", "modes", "within-3-sigma", "nll"}  # what fits, unasked
    by = {r.name: r for r in found}
    assert by["modes"].value == 25
    assert by["within-3-sigma"].value == pytest.approx(1 - math.exp(-4.5), abs=0.01)
    assert by["nll"].value == pytest.approx(1.10, abs=0.05)
    energy = by["energy-distance"]
    assert 0 < energy.value < 2e-3 > energy.floor > 0
    assert (energy.n, energy.n_real, energy.against) == (4000, 4000, "25gaussians:test")
    assert energy.sampling == {"modes": 25, "spread": 1.0}
    assert sum(model.seen) == 4000  # one pass of samples for all metrics


def test_one_metric_and_paths_are_as_good_as_lists_and_text(tmp_path):
    (one,) = evaluate(Grid(), "modes", 200)
    assert one == evaluate(Grid(), ["modes"], 200)[0] and one.value == 25
    np.save(tmp_path / "x.npy", Grid().centres.numpy())
    (of_file,) = evaluate(Grid(), "energy-distance", 25, against=tmp_path / "x.npy")
    assert (of_file.against, of_file.floor) == (str(tmp_path / "x.npy"), None)  # it has no split of which to be a floor
    np.savez(tmp_path / "x.npz", x_train=Grid().centres.numpy(), x_test=Grid().centres.numpy()[:20])
    assert splits(str(tmp_path / "x.npz"), Grid().entry) == (f"{tmp_path}/x.npz:test", f"{tmp_path}/x.npz:train")


def test_what_is_not_finite_is_no_metric():
    model = Grid()
    with pytest.raises(NotFiniteError, match="of 200 values of samples 0 to 99 of grid are not finite"):
        evaluate(model, ["within-3-sigma"], 100, spread=1e300)
    model.log_prob = lambda x: torch.where(x[:, 0] > 0, -math.inf, 0.0)
    with pytest.raises(NotFiniteError, match="grid's nats"):
        evaluate(model, ["nll"], 100)
    own = evaluate(model, ["ood-auroc"], 100, ood="moons:test")[0]
    assert 0 < own.value < 1  # minus infinity is less than everything
    model.log_prob = lambda x: x[:, 0] * math.nan
    with pytest.raises(NotFiniteError, match="can't be ranked"):
        evaluate(model, ["ood-auroc"], 100, ood="moons:test")
    run = Evaluation(Grid(), n=100)
    for fields in ({"value": math.nan}, {"value": 1.0, "std": math.inf}, {"value": 1.0, "floor": math.nan}):
        with pytest.raises(NotFiniteError, match="odd of grid"):
            run.record("odd", **fields)


def test_of_so_few_points_no_interval_is_known():
    for name in ("energy-distance", "mmd"):
        (record,) = evaluate(Grid(), [name], 2)
        assert math.isfinite(record.value) and record.interval is None
    assert evaluate(Grid(), ["energy-distance"], 100)[0].interval is not None
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    for some in (x[:1], x / 0, x * 1e300):  # in a process of its own it would show: LAPACK may crash
        assert math.isnan(frechet(x, some)) and math.isnan(frechet(some, x))


def test_worse_samples_are_worse():
    model = Grid()
    few = values(evaluate(model, ["modes", "energy-distance"], 2000, modes=7))
    assert few["modes"] == 7
    wide = values(evaluate(model, ["within-3-sigma", "energy-distance"], 2000, spread=2.0))
    assert wide["within-3-sigma"] == pytest.approx(1 - math.exp(-4.5 / 4), abs=0.03)
    assert few["energy-distance"] > 10 * values(evaluate(model, ["energy-distance"], 2000))["energy-distance"]


def test_an_unnormalised_density_is_normalised_on_a_grid():
    right = evaluate(Grid(), ["nll"], 3000)[0]
    shifted_by = evaluate(Grid(offset=3.0), ["nll"], 3000)[0]
    assert shifted_by.value == pytest.approx(right.value, abs=1e-3)
    assert "log Z = 3.0" in shifted_by.unit


def test_what_does_not_fit_is_refused():
    model = Grid()
    with pytest.raises(UsageError, match="fid") as error:
        evaluate(model, ["fidd"])
    assert "fid" in error.value.hint
    with pytest.raises(UsageError, match="capability encoder"):
        evaluate(model, ["reconstruction"])
    with pytest.raises(OptionError, match="mode"):
        evaluate(model, ["modes"], 100, mode=3)
    with pytest.raises(UsageError, match="no feature extractor"):
        evaluate(model, ["fid"], 100)
    for wrong in ({"n": 1}, {"n": 2.5}, {"batch_size": -1}, {"batch_size": 0}, {"seed": -1}, {"seed": 10**23}):
        with pytest.raises(UsageError, match="can't be"):
            evaluate(model, ["modes"], **{"n": 100, **wrong})
    for option in ("n", "seed", "against", "metrics"):  # what --set gives is no argument
        with pytest.raises(OptionError, match=f"unknown key {option}"):
            evaluate(model, ["modes"], 100, options={option: 3})
    model.entry = None
    with pytest.raises(UsageError, match="no entry"):
        evaluate(model)


# --- images ----------------------------------------------------------------------------------------


class Squares(Model):
    """Images of a bright square on noise; `shift` moves it away from where the data have it."""

    class Sampling(Options):
        shift: int = 0

    def __init__(self):
        super().__init__()
        self.event_shape, self.seen = (1, 12, 12), []
        self.entry = entry("squares", dataset="squares", event_shape=(1, 12, 12), range=(0, 1), levels=256)

    def sample(self, noise, **options):
        self.seen.append(noise.n)
        return squares(noise.n, noise.uniform(1, 12, 12), noise.integers(3), self.sampling(options).shift)


def squares(n, background, place, shift=0):
    x = 0.2 * background.clone()
    for i in range(n):
        at = int(place[i]) * 2 + shift
        x[i, :, 2 + at : 6 + at, 3:8] = 0.9
    return x


@pytest.fixture
def images(tmp_path, monkeypatch):
    """Real images in a file, and an extractor in a registry."""
    from dgmcore.noise import IndexedNoise

    noise = IndexedNoise(99, 900)
    x = squares(900, noise.uniform(1, 12, 12), noise.integers(3))
    np.save(tmp_path / "real.npy", (x[:, 0] * 255).round().byte().numpy())
    registry = tmp_path / "registry"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Classifier({"event_shape": [1, 8, 8], "channels": [6], "kernel": 3, "width": 8, "dropout": 0.0})
    network.architecture = "classifier"
    data = Data(dataset="squares", event_shape=(1, 8, 8), range=(-1, 1))
    network.save(registry / "tiny-features", name="tiny-features", license="MIT", data=data)
    monkeypatch.setenv("DGM_REGISTRY", str(registry))
    return str(tmp_path / "real.npy")


def test_features_tell_good_images_from_bad(images):
    names = ["fid", "kid", "precision", "recall", "energy-distance", "inception-score"]
    model = Squares()
    settings = {"against": images, "features": "tiny-features", "batch_size": 64}
    good = evaluate(model, names, 600, **settings)
    assert [r.name for r in good] == names
    assert sum(model.seen) == 600 and max(model.seen) <= 64
    by = {r.name: r for r in good}
    fid = by["fid"]
    assert (fid.features, fid.resize, fid.n, fid.n_real, fid.against) == ("tiny-features", 8, 600, 600, images)
    assert len(fid.features_sha256) == 64
    assert fid.floor is None  # a file has one split
    bad = values(evaluate(model, names, 600, shift=2, **settings))
    assert bad["fid"] > 5 * fid.value
    assert bad["kid"] > 5 * abs(by["kid"].value)
    assert bad["energy-distance"] > by["energy-distance"].value
    assert bad["precision"] < by["precision"].value > 0.9
    again = evaluate(Squares(), names, 600, **settings)
    assert again == good  # to the last bit


def test_processes_share_the_samples(images, tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_evaluation import *\n"
        "r = evaluate(Squares(), ['energy-distance'], 300, against=sys.argv[2],"
        " batch_size=64)\nprint(json.dumps(values(r)))"
    )
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code, os.path.dirname(__file__), images],
            env={**os.environ, **where, "RANK": str(rank)},
            stdout=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    outputs = [json.loads(run.communicate(timeout=120)[0]) for run in runs]
    alone = values(evaluate(Squares(), ["energy-distance"], 300, against=images, batch_size=64))
    assert outputs[0] == outputs[1] == pytest.approx(alone, rel=1e-6)


# --- records ---------------------------------------------------------------------------------------


def test_records_are_compared_only_if_their_protocols_agree():
    a = Metric(name="fid", value=4.0, n=1000, features="f", features_sha256="0" * 64, sampling={"temperature": 1.0})
    b = Metric(
        **{**_plain(a), "value": 8.0, "floor": 1.0, "command": "dgm", "sampling": {"temperature": 1.0, "steps": 9}}
    )
    assert compare(a, b) == 0.5
    for change in (
        {"n": 500},
        {"n_real": 3},
        {"features_sha256": "1" * 64},
        {"resize": 28},
        {"against": "fashion:train"},
        {"seed": 3},
        {"weights": "ema"},
        {"sampling": {"temperature": 0.7}},
        {"name": "kid"},
    ):
        c = Metric(**{**_plain(b), **change})
        (key,) = differences(a, c)
        with pytest.raises(UsageError, match=key):
            compare(a, c)
        assert compare(a, c, allow=[key]) == 0.5
    assert compare(a, Metric(**{**_plain(b), "sampling": {"temperature": 0.7}}), allow=["sampling"]) == 0.5


def test_a_new_record_replaces_that_of_its_own_protocol():
    old = Metric(name="fid", value=4.0, n=1000), Metric(name="fid", value=5.0, n=50), Metric(name="nll", value=1.0)
    new = [Metric(name="fid", value=3.0, n=1000), Metric(name="kid", value=0.1)]
    assert [(m.name, m.value) for m in merged(old, new)] == [("fid", 3.0), ("fid", 5.0), ("nll", 1.0), ("kid", 0.1)]


def _plain(metric: Metric) -> dict:
    return {key: getattr(metric, key) for key in metric.__struct_fields__}


# --- the command -----------------------------------------------------------------------------------


def dgm(*args: str) -> tuple[int, str]:
    """Runs the command line in this process."""
    import contextlib
    import io

    from dgmcore.cli import main

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = main(list(args))
    return code, out.getvalue()


def test_the_command_records_and_compares(images, tmp_path, capsys):
    from dgmcore.entry import read_entry

    folder = tmp_path / "registry" / "tiny-features"
    pixels = np.load(images)[:, :8, :8]
    np.savez(tmp_path / "labelled.npz", x=pixels, y=np.arange(900) % 10)
    measure = ["eval", str(folder), "--metric", "accuracy", "--against", str(tmp_path / "labelled.npz")]
    before = read_entry(folder)
    code, out = dgm(*measure, "--json")
    assert code == 0 and read_entry(folder) == before  # nothing is written unasked
    (row,) = json.loads(out)
    assert (row["model"], row["name"], row["n_real"]) == ("tiny-features", "accuracy", 900)

    code, out = dgm(*measure, "--n", "200", "--record")
    assert code == 0 and "accuracy" in out
    (recorded,) = read_entry(folder).metrics
    assert recorded.n_real == 200 and recorded.command.startswith("dgm eval tiny-features --metric accuracy --n 200")
    code, out = dgm(*measure, "--n", "200", "--compare", str(folder), "--json")
    assert (code, json.loads(out)[0]["ratio"]) == (0, 1.0)
    code, out = dgm(*measure, "--compare", str(folder), "--json")  # of 900, against 200 in the record
    assert code == 2 and json.loads(out)[0]["n_real"] == 900 and json.loads(out)[0]["ratio"] is None, "not lost"
    assert "n_real 900 against 200" in capsys.readouterr().err
    code, out = dgm(*measure, "--compare", str(folder))
    assert (code == 2 and "0.09" in out) or "0.1" in out
    code, out = dgm("eval", str(folder), "--metric", "fid", "--metric", "accuracy", "--compare", str(folder))
    assert (code, out) == (2, "") and "no record of fid" in capsys.readouterr().err, "refused before it is measured"


def test_records_of_what_is_shipped_go_to_the_users_registry(images, tmp_path, monkeypatch):
    from dgmcore import registry
    from dgmcore.entry import read_entry

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    folder = tmp_path / "registry" / "tiny-features"
    shipped = registry.Located(read_entry(folder), folder, "core", "core/tiny-features")
    before = (folder / "model.yaml").read_bytes()
    metric = Metric(name="accuracy", value=0.5)
    written = record(shipped, [metric])
    assert written == tmp_path / "share" / "dgmcore" / "registry" / "tiny-features" / "model.yaml"
    assert (folder / "model.yaml").read_bytes() == before and read_entry(written).metrics == (metric,)
    assert {p.name for p in written.parent.iterdir()} == {p.name for p in folder.iterdir()}, "weights and all"
    with pytest.raises(UsageError, match="of your own") as caught:
        record(shipped, [metric])
    assert str(written.parent) in caught.value.hint
    with pytest.raises(UsageError, match="no local entry"):
        record(registry.Located(shipped.entry, folder, "hub", "hf://u/tiny"), [metric])


@pytest.mark.parametrize("change", [{"value": math.nan}, {"std": math.inf}, {"seed": 10**50}])
def test_a_record_that_nobody_could_read_again_is_not_written(images, tmp_path, change):
    from dgmcore import registry

    folder = tmp_path / "registry" / "tiny-features"
    before = (folder / "model.yaml").read_bytes()
    with pytest.raises(DgmError):
        record(registry.find(str(folder)), [Metric(**{"name": "accuracy", "value": 0.5, **change})])
    assert (folder / "model.yaml").read_bytes() == before
    assert sorted(p.name for p in folder.parent.iterdir()) == ["tiny-features"], "nothing is left beside it"


def test_the_command_refuses_with_a_hint(images, tmp_path, capsys):
    folder = str(tmp_path / "registry" / "tiny-features")
    for arguments, code, said in (
        ([folder, "--metric", "ood-auroc"], 2, "judges no data"),
        ([folder, "--metric", "accuracyy"], 2, "did you mean accuracy"),
        ([folder, "--metric", "accuracy"], 1, "squares"),  # no data set is called so
        ([folder, "--metric", "fid"], 2, "capability generator"),
        (["tiny-featurs"], 1, "tiny-features"),
    ):
        assert dgm("eval", *arguments)[0] == code
        assert said in capsys.readouterr().err


def test_every_metric_of_our_plugins_says_which_value_is_better_or_that_none_is():
    from dgm_eval.ratios import _HIGHER, _LOWER, verdict

    brought = ("eval", "given", "diffusion", "ebms", "autoregressive")
    ours = {name for name, metric in plugins.metrics().items() if metric.plugin in brought}
    assert ours - _HIGHER - _LOWER == {"observables", "log-normaliser"}
    much, little = (Metric(name="label-agreement", value=v, interval=(v - 0.01, v + 0.01)) for v in (0.9, 0.5))
    assert (verdict(much, little), verdict(little, much)) == ("better", "worse")
    text = (Path(__file__).parent.parent / "docs" / "evaluation.md").read_text(encoding="utf-8")
    assert [name for name in sorted(ours) if f"`{name}`" not in text] == []
