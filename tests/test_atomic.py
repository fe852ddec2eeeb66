"""Files that are replaced: what stays of the old one, what is followed, and what is written to as it is."""

from __future__ import annotations

import os
import stat
import threading

import pytest

from dgmcore.errors import DgmError
from dgmcore.files.atomic import replacing, replacing_folder
from dgmcore.hub import first_fetch


def write(path, text=b"new", **options):
    with replacing(path, **options) as file:
        file.write(text)


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755])
def test_the_permissions_of_a_file_that_is_replaced_stay(tmp_path, mode):
    path = tmp_path / "x"
    path.write_bytes(b"old")
    path.chmod(mode)
    write(path)
    assert path.read_bytes() == b"new" and stat.S_IMODE(path.stat().st_mode) == mode
    with replacing_folder(tmp_path) as stage:
        (stage / "x").write_bytes(b"newer")
    assert path.read_bytes() == b"newer" and stat.S_IMODE(path.stat().st_mode) == mode


def test_those_of_a_new_file_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write(tmp_path / "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


def test_a_link_is_followed(tmp_path):
    (tmp_path / "there").mkdir()
    for name in ("here", "nowhere-yet"):
        (tmp_path / name).symlink_to(tmp_path / "there" / name)
        write(tmp_path / name)
        assert (tmp_path / name).is_symlink() and (tmp_path / "there" / name).read_bytes() == b"new"
    assert sorted(os.listdir(tmp_path)) == ["here", "nowhere-yet", "there"]


def test_a_pipe_is_written_to(tmp_path):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write(pipe)
    reader.join(10)
    assert read == [b"new"] and stat.S_ISFIFO(pipe.stat().st_mode) and os.listdir(tmp_path) == ["pipe"]


def test_devices_and_descriptors_are_written_to(tmp_path):
    write("/dev/null")
    assert not stat.S_ISREG(os.stat("/dev/null").st_mode)
    with (tmp_path / "x").open("wb") as file:
        write(f"/dev/fd/{file.fileno()}")
    assert (tmp_path / "x").read_bytes() == b"new" and os.listdir(tmp_path) == ["x"]


def test_the_first_record_of_a_fetch_wins(tmp_path, monkeypatch):
    monkeypatch.setattr(first_fetch, "user_data", lambda: tmp_path)
    first, second = (first_fetch.Pin(sha256=digit * 64, commit="main") for digit in "ab")
    assert [first_fetch.record("a/b", "x", None, pin) for pin in (first, second)] == [first, first]
    assert len(os.listdir(tmp_path / "pins")) == 1


def test_an_error_in_the_block_is_the_one_that_is_seen(tmp_path):
    for error in (KeyError("x"), DgmError("what"), FileNotFoundError("none")):
        with pytest.raises((KeyError, DgmError)), replacing(tmp_path / "x"):
            raise error
    assert os.listdir(tmp_path) == []
