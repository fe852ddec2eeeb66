"""What a sink wrote is read back, by us and by others, and nothing is left of what went wrong."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from toy_models import Pixels, Ridge

from dgmcore.data import as_tensor, open_data
from dgmcore.errors import DgmError, UsageError
from dgmcore.files import atomic as files
from dgmcore.sampling import draw as sampling
from dgmcore.sampling import sinks

ARRAYS = [".npy", ".npz", ".safetensors", ".csv"]


def read(path):
    """Reads as others do, without our code."""
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False)
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            assert archive.files == ["samples"]
            return archive["samples"]
    if path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        (tensor,) = load_file(path).values()
        return tensor
    return np.loadtxt(path, delimiter=",", skiprows=1, dtype=np.float32, ndmin=2)


@pytest.mark.parametrize("suffix", ARRAYS)
@pytest.mark.parametrize("kind", [Ridge, Pixels])
def test_arrays_are_read_back_bit_by_bit(tmp_path, suffix, kind):
    model = kind()
    path = tmp_path / f"x{suffix}"
    assert sampling.sample_to(path, model, 37, seed=2, batch_size=10) == path
    x = read(path)
    assert x.dtype == np.float32
    expected = torch.cat(list(sampling.stream(model, 37, seed=2, batch_size=10))).numpy()
    assert np.array_equal(x.reshape(expected.shape), expected)
    assert suffix == ".csv" or x.shape == expected.shape
    again = as_tensor(open_data(path)).numpy()  # and as DATA of other commands
    assert np.array_equal(again.reshape(expected.shape), expected)
    record = [f"{path.name}.json"] if suffix in (".npy", ".csv") else []
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name, *record]


numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)
floats = hnp.arrays(np.float32, st.tuples(st.integers(0, 5), st.just(2)), elements=numbers)


@pytest.mark.parametrize("suffix", ARRAYS)
@settings(max_examples=15, deadline=None)
@given(batches=st.lists(floats, min_size=1, max_size=4))
def test_any_numbers_survive(tmp_path_factory, suffix, batches):
    path = tmp_path_factory.mktemp("any") / f"x{suffix}"
    whole = np.concatenate(batches)
    with sinks.open_sink(path, len(whole), Ridge()) as write:
        for x in batches:
            write(x)
    if len(whole):
        assert np.array_equal(read(path), whole, equal_nan=True)


@pytest.mark.parametrize("out", [*(f"x{suffix}" for suffix in sinks.SINKS), "x/"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_never_written(tmp_path, out, value):
    model = Pixels() if out == "x/" else Ridge()
    x = np.zeros((4, *model.event_shape), np.float32)
    with sinks.open_sink(tmp_path / "warm.npy", 4, model) as write:
        write(x)
    x[2:] = value
    with pytest.raises(DgmError, match="are not finite"), sinks.open_sink(tmp_path / out, 4, model) as write:
        write(x)
    assert [p.name for p in tmp_path.iterdir()] == ["warm.npy"]


def test_equal_samples_make_equal_files(tmp_path):
    for suffix in [*ARRAYS, ".png", ".pdf", ".svg"]:
        one, two = tmp_path / f"1{suffix}", tmp_path / f"2{suffix}"
        model = Ridge() if suffix in (".pdf", ".svg") else Pixels()
        sampling.sample_to(one, model, 9, batch_size=4)
        sampling.sample_to(two, model, 9, batch_size=4)
        assert one.read_bytes() == two.read_bytes(), suffix


def test_pictures_are_rounded_to_eight_bits(tmp_path):
    model = Pixels({"channels": 3})
    sampling.sample_to(tmp_path / "all", model, 11, batch_size=4)
    names = sorted(p.name for p in (tmp_path / "all").iterdir())
    assert names == [f"{i:05}.png" for i in range(11)]
    expected = torch.cat(list(sampling.stream(model, 11, batch_size=4))).numpy()
    for i, name in enumerate(names):
        pixels = np.asarray(Image.open(tmp_path / "all" / name))
        assert pixels.shape == (8, 8, 3) and pixels.dtype == np.uint8
        levels = (expected[i].transpose(1, 2, 0).clip(-1, 1) + 1) * 127.5
        assert np.abs(pixels - levels).max() <= 0.5 + 1e-4


def test_a_folder_keeps_its_other_files_and_takes_new_pictures(tmp_path):
    folder = tmp_path / "all"
    folder.mkdir()
    (folder / "notes.txt").write_text("keep me")
    for seed in (0, 1):
        sampling.sample_to(folder, Pixels(), 3, seed=seed)
    assert sorted(p.name for p in folder.iterdir()) == ["00000.png", "00001.png", "00002.png", "notes.txt"]
    sampling.sample_to(tmp_path / "fresh", Pixels(), 3, seed=1)
    assert (folder / "00001.png").read_bytes() == (tmp_path / "fresh" / "00001.png").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["all", "fresh"]


def test_the_suffix_chooses_the_sink(tmp_path):
    assert sinks.sink_of("a/B.NPZ") is sinks.npz
    assert sinks.sink_of("new/") is sinks.folder and sinks.sink_of("new") is sinks.folder
    (tmp_path / "v1.0").mkdir()
    assert sinks.sink_of(tmp_path / "v1.0") is sinks.folder
    with pytest.raises(UsageError, match=r"\.jpg"):
        sinks.sink_of("a.jpg")
    with pytest.raises(UsageError, match="only images"), sinks.open_sink(tmp_path / "points", 3, Ridge()):
        pass
    with pytest.raises(UsageError, match="too many"), sinks.open_sink(tmp_path / "a.png", 10**7, Pixels()):
        pass


@pytest.mark.parametrize("out", ["x.npy", "x.npz", "x.png", "x.csv", "x.safetensors", "x/"])
def test_an_interruption_leaves_nothing(tmp_path, out):
    with pytest.raises(KeyboardInterrupt), sinks.open_sink(tmp_path / out, 10, Pixels()) as write:
        write(np.zeros((4, 1, 8, 8), np.float32))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_too_few_samples_are_no_file(tmp_path):
    with pytest.raises(RuntimeError, match="3 of 5"), sinks.open_sink(tmp_path / "x.npy", 5, Ridge()) as write:
        write(np.zeros((3, 2), np.float32))
    assert list(tmp_path.iterdir()) == []


def test_places_that_cant_be_written_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(DgmError, match="can't write") as caught, files.replacing(tmp_path / "folder.npy"):
        pass
    assert "folder" in caught.value.hint
    with pytest.raises(DgmError, match="can't write"), files.replacing(tmp_path / "file" / "x.npy"):
        pass
    with pytest.raises(DgmError, match="can't write"), files.replacing_folder(tmp_path / "file"):
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.npy"]


@pytest.mark.parametrize("number,word", [(errno.ENOSPC, "space"), (errno.EACCES, "may write"), (errno.EROFS, "may")])
def test_a_full_disk_says_so(tmp_path, number, word):
    with pytest.raises(DgmError) as caught, files.replacing(tmp_path / "x.npy") as file:
        file.write(b"something")
        raise OSError(number, os.strerror(number))
    assert os.strerror(number) in caught.value.what and word in caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ARRAYS)
def test_what_no_disk_can_hold_is_refused_before_it_is_drawn(tmp_path, suffix):
    with pytest.raises(UsageError, match=r"40,000\.0 GB"):
        sampling.sample_to(tmp_path / f"x{suffix}", Ridge(), 10**13 // 2)
    assert not list(tmp_path.iterdir())


def test_a_write_that_the_system_cuts_off(tmp_path):
    """A limit on the size of files, in a forked writer, stands for a disk that fills up."""
    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        try:
            sampling.sample_to(tmp_path / "x.npz", Ridge(), 1_000_000)
        except DgmError as e:
            os._exit(7 if "File too large" in e.what and "space" in e.hint else 8)
        finally:
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert list(tmp_path.iterdir()) == []


def writer(target):
    """Forks a process that writes to `target` without end, and returns its number once it does."""
    others = set(target.parent.glob(".*.tmp"))
    pid = os.fork()
    if pid == 0:
        from dgmcore.cli.commands.sample import stopping_cleanly

        try:
            with stopping_cleanly(), sinks.open_sink(target, 10**6, Pixels()) as write:
                while True:
                    write(np.zeros((100, 1, 8, 8), np.float32))
                    time.sleep(0.001)
        finally:
            os._exit(1)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for left in set(target.parent.glob(".*.tmp")) - others:
            if left.stat().st_size > 20_000 or (left.is_dir() and any(left.iterdir())):
                return pid
        time.sleep(0.01)
    raise AssertionError("the writer did not start")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_killed_process_leaves_no_half_written_file(tmp_path, number):
    target = tmp_path / "x.npy"
    target.write_bytes(b"old")
    pid = writer(target)
    os.kill(pid, number)
    os.waitpid(pid, 0)
    assert target.read_bytes() == b"old"
    others = [p.name for p in tmp_path.iterdir() if p != target]
    assert others == [] or (number == signal.SIGKILL and all(n.startswith(".") and n.endswith(".tmp") for n in others))


@pytest.mark.parametrize("out", ["x.npy", "x"])
def test_what_kill_9_left_is_swept_by_the_next_run_and_what_others_write_is_not(tmp_path, out):
    target = tmp_path / out
    (tmp_path / f".{out}.abc.tmp").write_text("somebody's own file")
    killed, living = writer(target), writer(target)
    os.kill(killed, signal.SIGKILL)
    os.waitpid(killed, 0)
    try:
        assert len(list(tmp_path.glob(".x*.tmp"))) == 3
        sampling.sample_to(target, Pixels(), 3)
        assert len(list(tmp_path.glob(".x*.tmp"))) == 2, "that of the living writer stays"
    finally:
        os.kill(living, signal.SIGKILL)
        os.waitpid(living, 0)
    sampling.sample_to(target, Pixels(), 3)
    record = ["x.npy.json"] if out == "x.npy" else []
    assert sorted(p.name for p in tmp_path.iterdir()) == [f".{out}.abc.tmp", out, *record]


def test_sinks_import_no_more_than_they_need(tmp_path):
    code = (
        "import sys, toy_models; from dgmcore import sampling;"
        f"sampling.sample_to({str(tmp_path / 'x.npz')!r}, toy_models.Ridge(), 5);"
        "print([m for m in ('PIL', 'rich', 'matplotlib', 'torchvision', 'torch._dynamo',"
        "'huggingface_hub', 'accelerate', 'dgmcore.sampling.pictures', 'dgmcore.train') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(__file__), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
