"""Data sets and data files, good and bad."""

from __future__ import annotations

import gzip
import io
import math
import struct
import zipfile

import numpy as np
import pytest
import torch
from dgm_data.idx import read_idx
from dgm_train.loop.stream import Stream, augment
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import dgmcore
from dgmcore.cli.commands.plugins import trust
from dgmcore.data import Dataset, as_tensor, dequantize, open_data, open_for
from dgmcore.data.images import Images
from dgmcore.data.spec import DataSpec
from dgmcore.errors import DataError, PluginError
from dgmcore.files.folders import user_plugins
from dgmcore.noise import IndexedNoise
from dgmcore.sampling.stream_noise import StreamNoise


@pytest.fixture(scope="module", autouse=True)
def user(tmp_path_factory):
    """A user without plugins and data; one for all tests, since an index of plugins takes a while to make."""
    home = tmp_path_factory.mktemp("user")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(home))
        patch.setenv("XDG_CACHE_HOME", str(home / "cache"))
        patch.setenv("DGM_PLUGINS", "data")
        yield


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An empty current folder, with a folder for named data and one for decoded images."""
    monkeypatch.setenv("DGM_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("dgm_data.picture_files.cache_folder", lambda: tmp_path / "cache")
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def png(array, **options):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG", **options)
    return buffer.getvalue()


def every(data: Dataset):
    return data.take(np.arange(len(data)))


# --- toys ----------------------------------------------------------------------------------------


def test_moons_are_those_of_scikit_learn():
    t = np.linspace(0, np.pi, 100)  # as its documentation and source say, for make_moons(200, shuffle=False)
    theirs = np.concatenate([np.stack([np.cos(t), np.sin(t)], 1), np.stack([1 - np.cos(t), 1 - np.sin(t) - 0.5], 1)])
    data = open_data("moons", options={"noise": 0.0})
    mine = data.draw(StreamNoise(0, 200))
    np.testing.assert_allclose(mine.numpy(), theirs, atol=1e-6)
    x = as_tensor(data)
    assert set(data.labels(np.arange(100)).tolist()) == {0, 1}
    assert x[:1000].mean(0).sub(x.mean(0)).abs().max() < 0.1, "the first few are like the whole"


@pytest.mark.parametrize("name", ["moons", "swissroll", "9gaussians", "25gaussians"])
def test_toys_are_endless_and_their_splits_fixed(name):
    train, test = open_data(name), open_data(f"{name}:test")
    a, b = train.draw(StreamNoise(0, 500, scope="a")), train.draw(StreamNoise(0, 500, scope="b"))
    assert a.shape == (500, 2) and a.dtype == torch.float32 and not torch.equal(a, b)
    assert torch.equal(a, train.draw(StreamNoise(0, 500, scope="a")))
    index = np.array([5, 3, 5])
    assert torch.equal(test.take(index)[0], test.take(index)[2])
    assert torch.equal(test.take(index), open_data(f"{name}:test").take(index))
    assert not torch.equal(test.take(index), train.take(index))
    assert len(test) == 100_000 and test.range is None
    x = as_tensor(test)
    assert (x.mean(0) - a.mean(0)).abs().max() < 0.3 and (x.std(0) - a.std(0)).abs().max() < 0.3


def test_25_gaussians_have_the_entropy_of_the_thesis():
    data = open_data("25gaussians:test")
    x = as_tensor(data)
    means = torch.cartesian_prod(torch.arange(-2.0, 3.0), torch.arange(-2.0, 3.0))
    std = 0.0839
    distance = torch.cdist(x, means).square()
    log_p = torch.logsumexp(-distance / (2 * std**2), 1) - math.log(25 * 2 * math.pi * std**2)
    assert -log_p.mean().item() == pytest.approx(1.10, abs=0.01)
    labels = data.labels(np.arange(len(x)))
    assert labels.bincount().min() > 3600 and torch.equal(distance.argmin(1), labels)


def test_wrong_names_splits_and_options_are_named():
    for spec, message in [
        ("moon", "no data set is called moon"),
        ("moons:dev", "no split 'dev'"),
        (DataSpec(dataset="moons", options={"noise": -1}), "noise"),
        (DataSpec(dataset="25gaussians", options={"noise": 1}), "no option noise"),
        ("./nothing", "there is no nothing"),
    ]:
        with pytest.raises(DataError, match=message) as e:
            open_data(spec)
        assert e.value.hint
    with pytest.raises(DataError, match="no data set") as e:
        open_data("moon")
    assert "moons" in e.value.hint


# --- named image sets -----------------------------------------------------------------------------


def idx(array):
    codes = {"uint8": 8, "int32": 12, "float32": 13}
    head = struct.pack(">HBB", 0, codes[array.dtype.name], array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


@given(
    shape=st.lists(st.integers(0, 5), min_size=1, max_size=4),
    kind=st.sampled_from(["uint8", "int32", "float32"]),
    zipped=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_idx_files_come_back(tmp_path_factory, shape, kind, zipped):
    array = np.random.default_rng(0).integers(0, 200, shape).astype(kind)
    path = tmp_path_factory.mktemp("idx") / "a"
    path.write_bytes(gzip.compress(idx(array)) if zipped else idx(array))
    np.testing.assert_array_equal(read_idx(path), array)


@given(cut=st.integers(0, 60), zipped=st.booleans())
@settings(max_examples=40, deadline=None)
def test_truncated_idx_files_are_named(tmp_path_factory, cut, zipped):
    whole = idx(pixels(3, 4, 4))
    whole = gzip.compress(whole) if zipped else whole
    path = tmp_path_factory.mktemp("idx") / "images-of-mine"
    path.write_bytes(whole[: min(cut, len(whole) - 1)])
    with pytest.raises(DataError, match="images-of-mine"):
        read_idx(path)


def test_idx_files_that_lie_are_refused(home):
    path = home / "a"
    for content, message in [
        (idx(pixels(2, 2)) + b"x", "truncated|after its end"),
        (b"\0\0\x08\x01\xff\xff\xff\xff12", "truncated"),
        (b"\0\0\x08\x02\xff\xff\xff\xff\xff\xff\xff\xff12", "says that it holds"),
        (b"hello", "no idx file"),
    ]:
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_idx(path)


@pytest.mark.parametrize("name", ["mnist", "fashion"])
@pytest.mark.parametrize("suffix", ["-ubyte.gz", "-ubyte"])
def test_idx_data_sets(home, name, suffix):
    folder = home / "data" / {"mnist": "mnist", "fashion": "fashion-mnist"}[name]
    folder.mkdir()
    images, labels = pixels(7, 28, 28), np.arange(7, dtype=np.uint8)
    for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
        content = idx(array)
        (folder / f"t10k-{kind}{suffix}").write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    data = open_data(f"{name}:test", range=(0, 1))
    assert (len(data), data.event_shape, data.range, data.levels) == (7, (1, 28, 28), (0, 1), 256)
    np.testing.assert_array_equal((every(data) * 255).round().numpy()[:, 0], images)
    assert data.labels(np.array([6, 2])).tolist() == [6, 2] and data.labels(np.array([0])).dtype == torch.int64
    if name == "mnist":
        with pytest.raises(DataError, match="mnist is not here") as e:
            open_data("mnist")
        assert str(home / "data") in e.value.what and "DGM_DATA" in e.value.hint


def test_npz_data_sets(home):
    x = pixels(5, 28, 28)
    np.savez(home / "data/mnist.npz", x_train=x, y_train=np.arange(5), x_test=x[:3], y_test=np.arange(3))
    assert len(open_data("mnist")) == 5 and len(open_data("mnist:test")) == 3
    padded = open_data("mnist", pad=32, range=(-1, 1))
    assert padded.event_shape == (1, 32, 32)
    assert (every(padded)[:, :, :2] == -1).all() and torch.equal(
        every(padded)[:, :, 2:30, 2:30], every(open_data("mnist"))
    )
    stacked = open_data("stacked-mnist")
    assert stacked.event_shape == (3, 28, 28) and len(stacked) == 5
    labels, all_ = stacked.labels(np.arange(5)), every(open_data("mnist"))
    for image, label in zip(every(stacked), labels.tolist(), strict=True):
        for channel, digit in zip(image, f"{label:03d}", strict=True):
            assert torch.equal(channel, all_[int(digit), 0])
    c = pixels(4, 32, 32, 3)
    np.savez(home / "data/cifar10.npz", x_train=c, y_train=np.arange(4), x_test=c, y_test=np.arange(4))
    image = every(open_data("cifar10", range=(0, 255)))
    np.testing.assert_array_equal(image.numpy().transpose(0, 2, 3, 1), c)


def test_celeba_is_split_by_people_and_decoded_once(home, monkeypatch):
    faces = pixels(6, 64, 64, 3)
    with zipfile.ZipFile(home / "data/celeba64.zip", "w") as archive:
        for i, face in enumerate(faces):
            archive.writestr(f"{i:06d}.png", png(face))
        rows = [f"{i:06d}.png,{int(i in (1, 4))}" for i in range(6)]
        archive.writestr("meta.csv", "\n".join(["file,holdout", *rows]))
    monkeypatch.setattr("dgm_data.picture_files._CACHE_FROM", 0)
    train, test = open_data("celeba64"), open_data("celeba64:test", range=(0, 255))
    assert (len(train), len(test), len(open_data("celeba64:all"))) == (4, 2, 6)
    np.testing.assert_array_equal(every(test).numpy().transpose(0, 2, 3, 1), faces[[1, 4]])
    (cached,) = (home / "cache").iterdir()
    assert np.load(cached).shape == (6, 3, 64, 64)
    assert isinstance(train.base.array, np.memmap)
    flipped = open_data(DataSpec(dataset="celeba64", flip=True))
    x = every(flipped)
    noisy = augment(flipped, x, StreamNoise(0, 4, scope="f"))
    assert all(torch.equal(a, b) or torch.equal(a, b.flip(-1)) for a, b in zip(noisy, x, strict=True))
    assert torch.equal(noisy, augment(flipped, x, StreamNoise(0, 4, scope="f")))


# --- files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".safetensors"])
def test_array_files(home, suffix):
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    path = home / f"x{suffix}"
    if suffix == ".npy":
        np.save(path, x)
    elif suffix == ".npz":
        np.savez(path, other=x[:2], samples=x)
    elif suffix == ".csv":
        path.write_text("a,b,c\n" + "\n".join(",".join(repr(float(v)) for v in row) for row in x) + "\n")
    else:
        from safetensors.numpy import save_file

        save_file({"samples": x}, path)
    for spec in (path, str(path)):
        data = open_data(spec)
        np.testing.assert_array_equal(as_tensor(data).numpy(), x)
    assert data.event_shape == (3,) and data.draw(StreamNoise(0, 1)) is None
    assert torch.equal(as_tensor(data, 7), as_tensor(open_data(path, limit=7)))
    if suffix == ".npy":
        assert isinstance(data.base.array, np.memmap)


def test_arrays_of_bytes_are_images(home):
    for shape, event in [
        ((4, 5, 6), (1, 5, 6)),
        ((4, 5, 6, 3), (3, 5, 6)),
        ((4, 3, 5, 6), (3, 5, 6)),
        ((4, 5, 6, 1), (1, 5, 6)),
    ]:
        np.save("x.npy", pixels(*shape))
        data = open_data("x.npy")
        assert (data.event_shape, data.range, data.levels) == (event, (-1.0, 1.0), 256)
        x = every(data)
        assert x.dtype == torch.float32 and x.min() >= -1 and x.max() <= 1
    np.save("x.npy", np.arange(8))
    assert every(open_data("x.npy")).shape == (8, 1)
    np.savez("s.npz", x_train=pixels(4, 5, 5), y_train=np.arange(4), x_dev=pixels(2, 5, 5))
    assert len(open_data("./s.npz")) == 4 and len(open_data("./s.npz", split="dev")) == 2
    assert open_data("./s.npz").labels(np.array([3])).tolist() == [3]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: np.save(p, np.array([[1.0, np.nan]])), "not finite in row 0"),
        (lambda p: np.save(p, np.array([[1.0], [np.inf]])), "not finite in row 1"),
        (lambda p: np.save(p, np.array([[1.0], [-1e39]])), "not finite in row 1, as float32"),
        (lambda p: np.save(p, np.array([{"a": 1}], dtype=object)), "can't be read"),
        (lambda p: np.save(p, np.array(["a"])), "not numbers"),
        (lambda p: np.save(p, np.ones(3, np.complex64)), "not numbers"),
        (lambda p: np.save(p, np.ones((0, 2))), "empty"),
        (lambda p: np.save(p, np.float32(1)), "empty"),
        (lambda p: np.save(p, pixels(2, 4, 5, 6)), "are no images"),
        (lambda p: p.write_bytes(b"nonsense"), "can't be read"),
        (lambda p: p.write_bytes(b""), "can't be read"),
    ],
)
def test_bad_npy_files_are_named(home, make, message):
    path = home / "bad.npy"
    make(path)
    with pytest.raises(DataError, match=message) as e:
        open_data(path)
    assert "bad.npy" in e.value.what and e.value.hint


def test_truncated_npy_files_are_named(home):
    np.save("bad.npy", np.ones((100, 10), np.float32))
    whole = (home / "bad.npy").read_bytes()
    for size in (5, 60, 200, len(whole) - 1):
        (home / "bad.npy").write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"bad\.npy can't be read"):
            open_data("bad.npy")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "holds no arrays"),
        ({"a": np.ones(2), "b": np.ones(2)}, "2 arrays: a, b"),
        ({"samples": np.array([None, {}], dtype=object)}, "array samples can't be read"),
        ({"samples": np.array([[np.nan]])}, "array samples is not finite"),
        ({"x_train": np.ones((3, 2)), "y_train": np.ones(2, int)}, "labels don't fit"),
    ],
)
def test_bad_npz_files_are_named(home, arrays, message):
    np.savez("bad.npz", **arrays)
    with pytest.raises(DataError, match=message):
        open_data("bad.npz")


def test_damaged_and_exploding_npz_files_are_named(home, monkeypatch):
    np.savez_compressed("bad.npz", samples=np.zeros((1000, 100)))
    whole = (home / "bad.npz").read_bytes()
    monkeypatch.setattr("dgmcore.data.arrays._UNPACKED", 1000)
    with pytest.raises(DataError, match="unpack to"):
        open_data("bad.npz")
    (home / "bad.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"bad\.npz can't be read"):
        open_data(str(home / "bad.npz"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("a,b\n", "empty"),
        ("1,2\n3\n", "a line has 1 numbers"),
        ("1,2\n3,x\n", "no number: 3,x"),
        ("1,x\n", "no number: 1,x"),
        ("1,nan\n", "not finite, as float32: 1,nan"),
        ("1,2\n1e39,0\n", "not finite, as float32: 1e39,0"),
        ("1,2\n\xff\xfe", "no number|can't be read"),
    ],
)
def test_bad_csv_files_are_named(home, text, message):
    (home / "bad.csv").write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=message) as e:
        open_data("bad.csv")
    assert "bad.csv" in e.value.what


# --- pictures ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [False, True])
def test_folders_and_zips_of_images(home, zipped):
    images = {f"b/{i}.png": pixels(8, 9, 3, seed=i) for i in range(3)} | {"a.PNG": pixels(8, 9, 3, seed=9)}
    extra = {"readme.txt": b"hi", ".hidden.png": b"no image", "__MACOSX/b.png": b"no image"}
    contents = {name: png(image) for name, image in images.items()} | extra
    if zipped:
        path = home / "p.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in contents.items():
                archive.writestr(name, content)
    else:
        path = home / "p"
        for name, content in contents.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
    data = open_data(path, range=(0, 255))
    assert (len(data), data.event_shape, data.levels) == (4, (3, 8, 9), 256)
    expected = np.stack([images[name] for name in sorted(images)])
    np.testing.assert_array_equal(every(data).numpy().transpose(0, 2, 3, 1), expected)


def test_a_single_image_and_its_modes(home):
    grey = pixels(6, 6)
    (home / "g.png").write_bytes(png(grey))
    np.testing.assert_array_equal(every(open_data("g.png", range=(0, 255)))[0, 0].numpy(), grey)
    Image.fromarray(pixels(6, 6, 3)).quantize(16).save("p.png")
    assert open_data("p.png").event_shape == (3, 6, 6)
    Image.fromarray(pixels(6, 6, 3)).save("j.jpg")
    assert open_data("j.jpg").event_shape == (3, 6, 6)


def folder(home, **files):
    path = home / "f"
    path.mkdir(exist_ok=True)
    for name, content in files.items():
        (path / f"{name}.png").write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no images"),
        ({"a": png(pixels(4, 4)), "b": png(pixels(4, 5))}, "b.png is 5 x 4 grey, but a.png is 4 x 4 grey"),
        ({"a": png(pixels(4, 4)), "b": png(pixels(4, 4, 3))}, "b.png is 4 x 4 RGB, but a.png is 4 x 4 grey"),
        ({"a": png(pixels(40, 40)), "b": png(pixels(40, 40))[:-300]}, "b.png can't be read"),
        ({"a": b"text"}, "a.png can't be read: it is no PNG or JPEG"),
        ({"a": b""}, "a.png can't be read"),
        ({"a": png(pixels(4, 4, 4))}, "a.png has the mode RGBA"),
        ({"a": png(pixels(4, 4)), "b": png(pixels(4, 4, 3))[:60]}, "b.png"),
    ],
)
def test_bad_pictures_are_named(home, files, message):
    with pytest.raises(DataError, match=message) as e:
        open_data(folder(home, **files))
    assert e.value.hint and not (home / "cache").exists()


@given(cut=st.floats(0, 0.98))
@settings(max_examples=25, deadline=None)
def test_truncated_jpegs_are_never_accepted(tmp_path_factory, cut):
    buffer = io.BytesIO()
    Image.fromarray(pixels(32, 32, 3)).save(buffer, format="JPEG", quality=90)
    path = tmp_path_factory.mktemp("j") / "cut.jpg"
    path.write_bytes(buffer.getvalue()[: int(cut * len(buffer.getvalue()))])
    with pytest.raises(DataError, match=r"cut\.jpg can't be read"):
        open_data(path)


def test_bombs_are_refused(home, monkeypatch):
    monkeypatch.setattr("dgm_data.decode._PIXEL_LIMIT", 100)
    with pytest.raises(DataError, match="400 x 1 pixels"):
        open_data(folder(home, a=png(pixels(1, 400))))
    monkeypatch.setattr("dgm_data.regular._FILE_LIMIT", 1000)
    with zipfile.ZipFile(home / "z.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", b"\0" * 100_000)
    with pytest.raises(DataError, match=r"a\.png has more than 1000 bytes"):
        open_data(str(home / "z.zip"))
    (home / "z.zip").write_bytes((home / "z.zip").read_bytes()[:50])
    with pytest.raises(DataError, match=r"z\.zip can't be read"):
        open_data(str(home / "z.zip"))


def test_a_failed_decoding_leaves_nothing_in_the_cache(home, monkeypatch):
    monkeypatch.setattr("dgm_data.picture_files._CACHE_FROM", 0)
    path = folder(home, a=png(pixels(9, 9)), b=b"text")
    with pytest.raises(DataError):
        open_data(path)
    assert not list((home / "cache").iterdir())
    (path / "b.png").write_bytes(png(pixels(9, 9, seed=1)))
    first = every(open_data(path))
    assert torch.equal(first, every(open_data(path)))
    (path / "b.png").write_bytes(png(pixels(9, 9, seed=2)))
    assert not torch.equal(first, every(open_data(path))), "a changed file is decoded again"


# --- views ------------------------------------------------------------------------------------------


@given(low=st.floats(-5, 4), width=st.floats(0.5, 10))
@settings(max_examples=25, deadline=None)
def test_ranges_are_exact_at_their_ends_and_dequantising_rounds_back(low, width):
    high = low + width
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    x = Images("ramp", ramp).raw(np.array([0]))
    from dgmcore.data.images import to_range

    y = to_range(x, (low, high))
    assert y.min().item() == pytest.approx(low, abs=1e-5) and y.max().item() == pytest.approx(high, abs=1e-5)
    noisy = dequantize(y, StreamNoise(0, 1), (low, high), 256)
    assert torch.equal(((noisy - low) * (255 / (high - low)) * (1 - 1e-5)).round().to(torch.uint8), x)
    assert (noisy - y).abs().max() <= width / 255 / 2 * 1.001


def test_floats_are_carried_between_ranges_only_if_theirs_is_known(home):
    np.save("x.npy", np.random.default_rng(0).uniform(0, 1, (50, 1, 4, 4)).astype(np.float32))
    data = open_data("x.npy", range=(0.0, 1.0), levels=256)
    assert data.range == (0.0, 1.0) and data.levels == 256 and every(data).max() <= 1
    with pytest.raises(DataError, match=r"x\.npy has values outside of \[0\.0, 0\.5\]"):
        open_data("x.npy", range=(0.0, 0.5))


def test_resizing_keeps_levels_and_means(home):
    np.save("x.npy", np.full((3, 12, 12, 3), 77, np.uint8))
    small = open_data("x.npy", resize=6, range=(0, 255))
    assert small.event_shape == (3, 6, 6) and (every(small) == 77).all()
    np.save("x.npy", pixels(3, 12, 12, 3))
    resized = every(open_data("x.npy", resize=6, range=(0, 255)))
    assert torch.equal(resized, resized.round())
    for key, value in (("resize", 0), ("pad", -1), ("limit", 0)):
        with pytest.raises(DataError, match=f"{key}: expected `int` >= "):
            open_data("x.npy", **{key: value})
    with pytest.raises(DataError, match="can't be padded to 4"):
        open_data("x.npy", pad=4)


def test_data_for_a_model_are_in_its_range_and_shape(home):
    np.savez(home / "data/mnist.npz", x_test=pixels(5, 28, 28), y_test=np.arange(5))
    entry = dgmcore.entry.Entry(
        schema=1,
        name="m",
        architecture="a",
        license="l",
        data=dgmcore.entry.Data(dataset="mnist", event_shape=(1, 32, 32), range=(0.0, 1.0)),
    )
    x = every(open_for(entry, "mnist:test"))
    assert x.shape == (5, 1, 32, 32) and x.min() >= 0 and (x[:, :, :2] == 0).all()
    np.save("rgb.npy", pixels(2, 28, 28, 3))
    with pytest.raises(DataError, match=r"shape \(3, 28, 28\), but m wants \(1, 32, 32\)"):
        open_for(entry, "rgb.npy")


def test_an_entrys_data_set_is_opened_with_its_options(home):
    data = dgmcore.entry.Data(dataset="moons", event_shape=(2,), options={"noise": 0.0})
    entry = dgmcore.entry.Entry(schema=1, name="m", architecture="a", license="l", data=data)
    assert torch.equal(every(open_for(entry, "moons:test")), every(open_data("moons:test", options={"noise": 0.0})))
    assert torch.equal(every(open_for(entry, "moons:test", options={})), every(open_data("moons:test")))
    assert torch.equal(every(open_for(entry, "25gaussians:test")), every(open_data("25gaussians:test")))


# --- order --------------------------------------------------------------------------------------------


@given(n=st.integers(8, 40), batch=st.integers(1, 4), seed=st.integers(0, 5), world=st.sampled_from([1, 2]))
@settings(max_examples=30, deadline=None)
def test_each_epoch_is_another_permutation_shared_by_the_processes(n, batch, seed, world):
    from dgmcore.data.arrays import Arrays
    from dgmcore.data.view import View

    data = View(Arrays("n", np.arange(n, dtype=np.float32)), DataSpec(dataset="n"))
    batch *= world
    ranks = [Stream(data, batch, seed=seed, scope="s", rank=r, world=world) for r in range(world)]
    per_epoch = n // batch
    epochs = [
        torch.cat([s.batch(e * per_epoch + k) for k in range(per_epoch) for s in ranks])[:, 0].tolist()
        for e in range(3)
    ]
    for epoch in epochs:
        assert len(set(epoch)) == len(epoch) == n // batch * batch
    late = Stream(data, batch, seed=seed, scope="s", rank=0, world=world).batch(3 * per_epoch - 1)
    again = Stream(data, batch, seed=seed, scope="s", rank=0, world=world)
    for k in range(3 * per_epoch):
        last = again.batch(k)
    assert torch.equal(late, last), "batch k is the same whenever it is asked for"


def test_processes_share_endless_batches():
    data = open_data("moons")
    whole = Stream(data, 8, seed=0, scope="s").batch(0)
    shares = [Stream(data, 8, seed=0, scope="s", rank=r, world=2).batch(0) for r in (0, 1)]
    assert torch.equal(torch.stack(shares, 1).reshape(8, 2), whole)
    with pytest.raises(DataError, match="3 processes can't share batches of 8"):
        Stream(data, 8, seed=0, scope="s", world=3)
    assert torch.equal(data.draw(IndexedNoise(0, 4)), data.draw(IndexedNoise(0, 4)))


# --- nothing is lost without a word -------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["x,y\nNA,NA\n1,2\n", "NA,NA\n1,2\n", "a,b\nc,d\n1,2\n", "1;2\n3;4\n", "x,y\n,\n1,2\n"]
)
def test_lines_of_a_csv_without_numbers_are_no_second_heading(home, text):
    (home / "x.csv").write_text(text)
    with pytest.raises(DataError, match=r"x\.csv: a line has no number"):
        open_data("x.csv")


@pytest.mark.parametrize("name", ["index", "Index", ""])
def test_a_column_that_counts_the_rows_is_no_data(home, name):
    (home / "x.csv").write_text(f"{name},x0,x1\n0,5,6\n1,7,8\n")
    assert as_tensor(open_data("x.csv")).tolist() == [[5, 6], [7, 8]]
    (home / "x.csv").write_text(f"{name},x0,x1\n3,5,6\n1,7,8\n")  # numbers that happen to be called so
    assert open_data("x.csv").event_shape == (3,)
    (home / "x.csv").write_text("0,5\n1,7\n")
    assert open_data("x.csv").event_shape == (2,)


def test_rows_of_a_csv_get_the_models_shape(home):
    x = np.random.default_rng(0).uniform(-1, 1, (5, 1, 2, 3)).astype(np.float32)
    np.savetxt("x.csv", x.reshape(5, -1), delimiter=",", fmt="%.9g")
    data = dgmcore.entry.Data(dataset="mine", event_shape=(1, 2, 3), range=(-1.0, 1.0))
    entry = dgmcore.entry.Entry(schema=1, name="m", architecture="a", license="l", data=data)
    np.testing.assert_array_equal(as_tensor(open_for(entry, "x.csv")).numpy(), x)
    np.save("x.npy", x.reshape(5, -1))  # that says what shape it has
    with pytest.raises(DataError, match=r"shape \(6,\), but m wants \(1, 2, 3\)"):
        open_for(entry, "x.npy")


def test_suffixes_may_be_upper_case(home):
    x = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)
    np.save("x.npy", x)
    (home / "x.npy").rename("X.NPY")
    np.savez("y.npz", samples=x)
    (home / "y.npz").rename("Y.NPZ")
    (home / "Z.CSV").write_text("1,2\n")
    for name in ("X.NPY", "Y.NPZ", "./X.NPY"):
        np.testing.assert_array_equal(as_tensor(open_data(name)).numpy(), x)
    assert open_data("Z.CSV").event_shape == (2,)


def test_short_floats_are_data(home):
    from safetensors.torch import save_file

    x = torch.randn(4, 3)
    for kind in (torch.bfloat16, torch.float16, torch.float64):
        save_file({"samples": x.to(kind)}, "x.safetensors")
        assert torch.equal(as_tensor(open_data("x.safetensors")), x.to(kind).float())


def test_an_array_twice_in_an_npz_is_refused(home):
    with zipfile.ZipFile("x.npz", "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        for _ in range(2):
            archive.writestr("samples.npy", b"")
    with pytest.raises(DataError, match="an array twice"):
        open_data("x.npz")


# --- splits ---------------------------------------------------------------------------------------------


def test_splits_of_files_are_those_they_have(home):
    (home / "d").mkdir()
    train, test = np.ones((4, 2), np.float32), np.zeros((3, 2), np.float32)
    np.savez("d/s.npz", x_train=train, x_test=test)
    np.savez("d/t.npz", x_test=test)
    np.save("d/a.npy", train)
    np.save("d/odd:name.npy", test)
    for place in ("d/s.npz", "./d/s.npz", f"{home}/d/s.npz"):
        assert len(open_data(f"{place}:test")) == 3 and len(open_data(f"{place}:train")) == 4
        assert len(open_data(place)) == 4 and len(open_data(place, split="test")) == 3
    assert len(open_data("d/odd:name.npy")) == 3 and len(open_data("d/a.npy:train")) == 4
    for spec, message in [
        ("d/a.npy:test", r"d/a\.npy has no splits, so none is called test"),
        ("d/a.npy:nonsense", "none is called nonsense"),
        ("d/s.npz:nonsense", "has no split nonsense"),
        ("d/t.npz", "has no split train"),
        ("d/a.npy:", "names no split"),
        ("moons:", "names no split"),
        ("d:test", "has no split test"),
    ]:
        with pytest.raises(DataError, match=message) as caught:
            open_data(spec)
        assert caught.value.hint
    with pytest.raises(DataError, match="has no splits"):
        open_data(DataSpec(dataset="d/a.npy", split="test"))


def test_an_entrys_own_data_are_opened_with_its_options(home):
    data = dgmcore.entry.Data(dataset="swissroll", event_shape=(2,), options={"noise": 0.3})
    entry = dgmcore.entry.Entry(schema=1, name="m", architecture="a", license="l", data=data)
    own = every(open_for(entry, "swissroll:test", limit=100))
    assert torch.equal(own, every(open_data("swissroll:test", options={"noise": 0.3}, limit=100)))
    assert not torch.equal(own, every(open_data("swissroll:test", limit=100)))
    asked = every(open_for(entry, "swissroll:test", limit=100, options={"noise": 1.0}))
    assert torch.equal(asked, every(open_data("swissroll:test", limit=100)))
    assert open_for(entry, "moons").event_shape == (2,), "options are those of the entry's data set alone"


def test_where_mnist_goes_is_said_and_so(home):
    with pytest.raises(DataError) as caught:
        open_data("mnist")
    assert "mnist.npz into one of these folders" in caught.value.hint
    x = pixels(5, 28, 28)
    for place in ("", "mnist"):
        (home / "data" / place).mkdir(exist_ok=True)
        path = home / "data" / place / "mnist.npz"
        np.savez(path, x_train=x, y_train=np.arange(5))
        assert len(open_data("mnist")) == 5
        path.unlink()


ONE_FILE = """
import numpy as np

