"""Weights on disk: verified once per state, checked before a parameter is touched, ties kept."""

from __future__ import annotations

import itertools
import mmap
import os
import threading
from contextlib import contextmanager
from types import SimpleNamespace

import msgspec
import pytest
import torch

import dgmcore
import dgmcore.registry.find
from dgmcore.errors import WeightsError
from dgmcore.files import verify
from dgmcore.files.safetensors import read_header
from dgmcore.files.tensors import write_tensors
from dgmcore.loading import load as loading
from dgmcore.loading import weights
from dgmcore.loading.load import build

DATA = {"dataset": "moons", "event_shape": [2]}


@pytest.fixture
def model(toys):
    return build("toy-shift", {"width": 3})


def read_into(model, path):
    with verify.open_verified(path, None, None) as file:
        read_header(file)
        loading.read_into(model, file, source=path)


def snapshot(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


def test_round_trip(model, tmp_path):
    stated = write_tensors(model.own_state(), tmp_path / "x.safetensors")
    assert stated.size == (tmp_path / "x.safetensors").stat().st_size
    other = build("toy-shift", {"width": 3}, init=False)
    read_into(other, tmp_path / "x.safetensors")
    for key, value in snapshot(model).items():
        assert torch.equal(other.state_dict()[key], value), key


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_in_half_precision_are_widened_where_the_entry_says_so(model, toys, dtype):
    folder = model.save(toys / "registry" / "half", name="half", license="mit", data=DATA, dtype=dtype)
    again = dgmcore.load("half")
    for key, value in snapshot(model).items():
        rounded = value.to(getattr(torch, dtype)).to(value.dtype) if value.is_floating_point() else value
        assert torch.equal(again.state_dict()[key], rounded), key
    assert again.dtype == torch.float32
    entry = (folder / "model.yaml").read_text()
    assert f"dtype: {dtype}" in entry
    (folder / "model.yaml").write_text(entry.replace(f"  dtype: {dtype}\n", ""))
    with pytest.raises(WeightsError, match=r"is torch\.b?float16, not torch\.float32"):
        dgmcore.load("half")


def test_weights_that_half_precision_can_not_hold_are_refused(model, tmp_path):
    with torch.no_grad():
        model.shift.fill_(1e5)
    given = {"name": "big", "license": "mit", "data": DATA}
    with pytest.raises(WeightsError, match="shift has numbers that are too large for float16"):
        model.save(tmp_path / "big", dtype="float16", **given)
    with pytest.raises(WeightsError, match="not stored as float8"):
        model.save(tmp_path / "big", dtype="float8", **given)
    assert not (tmp_path / "big").exists()


def test_all_problems_are_listed_and_nothing_is_touched(model, tmp_path):
    state = {
        "shift": torch.ones(5),
        "bulk.weight": torch.ones(2, 3, dtype=torch.float16),
        "what": torch.ones(1),
    }
    write_tensors(state, tmp_path / "x.safetensors")
    before = snapshot(model)
    with pytest.raises(WeightsError) as caught:
        read_into(model, tmp_path / "x.safetensors")
    for words in (
        "shift has the shape [5], not [2]",
        "bulk.weight is torch.float16, not torch.float32",
        "steps is missing",
        "what is unknown",
    ):
        assert words in caught.value.what, words
    for key, value in before.items():
        assert torch.equal(model.state_dict()[key], value), key


def test_many_problems_are_counted(model, tmp_path):
    write_tensors({f"x{i}": torch.ones(1) for i in range(20)}, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match="and 19 more"):
        read_into(model, tmp_path / "x.safetensors")


def test_ties_are_stored_once_and_tied_again(toys):
    model = build("toy-tied", {"width": 3})
    torch.nn.init.normal_(model.bulk.weight)
    assert set(model.own_state()) == {"shift", "steps", "bulk.weight"}
    model.save(toys / "registry" / "tied", name="tied", license="mit", data=DATA)
    again = dgmcore.load("tied")
    assert again.twin.weight is again.bulk.weight
    assert torch.equal(again.twin.weight, model.bulk.weight)


def test_ties_may_be_stored_under_any_or_all_of_their_names(toys, tmp_path):
    model = build("toy-tied", {"width": 3})
    value = torch.randn(2, 3)
    rest = {"shift": torch.ones(2), "steps": torch.tensor(7)}
    for names in (["twin.weight"], ["bulk.weight", "twin.weight"]):
        write_tensors({**rest, **{n: value.clone() for n in names}}, tmp_path / "x.safetensors")
        read_into(model, tmp_path / "x.safetensors")
        assert torch.equal(model.bulk.weight, value) and torch.equal(model.twin.weight, value)
    before = snapshot(model)
    both = {"bulk.weight": value, "twin.weight": value + 1}
    write_tensors({**rest, "shift": torch.zeros(2), **both}, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match="tied, but differ"):
        read_into(model, tmp_path / "x.safetensors")
    assert torch.equal(model.shift, before["shift"])


def test_a_large_file_is_hashed_once_per_state(model, toys, monkeypatch):
    monkeypatch.setattr(verify, "SMALL", 0)
    folder = model.save(toys / "registry" / "toy", name="toy", license="mit", data=DATA)
    path = folder / "model.safetensors"
    hashed = []
    real = verify.sha256_of
    monkeypatch.setattr(verify, "sha256_of", lambda p: hashed.append(p) or real(p))
    dgmcore.load("toy")
    dgmcore.load("toy")
    assert len(hashed) == 1
    state = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))  # even with the old time
    with pytest.raises(WeightsError, match="sha256"):
        dgmcore.load("toy")
    assert len(hashed) == 2


