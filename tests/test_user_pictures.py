"""The same pictures through every reader of pictures: each is read right by all of them, or refused by all."""

from __future__ import annotations

import io
import os
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from toy_models import Pixels
from twenty_pictures import HEIGHT, PICTURES, SCENE, WIDTH

from dgmcore.data import open_data, open_for
from dgmcore.entry import Data, Entry
from dgmcore.errors import DataError
from dgmcore.sampling.pictures import read_picture


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setattr("dgm_data.picture_files.cache_folder", lambda: tmp_path / "cache")
    return tmp_path


def entry(channels, height=HEIGHT, width=WIDTH):
    data = Data(dataset="mine", event_shape=(channels, height, width), range=(0.0, 255.0))
    return Entry(schema=1, name="m", architecture="a", license="l", data=data)


def single(home, picture):
    (home / picture.name).write_bytes(picture.data)
    return open_data(home / picture.name, range=(0, 255)).take(np.arange(1))[0]


def folder(home, picture):
    (home / "f").mkdir()
    (home / "f" / picture.name).write_bytes(picture.data)
    return open_data(home / "f", range=(0, 255)).take(np.arange(1))[0]


def archive(home, picture):
    with zipfile.ZipFile(home / "z.zip", "w") as file:
        file.writestr(f"inside/{picture.name}", picture.data)
    return open_data(home / "z.zip", range=(0, 255)).take(np.arange(1))[0]


def for_model(home, picture):
    """As score, reconstruct, interpolate and eval open them."""

    (home / picture.name).write_bytes(picture.data)
    channels = 3 if picture.pixels is None else len(picture.pixels)
    return open_for(entry(channels), home / picture.name).take(np.arange(1))[0]


def init(home, picture):
    """As `--init` does."""

    (home / picture.name).write_bytes(picture.data)
    model = Pixels()
    channels = 3 if picture.pixels is None else len(picture.pixels)
    model.event_shape, model.entry = (channels, HEIGHT, WIDTH), entry(channels)
    return read_picture(home / picture.name, model)


@pytest.mark.parametrize("reader", [single, folder, archive, for_model, init])
@pytest.mark.parametrize("picture", PICTURES, ids=lambda p: p.name)
def test_every_reader_reads_right_or_refuses(home, reader, picture):
    if picture.pixels is None:
        with pytest.raises(DataError, match=f"{picture.refused}|of an unknown kind") as caught:
            reader(home, picture)
        assert picture.name in caught.value.what and caught.value.hint
        return
    found = reader(home, picture).round().numpy()
    assert found.shape == picture.pixels.shape
    assert np.abs(found - picture.pixels).max() <= picture.tolerance


def test_transparent_pixels_are_put_on_a_colour_where_one_is_asked_for(home):
    clear = {p.name: p for p in PICTURES if p.refused == "transparent pixels"}
    for name, white in {"see-through.png": 255, "key.png": 255, "half.png": None}.items():
        (home / name).write_bytes(clear[name].data)
        data = open_data(home / name, range=(0, 255), background=(255, 255, 255))
        pixel = data.take(np.arange(1))[0].round().numpy()[:, 3, 3]
        expected = white or np.rint(SCENE[3, 3] * (128 / 255) + 255 * (127 / 255))
        assert np.abs(pixel - expected).max() <= 1, name
    (home / "la.png").write_bytes(clear["grey-alpha.png"].data)
    assert open_data(home / "la.png", background=(0, 0, 0)).event_shape == (1, HEIGHT, WIDTH)
    assert open_data(home / "la.png", background=(255, 0, 0)).event_shape == (3, HEIGHT, WIDTH)
    np.save(home / "x.npy", np.zeros((2, 3)))
    with pytest.raises(DataError, match="no transparent pictures"):
        open_data(home / "x.npy", background=(0, 0, 0))


