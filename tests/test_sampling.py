"""Samples are the same however the work is cut, in memory that does not grow."""

from __future__ import annotations

import multiprocessing
import os
import socket
import subprocess
import sys
from datetime import timedelta

import numpy as np
import pytest
import torch
from dgm_train.parallel import group
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_models import Judge, Paint, Pixels, Ridge, Walk

from dgmcore.entry import Data, Entry
from dgmcore.errors import DgmError, NotFiniteError, OptionError, UsageError
from dgmcore.sampling import draw as sampling
from dgmcore.sampling.processes import Place, device_here, here, share_batches
from dgmcore.sampling.settings import batches, default_batch_size


def entry_of(model, **data):
    return Entry(
        schema=1,
        name="toy",
        architecture="toy",
        license="CC0-1.0",
        data=Data(dataset="toy", event_shape=model.event_shape, **data),
    )


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 20), size=st.integers(1, 25), start=st.integers(0, 10), kind=st.sampled_from([Ridge, Walk]))
def test_samples_do_not_depend_on_how_they_are_asked_for(n, size, start, kind):
    model = kind().eval()
    whole = sampling.sample(model, 30, seed=5)
    some = torch.cat(list(sampling.stream(model, n, seed=5, batch_size=size, start=start)))
    torch.testing.assert_close(some, whole[start : start + n], rtol=0, atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(n=st.integers(0, 1000), size=st.integers(1, 200), world=st.integers(1, 9))
def test_processes_share_the_batches_that_one_process_makes(n, size, world):
    shares = [share_batches(n, size, Place(rank, world, 0)) for rank in range(world)]
    together = [b for start, stop in shares for b in batches(start, stop, size)]
    assert together == list(batches(0, n, size))
    work = [-(-(stop - start) // size) for start, stop in shares]
    assert max(work) - min(work) <= 1


def test_the_global_random_state_is_neither_used_nor_changed():
    model = Walk()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    a = sampling.sample(model, 5)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert torch.equal(a, sampling.sample(model, 5))


def test_options_are_checked_before_anything_is_drawn():
    with pytest.raises(OptionError, match="steps"):
        sampling.stream(Walk(), 5, stepz=3)
    with pytest.raises(OptionError, match="int"):
        sampling.stream(Walk(), 5, steps="many")
    assert not torch.equal(sampling.sample(Walk(), 5, steps=2), sampling.sample(Walk(), 5, steps=3))
    with pytest.raises(UsageError, match="no generator"):
        sampling.sample(Judge(), 5)
    for wrong in ({"n": -1}, {"n": 5, "batch_size": 0}, {"n": 5, "start": -1}):
        with pytest.raises(UsageError):
            sampling.stream(Ridge(), **wrong)
    for wrong in ({"n": 2.5}, {"seed": 3.7}, {"seed": -1}, {"seed": 10**23}, {"seed": "7"}, {"batch_size": -1}):
        with pytest.raises(UsageError, match="can't be"):
            sampling.sample(Ridge(), **wrong)
    assert len(sampling.sample(Ridge(), np.int64(3), seed=np.int32(1))) == 3


def test_options_are_one_mapping_beside_the_arguments():
    """What `--set` gives can't be taken for an argument of ours: an option is called as the model calls it."""

    class Seeded(Walk):
        class Sampling(Walk.Sampling):
            seed: int = 0
            n: int = 1
            start: float = 0.0

        def trajectory(self, noise, **options):
            o = self.sampling(options)
            yield noise.normal(2) * 0 + 100 * o.seed + 10 * o.n + o.start

    x = sampling.sample(Seeded(), 2, seed=5, options={"seed": 7, "n": 3, "start": 0.5})
    assert x.tolist() == [[730.5, 730.5]] * 2
    assert torch.equal(x, next(sampling.first_states(Seeded(), 2, seed=5, options={"seed": 7, "n": 3, "start": 0.5})))
    for option in ("seed", "n", "start", "noise", "batch_size"):
        with pytest.raises(OptionError, match=f"unknown key {option}"):
            sampling.sample(Walk(), 2, options={option: 5})
    with pytest.raises(OptionError, match="steps is given twice"):
        sampling.sample(Walk(), 2, options={"steps": 3}, steps=4)
    assert torch.equal(sampling.sample(Walk(), 2, options={"steps": 3}), sampling.sample(Walk(), 2, steps=3))


def test_what_is_not_finite_is_no_sample(tmp_path):
    class Diverging(Walk):
        def trajectory(self, noise, **options):
            x = noise.normal(2)
            yield x
            x[1:, 0] = torch.inf if self.sampling(options).steps == 1 else torch.nan
            yield x

    for model in (Diverging(), Diverging()):
        for steps in (1, 2):
            with pytest.raises(NotFiniteError, match="3 of 8 values of samples 0 to 3 of Diverging are not") as caught:
                sampling.sample(model, 4, steps=steps)
            assert "--set" in caught.value.hint
            with pytest.raises(NotFiniteError):
                list(sampling.first_states(model, 4, steps=steps))
            with pytest.raises(NotFiniteError):
                sampling.sample_to(tmp_path / "x.png", model, 4, steps=steps)
        model.entry = entry_of(model, range=(-1.0, 1.0))  # a range hides no infinity
    assert list(tmp_path.iterdir()) == []


def test_the_entrys_options_are_the_defaults():
    model = Walk()
    expected = sampling.sample(model, 5, steps=3)
    model.set_sampling_defaults({"steps": 3})
    assert torch.equal(sampling.sample(model, 5), expected)


def test_samples_are_plain_tensors_of_the_models_dtype_in_the_range_of_its_data():
    model = Pixels({"scale": 1.0}).double()
    x = sampling.sample(model, 50)
    assert x.dtype is torch.float64 and not x.requires_grad and not x.is_inference()
    assert float(x.abs().max()) > 1
    model.entry = entry_of(model, range=(-1.0, 1.0))
    assert torch.equal(sampling.sample(model, 50), x.clamp(-1, 1))
    assert sampling.sample(model, 0).shape == (0, 1, 8, 8)


def test_samples_that_leave_the_range_of_the_data_are_told_once(capsys):
    model = Ridge()
    model.entry = entry_of(model, range=(-9.0, 9.0))
    sampling.sample(model, 50)
    assert capsys.readouterr().err == ""
    model.entry = entry_of(model, range=(0.0, 0.01))
    sampling.sample(model, 50, batch_size=10)
    said = capsys.readouterr().err
    assert said.startswith("warning: ") and said.count("\n") == 1
    assert "of the values of samples 0 to 9 of toy are outside of its data's range, [0, 0.01], and are cut" in said


def test_batches_are_smaller_for_larger_data():
    sizes = []
    for shape in ((2,), (1, 28, 28), (3, 64, 64), (3, 1024, 1024)):
        model = Ridge()
        model.event_shape = shape
        sizes.append(default_batch_size(model))
    assert sizes == sorted(sizes, reverse=True) and sizes[0] >= 4096 and sizes[-1] == 1


def test_the_states_of_the_first_batch_end_in_its_samples():
    *before, last = sampling.first_states(Walk(), 20, seed=3, batch_size=7, steps=4)
    assert len(before) == 4
    assert torch.equal(last, sampling.sample(Walk(), 7, seed=3, steps=4))
    with pytest.raises(UsageError, match="one step"):
        next(sampling.first_states(Ridge(), 3))


def test_a_known_first_batch_is_not_drawn_again(tmp_path):
    model, drawn = Paint(), []
    sample = model.sample
    model.sample = lambda noise, **options: drawn.append((noise.start, noise.n)) or sample(noise, **options)
    first = torch.zeros(4, 1, 8, 8)
    sampling.sample_to(tmp_path / "a.npy", model, 10, batch_size=4, first=first)
    assert drawn == [(4, 4), (8, 2)]
    x = np.load(tmp_path / "a.npy")
    assert not x[:4].any() and x[4:].any()


# --- processes and memory ---------------------------------------------------------------------------


def launch(rank, world, port):
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK=str(rank))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo")
    torch.set_num_threads(1)


def job(rank, world, port, target, failing):
    """What a launcher starts, but forked: importing torch takes longer than the work."""
    launch(rank, world, port)
    model = Pixels()
    if rank == failing:
        model.push = None
    try:
        sampling.sample_to(target, model, 50, seed=11, batch_size=8)
    except DgmError as e:
        assert f"process {failing} failed" in str(e)
        os._exit(3)
    except TypeError:
        os._exit(4)


def launched(target, world, failing=None, work=job):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    context = multiprocessing.get_context("fork")
    jobs = [context.Process(target=work, args=(rank, world, port, target, failing)) for rank in range(world)]
    for process in jobs:
        process.start()
    for process in jobs:
        process.join(100)
    return [process.exitcode for process in jobs]


def test_several_processes_write_the_file_of_one(tmp_path):
    sampling.sample_to(tmp_path / "one.npz", Pixels(), 50, seed=11, batch_size=8)
    assert launched(tmp_path / "three.npz", 3) == [0, 0, 0]
    assert (tmp_path / "three.npz").read_bytes() == (tmp_path / "one.npz").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.npz", "three.npz"]


@pytest.mark.parametrize("failing", [0, 1])
def test_a_process_that_fails_ends_all_and_leaves_nothing(tmp_path, failing):
    codes = launched(tmp_path / "two.npz", 2, failing)
    assert codes == ([4, 3] if failing == 0 else [3, 4])
    assert list(tmp_path.iterdir()) == []


LAUNCHED = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


@pytest.mark.parametrize(
    "changes",
    [
        {"WORLD_SIZE": "abc"},
        {"RANK": "1.5"},
        {"RANK": "2"},
        {"RANK": "-1"},
        {"LOCAL_RANK": "x"},
        {"WORLD_SIZE": "0"},
        {"WORLD_SIZE": None},  # RANK=0 without a world
        {"WORLD_SIZE": None, "RANK": "3"},
        {"RANK": None},
        {"MASTER_ADDR": None},
        {"MASTER_PORT": "http"},
    ],
)
def test_what_a_launcher_says_is_checked_before_work(monkeypatch, changes):
    for name, value in {**LAUNCHED, "LOCAL_RANK": "0", **changes}.items():
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
    with pytest.raises(UsageError) as caught:
        sampling.sample_to("never.npz", Pixels(), 3)
    assert "torchrun" in caught.value.hint


def test_who_is_alone_needs_no_launcher(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert here() == Place(0, 1, 0)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert here() == Place(0, 1, 0)
    for name, value in {**LAUNCHED, "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert here() == Place(1, 2, 1) and not here().is_main
    assert device_here("cuda:3", here()) == "cuda:3" and device_here("auto", here()) != "auto"


def other_seed(rank, world, port, target, failing):
    launch(rank, world, port)
    try:
        sampling.sample_to(target, Pixels(), 50, seed=rank, batch_size=8)
    except UsageError as e:
        os._exit(5 if "process 0 was asked for seed 0, process 1 for 1" in e.what else 6)


def absent(rank, world, port, target, failing):
    launch(rank, world, port)
    group.JOIN = timedelta(seconds=3)
    if rank == failing:
        os._exit(7)
    try:
        sampling.sample_to(target, Pixels(), 50)
    except DgmError as e:
        os._exit(8 if f"process {rank} has not met the 1 others" in e.what else 9)


def dying(rank, world, port, target, failing):
    launch(rank, world, port)
    model = Pixels()
    if rank == failing:
        model.push = lambda eps: os._exit(10)
    try:
        sampling.sample_to(target, model, 50, batch_size=8)
    except DgmError as e:
        os._exit(11 if "has ended" in e.what else 12)


def test_processes_that_were_asked_for_different_things_all_say_so(tmp_path):
    assert launched(tmp_path / "x.npz", 2, work=other_seed) == [5, 5]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failing", [0, 1])
def test_nobody_waits_for_a_process_that_does_not_come(tmp_path, failing):
    assert launched(tmp_path / "x.npz", 2, failing, work=absent) == ([7, 8] if failing == 0 else [8, 7])


def test_nobody_waits_for_a_process_that_has_ended(tmp_path):
    assert launched(tmp_path / "x.npz", 2, 1, work=dying) == [11, 10]
    assert list(tmp_path.glob("x.npz")) == []


def test_memory_does_not_grow_with_the_number_of_samples(tmp_path):
    code = """
import resource, sys, torch
torch.set_num_threads(1)
from toy_models import Ridge
from dgmcore import sampling
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
for suffix in ("npy", "npz", "safetensors"):
    sampling.sample_to(f"{sys.argv[1]}/small.{suffix}", Ridge(), 20_000)
before = peak()
for suffix in ("npy", "npz", "safetensors"):
    sampling.sample_to(f"{sys.argv[1]}/large.{suffix}", Ridge(), 1_000_000)
print(peak() - before)
"""
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(__file__), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 4, "MiB more for 8 MB of samples a file"
    x = np.load(tmp_path / "large.npy", mmap_mode="r")
    assert x.shape == (1_000_000, 2) and np.array_equal(x[:1000], np.load(tmp_path / "small.npy")[:1000])


def test_an_error_on_the_way_leaves_the_old_file(tmp_path):
    target = tmp_path / "a.npy"
    sampling.sample_to(target, Ridge(), 10)
    before = target.read_bytes()

    def stop(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sampling.sample_to(target, Ridge(), 10, seed=1, watch=stop)
    assert target.read_bytes() == before and sorted(tmp_path.iterdir()) == [target, tmp_path / "a.npy.json"]
    with pytest.raises(DgmError, match="can't write"):
        sampling.sample_to(target / "b.npy", Ridge(), 10)