@pytest.mark.parametrize("mode", [(0o666, 0o755), (0o644, 0o777)], ids=["the file", "its folder"])
def test_a_file_that_others_may_write_is_hashed_every_time(model, toys, monkeypatch, mode):
    folder = model.save(toys / "registry" / "toy", name="toy", license="mit", data=DATA)
    path = folder / "model.safetensors"
    path.chmod(mode[0])
    folder.chmod(mode[1])
    hashed = []
    real = verify.sha256_of
    monkeypatch.setattr(verify, "sha256_of", lambda p: hashed.append(p) or real(p))
    for _ in range(3):
        assert torch.equal(dgmcore.load("toy").bulk.weight, model.bulk.weight)
    assert len(hashed) == 3


@contextmanager
def meanwhile(change):
    """Calls `change(i)`, i = 0, 1, ..., again and again in a thread of its own."""
    ends = threading.Event()

    def work():
        for i in itertools.count():
            change(i)
            if ends.wait(0.0005):
                return

    working = threading.Thread(target=work)
    working.start()
    try:
        yield
    finally:
        ends.set()
        working.join()


@pytest.mark.parametrize("mode", [0o644, 0o666], ids=["ours", "everybody's"])
def test_what_was_hashed_is_what_is_used(model, toys, mode):
    """While another process swaps the file, a load reads the right one or refuses the wrong one."""
    folder = model.save(toys / "registry" / "toy", name="toy", license="mit", data=DATA)
    path = folder / "model.safetensors"
    good, bad = toys / "good.safetensors", toys / "bad.safetensors"
    good.write_bytes(path.read_bytes())
    write_tensors({k: v + 1 for k, v in model.own_state().items()}, bad)
    assert good.stat().st_size == bad.stat().st_size
    for file in (good, bad):
        file.chmod(mode)

    def swap(i):
        (folder / "next").symlink_to((good, bad)[i % 2])
        os.replace(folder / "next", path)

    right = wrong = 0
    with meanwhile(swap):
        while min(right, wrong) < 15:
            try:
                assert torch.equal(dgmcore.load("toy").bulk.weight, model.bulk.weight)
                right += 1
            except WeightsError as e:
                assert "sha256" in e.what
                wrong += 1


def written(path, data, i):
    with open(path, "r+b") as file:
        file.write(data)


def written_in_secret(path, data, i):
    written(path, data, i)
    os.utime(path, (1, 1))


def mapped(path, data, i):
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as view:
        view[:] = data


def cut(path, data, i):
    os.truncate(path, 100)
    written(path, data, i)


def gone(path, data, i):
    path.unlink(missing_ok=True)
    path.write_bytes(data) if i % 3 else os.mkfifo(path)


@pytest.mark.parametrize("change", [written, written_in_secret, mapped, cut, gone])
def test_what_is_written_in_place_is_not_used_either(toys, change):
    """By whom may do it, so that no mode forbids to remember that the file was right."""
    model = build("toy-shift", {"width": 20_000})
    folder = model.save(toys / "registry" / "toy", name="toy", license="mit", data=DATA)
    path = folder / "model.safetensors"
    write_tensors({k: v + 1 for k, v in model.own_state().items()}, toys / "bad")
    good, bad = path.read_bytes(), (toys / "bad").read_bytes()
    right = wrong = 0
    with meanwhile(lambda i: change(path, (good, bad)[i % 2], i)):
        while right < 3 or wrong < 20:
            try:
                assert torch.equal(dgmcore.load("toy").bulk.weight, model.bulk.weight)
                right += 1
            except WeightsError:
                wrong += 1