def png(*shape):
    buffer = io.BytesIO()
    Image.fromarray(np.full(shape, 77, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def test_other_shapes_are_refused_or_cut_where_asked(home, capsys):
    wide = np.zeros((28, 56, 3), np.uint8)
    wide[:, 14:42] = 200  # the middle
    Image.fromarray(wide).save(home / "wide.png")
    square = entry(3, 28, 28)
    with pytest.raises(DataError, match="images of 56 x 28, the model's are 28 x 28") as caught:
        open_for(square, home / "wide.png")
    assert "cut" in caught.value.hint
    assert (open_for(square, home / "wide.png", crop=True).take(np.arange(1)) == 200).all()
    with pytest.raises(DataError, match="squash"):
        open_data(home / "wide.png", resize=14)
    assert open_data(home / "wide.png", resize=14, crop=True).event_shape == (3, 14, 14)
    assert capsys.readouterr().err == ""
    (home / "large.png").write_bytes(png(56, 56, 3))  # the same proportions: resized, and it is said
    assert (open_for(square, home / "large.png").take(np.arange(1)).round() == 77).all()
    assert "images of 56 x 56 are resized to 28 x 28" in capsys.readouterr().err
    np.save(home / "x.npy", wide[None])
    assert (open_data(home / "x.npy", crop=True, range=(0, 255)).take(np.arange(1)) == 200).all()


def test_a_folder_of_many_sizes_is_cut_and_resized_where_asked(home):
    (home / "f").mkdir()
    for i, shape in enumerate([(30, 40, 3), (64, 20, 3), (16, 16, 3)]):
        (home / "f" / f"{i}.png").write_bytes(png(*shape))
    with pytest.raises(DataError, match=r"1\.png is 20 x 64 RGB, but 0\.png is 40 x 30 RGB") as caught:
        open_data(home / "f")
    assert "data.crop" in caught.value.hint
    data = open_data(home / "f", crop=True, resize=16, range=(0, 255))
    assert (len(data), data.event_shape) == (3, (3, 16, 16)) and (data.take(np.arange(3)) == 77).all()


# --- nothing is lost without a word -----------------------------------------------------------------


def test_links_to_folders_are_followed_and_circles_refused(home):
    (home / "elsewhere").mkdir()
    (home / "elsewhere" / "b.png").write_bytes(png(4, 4))
    (home / "f").mkdir()
    (home / "f" / "a.png").write_bytes(png(4, 4))
    (home / "f" / "link").symlink_to(home / "elsewhere")
    assert len(open_data(home / "f")) == 2
    (home / "f" / "link").unlink()
    (home / "f" / "link").symlink_to(home / "f")
    with pytest.raises(DataError, match="leads back"):
        open_data(home / "f")
    (home / "f" / "link").unlink()
    (home / "f" / "gone.png").symlink_to(home / "nowhere.png")
    with pytest.raises(DataError, match=r"gone\.png can't be read"):
        open_data(home / "f")


def test_a_pipe_never_hangs(home):
    (home / "f").mkdir()
    os.mkfifo(home / "f" / "pipe.png")
    model = Pixels()
    model.entry = entry(1, 8, 8)
    for read in (
        lambda: open_data(home / "f"),
        lambda: open_data(home / "f" / "pipe.png"),
        lambda: read_picture(home / "f" / "pipe.png", model),
    ):
        with pytest.raises(DataError) as caught:
            read()
        assert "pipe.png" in caught.value.what


def test_a_zip_with_a_name_twice_is_refused(home):
    with zipfile.ZipFile(home / "z.zip", "w") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("a.png", png(4, 4))
        file.writestr("a.png", png(4, 4))
    with pytest.raises(DataError, match=r"two files called a\.png"):
        open_data(home / "z.zip")


def test_a_folder_that_may_not_be_read_is_named(home):
    (home / "f" / "secret").mkdir(parents=True)
    (home / "f" / "a.png").write_bytes(png(4, 4))
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (home / "f" / "secret").chmod(0)
    with pytest.raises(DataError, match="secret can't be read"):
        open_data(home / "f")


def test_kept_pictures_are_those_of_what_was_asked(home, monkeypatch):
    monkeypatch.setattr("dgm_data.picture_files._CACHE_FROM", 0)
    (home / "f").mkdir()
    (home / "f" / "a.png").write_bytes(png(30, 40, 3))
    plain, cut = open_data(home / "f"), open_data(home / "f", crop=True, resize=8)
    assert plain.event_shape == (3, 30, 40) and cut.event_shape == (3, 8, 8)
    assert len(list((home / "cache").iterdir())) == 2
    assert torch.equal(cut.take(np.arange(1)), open_data(home / "f", crop=True, resize=8).take(np.arange(1)))
