"""Weights and data: thousands of damaged and hostile files are read as what they are, or refused."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from dgm_data.idx import read_idx
from fuzzing import judging
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from toy_models import Ridge

from dgmcore.conversion.foreign import read_checkpoint, tensors_of
from dgmcore.data import as_tensor, open_data
from dgmcore.errors import DataError
from dgmcore.files.safetensors import read_header
from dgmcore.files.verify import open_regular
from dgmcore.loading import load as loading


@pytest.fixture(scope="module", autouse=True)
def loaded(tmp_path_factory):
    """What readers import when they run is imported already: the judges look at files that are opened."""
    place = tmp_path_factory.mktemp("first")
    np.save(place / "x.npy", np.zeros((2, 2), np.float32))
    Image.new("L", (2, 2)).save(place / "x.png")
    for name in ("x.npy", "x.png"):
        as_tensor(open_data(place / name))
    torch.save({"w": torch.zeros(2)}, place / "x.pt")
    read_checkpoint(place / "x.pt")


def pack(header: object, data: bytes) -> bytes:
    raw = json.dumps(header).encode("utf-8", "surrogatepass")
    return len(raw).to_bytes(8, "little") + raw + data


# --- weights ----------------------------------------------------------------------------------------


def read_into(model, path):
    """Reads a file into a model as loading does."""
    with open_regular(path) as file:
        read_header(file)
        loading.read_into(model, file, source=path)
    return True


def test_fuzz_safetensors_headers(tmp_path):
    """What is accepted, the safetensors library accepts too, and it finds the same tensors."""
    path = tmp_path / "x.safetensors"
    state = {"w": torch.randn(3, 4), "n": torch.tensor(3), "b": torch.zeros(2, dtype=torch.bfloat16)}
    save_file(state, path, metadata={"format": "pt"})
    good = path.read_bytes()
    length = 8 + int.from_bytes(good[:8], "little")
    header, data = json.loads(good[8:length]), good[length:]
    with judging("safetensors", tmp_path) as (mutate, judge):
        for i in range(len(mutate)):
            raw = mutate.bytes(good, within=length + 4) if i % 2 else pack(mutate.tree(header), data)
            path.write_bytes(raw)
            found = judge(lambda: read_header(path), raw)
            if found is not None:
                with safe_open(path, framework="pt") as file:
                    assert set(file.keys()) == set(found)
                    assert all(tuple(file.get_slice(k).get_shape()) == v.shape for k, v in found.items())
    assert judge.accepted > 50 and judge.refused > 1500


def test_fuzz_weights_fill_a_model_wholly_or_not_at_all(tmp_path):
    model, path = Ridge(), tmp_path / "x.safetensors"
    state = {k: v + 1 for k, v in model.own_state().items()}
    save_file(state, path)
    good = path.read_bytes()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with judging("weights", tmp_path) as (mutate, judge):
        for _ in range(len(mutate)):
            raw = mutate.bytes(good)
            path.write_bytes(raw)
            model.load_state_dict(before)
            done = judge(lambda: read_into(model, path), raw)
            if not done:
                assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_fuzz_checkpoints(tmp_path):
    """Both of torch's formats, with and without a class from the list of those allowed."""
    content = {"state_dict": {"module.w": torch.randn(2, 3), "module.b": torch.zeros(2)}, "args": Namespace(a=1)}
    goods = []
    for zipped in (True, False):
        stream = io.BytesIO()
        torch.save(content, stream, _use_new_zipfile_serialization=zipped)
        goods.append(stream.getvalue())
    path = tmp_path / "x.pt"
    with judging("checkpoints", tmp_path) as (mutate, judge):
        for i in range(len(mutate)):
            raw = mutate.bytes(goods[i % 2])
            path.write_bytes(raw)
            judge(lambda: tensors_of(read_checkpoint(path, allow=(Namespace,))), raw)
    assert judge.refused > 100


# --- arrays -----------------------------------------------------------------------------------------


def look(path: Path):
    """Opens data and looks at all of them."""
    dataset = open_data(path)
    x = as_tensor(dataset, 4096)
    assert torch.isfinite(x).all() and tuple(x.shape[1:]) == dataset.event_shape and len(x) > 0
    return dataset


def arrays() -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    return [
        draw.normal(size=(5, 2)).astype(np.float32),
        draw.normal(size=(3, 4)).astype(">f8"),
        np.asfortranarray(draw.normal(size=(4, 3, 2)).astype(np.float16)),
        draw.integers(0, 256, (4, 6, 6, 3), np.uint8),
        draw.integers(-9, 9, 7),
    ]


def test_fuzz_npy(tmp_path):
    goods = []
    for array in [*arrays(), np.array([None, 1]), np.array(["a"]), np.zeros(3, "i4,f4"), np.zeros(2, complex)]:
        stream = io.BytesIO()
        np.save(stream, array, allow_pickle=True)
        goods.append(stream.getvalue())
    path = tmp_path / "x.npy"
    with judging("npy", tmp_path) as (mutate, judge):
        for i in range(len(mutate)):
            good = goods[i % len(goods)]
            raw = mutate.bytes(good, within=140 if i % 3 else None)
            path.write_bytes(raw)
            judge(lambda: look(path), raw)
    assert judge.accepted > 50