def test_what_is_written_while_it_is_hashed_is_not_remembered(model, toys, monkeypatch):
    monkeypatch.setattr(verify, "SMALL", 0)
    folder = model.save(toys / "registry" / "toy", name="toy", license="mit", data=DATA)
    path, real = folder / "model.safetensors", verify.difference
    data = path.read_bytes()

    def then_written(file, size, sha256):
        found = real(file, size, sha256)
        written(path, data[:-1] + bytes([data[-1] ^ 1]), 0)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(verify, "difference", lambda f, n, s: (real if s is None else then_written)(f, n, s))
        dgmcore.load("toy")
    with pytest.raises(WeightsError, match="sha256"):
        dgmcore.load("toy")


def test_weights_that_can_not_be_read_are_two_lines(model, toys):
    folder = model.save(toys / "registry" / "toy", name="toy", license="mit", data=DATA)
    (folder / "model.safetensors").rename(folder / "b")
    os.symlink("/dev/full", folder / "model.safetensors")
    with pytest.raises(WeightsError, match="are not here"):
        dgmcore.load("toy")
    with pytest.MonkeyPatch.context() as patched, pytest.raises(WeightsError, match="it is not a file"):
        patched.setattr(weights, "beside", lambda located: folder / "model.safetensors")
        dgmcore.load("toy")


def test_weights_that_are_not_finite_are_refused_and_counted(model, toys):
    with torch.no_grad():
        model.bulk.weight[0, 1:] = torch.tensor([float("nan"), float("inf")])
    model.save(toys / "registry" / "toy", name="toy", license="mit", data=DATA)
    with pytest.raises(WeightsError, match=r"2 of the 6 numbers of bulk\.weight are not finite"):
        dgmcore.load("toy")


def test_large_numbers_are_finite(toys):
    model = build("toy-shift", {"width": 3})
    torch.nn.init.constant_(model.bulk.weight, 3e38)  # their sum is not
    model.save(toys / "registry" / "toy", name="toy", license="mit", data=DATA)
    assert torch.equal(dgmcore.load("toy").bulk.weight, model.bulk.weight)


def test_a_cache_that_cant_be_written_costs_a_hash_only(model, toys, monkeypatch):
    model.save(toys / "registry" / "toy", name="toy", license="mit", data=DATA)
    (toys / "no-folder").write_text("a file")
    monkeypatch.setattr("dgmcore.files.folders.user_cache", lambda: toys / "no-folder" / "cache")
    assert dgmcore.load("toy") and dgmcore.load("toy")


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"null", b'{"x": 3}', b"[" * 100_000])
def test_a_damaged_record_is_ignored(model, toys, monkeypatch, content):
    """Such as a file where the folder of what was verified should be."""
    model.save(toys / "registry" / "toy", name="toy", license="mit", data=DATA)
    (toys / "cache").mkdir()
    (toys / "cache" / "verified").write_bytes(content)
    monkeypatch.setattr("dgmcore.files.folders.user_cache", lambda: toys / "cache")
    assert dgmcore.load("toy") and dgmcore.load("toy")


def test_a_wrong_size_is_said(model, toys):
    folder = model.save(toys / "registry" / "toy", name="toy", license="mit", data=DATA)
    with (folder / "model.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(WeightsError, match="bytes, not"):
        dgmcore.load("toy")


def test_missing_weights_say_how_to_get_them(model, toys):
    folder = model.save(
        toys / "registry" / "toy", name="toy", license="mit", data=DATA, training={"recipe": "recipes/toy.yaml"}
    )
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"weights of toy are not here") as caught:
        dgmcore.load("toy")
    assert caught.value.hint == "train it: dgm train recipes/toy.yaml"


def test_weights_may_lie_in_a_folder_of_their_own(model, toys):
    folder = model.save(toys / "registry" / "toy", name="toy", license="mit", data=DATA)
    (folder / "unet").mkdir()
    (folder / "model.safetensors").rename(folder / "unet" / "weights.safetensors")
    entry = dgmcore.registry.read_entry(folder)
    stated = msgspec.structs.replace(entry.weights, file="unet/weights.safetensors")
    dgmcore.registry.write_entry(msgspec.structs.replace(entry, weights=stated), folder)
    assert torch.equal(dgmcore.load("toy").bulk.weight, model.bulk.weight)


def test_mismatch_names_the_difference(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    verify.open_verified(path, 3, verify.sha256_of(path)).close()
    for size, sha256, why in ((4, None, "not 4"), (None, "0" * 64, "sha256")):
        with pytest.raises(verify.Mismatch) as caught:
            verify.open_verified(path, size, sha256)
        assert why in caught.value.why
    assert weights.beside(SimpleNamespace(entry=SimpleNamespace(weights=None), folder=tmp_path)) is None