import dgmcore.hookspecs as dgm
from dgmcore.data.arrays import Arrays

PLUGIN_API = 1


@dgm.hookimpl
def dgm_datasets():
    where = f"{__name__}:"
    names = {"ramp": "ramp", "ramp-gone": "gone", "ramp-odd": "odd"}
    return [{"name": name, "import": where + function, "summary": "Numbers"} for name, function in names.items()]


def ramp(split="train", root=None, *, n=4):
    return Arrays("ramp", np.arange(n, dtype=np.float32))


def odd(split="train", root=None):
    return [1, 2, 3]
"""


def test_a_data_set_of_a_one_file_plugin_opens(home, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "share"))
    monkeypatch.delenv("DGM_PLUGINS")
    folder = user_plugins()
    folder.mkdir(parents=True)
    (folder / "my_ramp.py").write_text(ONE_FILE)
    trust("my_ramp")
    assert as_tensor(open_data("ramp", options={"n": 3})).tolist() == [[0], [1], [2]]
    with pytest.raises(DataError, match="no option m"):
        open_data("ramp", options={"m": 3})
    for name, message in [("ramp-gone", "can't be imported"), ("ramp-odd", "is no dgmcore.data.Dataset")]:
        with pytest.raises(PluginError, match=message) as caught:
            open_data(name)
        assert caught.value.hint


def test_numbers_of_python_are_none_of_a_table(tmp_path):
    (tmp_path / "t.csv").write_text("1,2\n1_0,2\n")
    with pytest.raises(DataError, match="a line has no number: 1_0,2"):
        open_data(tmp_path / "t.csv")


def test_a_data_set_without_the_plugin_of_data_sets_names_the_package(monkeypatch):
    monkeypatch.setattr("dgmcore.data.open.plugins", list)
    with pytest.raises(DataError, match="no data set is called nowhere") as e:
        open_data("nowhere:test")
    assert "pip install dgm-data" in e.value.hint