def test_fuzz_npz(tmp_path):
    goods = []
    for save in (np.savez, np.savez_compressed):
        for content in ({"samples": arrays()[0]}, {"x_train": arrays()[3], "y_train": np.arange(4)}):
            stream = io.BytesIO()
            save(stream, **content)
            goods.append(stream.getvalue())
    path = tmp_path / "x.npz"
    with judging("npz", tmp_path) as (mutate, judge):
        for i in range(len(mutate)):
            raw = mutate.bytes(goods[i % len(goods)])
            path.write_bytes(raw)
            judge(lambda: look(path), raw)


def test_fuzz_csv(tmp_path):
    goods = [b"a,b\n1,2\n3.5,-4e1\n0,1\n", b"1,2,3\r\n4,5,6\r\n", b"\xef\xbb\xbf1\n2\n3\n", b'"1","2"\n"3","4"\n']
    path = tmp_path / "x.csv"
    with judging("csv", tmp_path) as (mutate, judge):
        for i in range(len(mutate)):
            raw = mutate.bytes(goods[i % len(goods)])
            path.write_bytes(raw)
            judge(lambda: look(path), raw)
    assert judge.accepted > 50


def test_fuzz_idx(tmp_path):
    plain = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2, 4, 4) + bytes(32)
    goods = [plain, gzip.compress(plain), bytes([0, 0, 13, 1]) + struct.pack(">I", 3) + struct.pack(">3f", 1, 2, 3)]
    path = tmp_path / "x-idx3-ubyte"
    with judging("idx", tmp_path) as (mutate, judge):
        for i in range(len(mutate)):
            raw = mutate.bytes(goods[i % len(goods)], within=24 if i % 2 else None)
            path.write_bytes(raw)
            judge(lambda: read_idx(path).sum(), raw)


def pictures() -> dict[str, bytes]:
    draw, found = np.random.default_rng(0), {}
    for mode, shape in (("L", (8, 8)), ("RGB", (8, 8, 3)), ("P", (8, 8)), ("1", (8, 8))):
        for kind in ("PNG", "JPEG"):
            if kind == "JPEG" and mode in "P1":
                continue
            stream = io.BytesIO()
            image = Image.fromarray(draw.integers(0, 256, shape, np.uint8)).convert(mode)
            image.save(stream, kind, **({"optimize": True} if kind == "PNG" else {"progressive": mode == "RGB"}))
            found[f"{mode}.{kind.lower()}"] = stream.getvalue()
    return found


def test_fuzz_images(tmp_path):
    goods = list(pictures().items())
    with judging("images", tmp_path) as (mutate, judge):
        for i in range(len(mutate)):
            name, good = goods[i % len(goods)]
            raw, path = mutate.bytes(good), tmp_path / f"x.{name.split('.')[1]}"
            path.write_bytes(raw)
            judge(lambda path=path: look(path), raw)
    assert judge.accepted > 50


@pytest.mark.parametrize("name", [".", "..", "", "/", "a//b", "\\", ".png", "nul\0.txt"])
def test_odd_names_in_zips_are_no_pictures(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("good.png", pictures()["L.png"])
        info = zipfile.ZipInfo("placeholder")
        info.filename = name
        archive.writestr(info, pictures()["RGB.png"])
    assert len(look(tmp_path / "x.zip")) == 1


def test_fuzz_zips(tmp_path):
    goods = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", method) as archive:
            archive.writestr("a/1.png", pictures()["L.png"])
            archive.writestr("../../escaped.png", pictures()["L.png"])
            archive.writestr("notes.txt", "not a picture")
        goods.append(stream.getvalue())
    path = tmp_path / "x.zip"
    with judging("zips", tmp_path) as (mutate, judge):
        for i in range(len(mutate)):
            raw = mutate.bytes(goods[i % len(goods)])
            path.write_bytes(raw)
            judge(lambda: look(path), raw)
    assert judge.accepted > 5 and [p.name for p in tmp_path.iterdir()] == ["x.zip"]


# --- bombs ------------------------------------------------------------------------------------------


def bomb(path: Path) -> None:
    """Writes a small file that claims or unpacks to much, by its suffix."""
    zeros = bytes(2**24)
    if path.suffix == ".npz":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("samples.npy", "w") as file:
            shape = (40, 2**23)
            np.lib.format.write_array_header_1_0(file, {"descr": "|i1", "fortran_order": False, "shape": shape})
            for _ in range(20):
                file.write(zeros)
    elif path.suffix == ".npy":
        with path.open("wb") as file:
            shape = (2**40, 2**20)
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    elif path.suffix == ".png":
        Image.new("L", (5000, 5000)).save(path)
    elif path.suffix == ".zip":
        picture = io.BytesIO()
        Image.new("RGB", (4000, 4000)).save(picture, "PNG")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for i in range(40):
                archive.writestr(f"{i}.png", picture.getvalue())
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(bytes([0, 0, 8, 1]) + struct.pack(">I", 2**32 - 1) + zeros))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("x.npz", "bytes that unpack to"),
        ("x.npy", "can't be read"),
        ("x.png", "5000 x 5000 pixels"),
        ("x.zip", "unpack to"),
        ("x.gz", "truncated"),
    ],
)
def test_bombs_are_refused_before_they_unpack(tmp_path, name, words):
    import fuzzing

    path = tmp_path / name
    bomb(path)
    assert path.stat().st_size < 2**20 * 3
    before = fuzzing._reset_peak()
    with pytest.raises(DataError, match=words):
        read_idx(path) if name == "x.gz" else look(path)
    assert fuzzing._peak() - before < fuzzing.MEMORY
