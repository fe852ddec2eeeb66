"""Headers of safetensors files: what is well formed is read, everything else refused, quickly."""

from __future__ import annotations

import json
import random
import time

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from dgmcore.errors import WeightsError
from dgmcore.files.safetensors import MAX_HEADER, read_header


def pack(header, data=bytes(16), length=None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(raw) if length is None else length).to_bytes(8, "little") + raw + data


def tensor(shape=(4,), offsets=(0, 16), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


GOOD = {"a": tensor((2,), (0, 8)), "b": tensor((2,), (8, 16))}


def test_a_good_header(tmp_path):
    path = tmp_path / "x.safetensors"
    state = {"w": torch.randn(3, 4), "n": torch.tensor(3), "h": torch.zeros(2, dtype=torch.bfloat16)}
    save_file(state, path, metadata={"format": "pt"})
    header = read_header(path)
    assert {k: (v.shape, v.dtype) for k, v in header.items()} == {
        "w": ((3, 4), "F32"),
        "n": ((), "I64"),
        "h": ((2,), "BF16"),
    }
    path.write_bytes(pack(GOOD))
    assert list(read_header(path)) == ["a", "b"]


BAD = {
    "empty file": b"",
    "short": b"\x01\x02",
    "10 GB header": (10**10).to_bytes(8, "little") + b"{}",
    "negative length": b"\xff" * 8 + b"{}",
    "header longer than the file": pack(GOOD, length=5000),
    "no JSON": pack(b"not json at all!"),
    "an array": pack(b"[1, 2, 3]"),
    "not UTF-8": pack(b'{"\xff\xfe": 1}'),
    "deep nesting": pack(b'{"a":' * 100_000),
    "huge number": pack(b'{"a": ' + b"9" * 10_000 + b"}"),
    "a name twice": pack(b'{"a":%s,"a":%s}' % ((json.dumps(tensor()).encode(),) * 2)),
    "a key twice": pack(b'{"a":{"dtype":"F32","dtype":"F32","shape":[4],"data_offsets":[0,16]}}'),
    "no name": pack({"": tensor()}),
    "line break in the name": pack({"a\nerror: b": tensor()}),
    "half a surrogate in the name": pack(b'{"\\ud800":%s}' % json.dumps(tensor()).encode()),
    "long name": pack({"a" * 5000: tensor()}),
    "unknown type": pack({"a": tensor(dtype="F31")}),
    "type is no string": pack({"a": tensor(dtype=["F32"])}),
    "negative size": pack({"a": tensor((-4,))}),
    "size is a boolean": pack({"a": tensor((True,), (0, 4))}, bytes(4)),
    "size is a float": pack({"a": tensor((4.0,))}),
    "size is a string": pack({"a": tensor(("4",))}),
    "shape is no list": pack({"a": {**tensor(), "shape": 4}}),
    "absurd shape": pack({"a": tensor((2**62, 2**62, 4))}),
    "absurd empty shape": pack({"a": tensor((0, 2**62), (0, 0))}, b""),
    "overflowing shape": pack({"a": tensor((2**32, 2**32, 2**4))}),
    "many dimensions": pack({"a": tensor((1,) * 100 + (4,))}),
    "offsets backwards": pack({"a": tensor(offsets=(16, 0))}),
    "offsets beyond the end": pack({"a": tensor((8,), (0, 32))}),
    "negative offsets": pack({"a": tensor(offsets=(-16, 0))}),
    "three offsets": pack({"a": tensor(offsets=(0, 8, 16))}),
    "overlapping": pack({"a": tensor((2,), (0, 8)), "b": tensor((3,), (4, 16))}),
    "the same bytes twice": pack({"a": tensor(), "b": tensor()}),
    "a gap": pack({"a": tensor((1,), (0, 4)), "b": tensor((1,), (12, 16))}),
    "bytes before the first": pack({"a": tensor((1,), (12, 16))}),
    "bytes after the last": pack(GOOD, bytes(20)),
    "bytes missing": pack(GOOD, bytes(15)),
    "shape that does not fill": pack({"a": tensor((3,))}),
    "unknown key": pack({"a": {**tensor(), "code": "x"}}),
    "missing key": pack({"a": {"dtype": "F32", "shape": [4]}}),
    "tensor is a list": pack({"a": []}),
    "metadata is no mapping": pack({"__metadata__": 3, "a": tensor()}),
    "metadata of numbers": pack({"__metadata__": {"a": 3}, "a": tensor()}),
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD.keys())
def test_bad_headers_are_refused_in_one_line(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        read_header(path)
    assert caught.value.what.isprintable() and len(caught.value.what) < 500
    assert caught.value.hint


def test_a_header_at_the_limit_is_refused_in_time(tmp_path):
    path = tmp_path / "x.safetensors"
    many = MAX_HEADER // 8 - 10
    bodies = [
        b'{"a":[' + b"[]," * (MAX_HEADER // 3 - 10) + b"[]]}",
        b'{"' + b"a" * (MAX_HEADER - 100),
        b"{" + b",".join(b'"%d":{}' % i for i in range(10**6, 10**6 + many // 2)) + b"}",
        b'{"__metadata__":{' + b",".join(b'"%x":""' % i for i in range(many)) + b"}}",
    ]
    for body in bodies:
        path.write_bytes(pack(body))
        start = time.process_time()
        with pytest.raises(WeightsError):
            read_header(path)
        assert time.process_time() - start < 5  # seconds; what is hostile takes minutes


def test_a_missing_file_and_a_folder(tmp_path):
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(WeightsError, match="can't read"):
            read_header(path)


def test_mutations_are_read_as_safetensors_reads_them_or_refused(tmp_path):
    """800 mutations with a fixed seed: never another exception, and what we accept the library accepts too."""
    rng = random.Random(0)
    path = tmp_path / "x.safetensors"
    save_file({"w": torch.randn(3, 4), "n": torch.tensor(3), "b": torch.zeros(2)}, path, metadata={"format": "pt"})
    good = path.read_bytes()
    length = 8 + int.from_bytes(good[:8], "little")
    words = [
        b"0",
        b"-1",
        b"1e9",
        b"null",
        b'"',
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\\u0000",
        b"\xff",
        b"99999999999",
    ]
    accepted = 0
    for _ in range(800):
        data = bytearray(good)
        for _ in range(rng.choice((1, 1, 2, 4))):
            at = rng.randrange(length + 4)
            kind = rng.randrange(4)
            if kind == 0:
                data[at % len(data)] = rng.randrange(256)
            elif kind == 1:
                del data[at : at + rng.randrange(1, 9)]
            elif kind == 2:
                data[at:at] = rng.choice(words)
            else:
                data[at : at + 1] = rng.choice(words)
        path.write_bytes(data)
        try:
            header = read_header(path)
        except WeightsError as e:
            assert e.what.isprintable()
            continue
        accepted += 1
        with safe_open(path, framework="pt") as file:
            assert set(file.keys()) == set(header)
            for name, info in header.items():
                assert tuple(file.get_tensor(name).shape) == info.shape
    assert accepted > 5, "some mutations are harmless"
