"""Samples are the same however the work is cut, in memory that does not grow."""

from __future__ import annotations

import multiprocessing
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_models import Judge, Paint, Pixels, Ridge, Walk

from dgmcore.entry import Data, Entry
from dgmcore.errors import DgmError, OptionError, UsageError
from dgmcore.sampling import draw as sampling
from dgmcore.sampling.parallel import Place, share_batches


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
    together = [b for start, stop in shares for b in sampling.batches(start, stop, size)]
    assert together == list(sampling.batches(0, n, size))
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


def test_batches_are_smaller_for_larger_data():
    sizes = []
    for shape in ((2,), (1, 28, 28), (3, 64, 64), (3, 1024, 1024)):
        model = Ridge()
        model.event_shape = shape
        sizes.append(sampling.default_batch_size(model))
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


def job(rank, world, port, target, failing):
    """What a launcher starts, but forked: importing torch takes longer than the work."""
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK=str(rank))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo")
    torch.set_num_threads(1)
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


def launched(target, world, failing=None):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    context = multiprocessing.get_context("fork")
    jobs = [context.Process(target=job, args=(rank, world, port, target, failing)) for rank in range(world)]
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
    assert target.read_bytes() == before and list(tmp_path.iterdir()) == [target]
    with pytest.raises(DgmError, match="can't write"):
        sampling.sample_to(target / "b.npy", Ridge(), 10)
