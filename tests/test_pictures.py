"""Pictures show what the numbers say."""

from __future__ import annotations

import io
import re
import sys
import time

import numpy as np
import pytest
import torch
from dgm_export import terminal
from PIL import Image
from test_sampling import entry_of
from toy_models import Bound, Judge, Pixels, Ridge, Walk

from dgmcore import console
from dgmcore.errors import DataError, UsageError
from dgmcore.sampling import draw as sampling
from dgmcore.sampling import pictures
from dgmcore.sampling.pictures import density as densities
from dgmcore.sampling.pictures import scatter


@pytest.mark.parametrize("limits", [(-1.0, 1.0), (0.0, 1.0), (-3.0, 5.0)])
def test_eight_bits_are_rounded_and_come_back(limits):
    low, high = limits
    levels = torch.arange(256, dtype=torch.float64).view(4, 1, 8, 8)
    x = levels / 255 * (high - low) + low
    noise = (torch.rand(x.shape, generator=torch.Generator()) - 0.5) * 0.9 * (high - low) / 255
    pixels = pictures.to_uint8(x + noise, limits)
    assert pixels.dtype == np.uint8 and np.array_equal(pixels[..., 0].ravel(), np.arange(256))
    wild = torch.tensor([-torch.inf, torch.inf, torch.nan, low - 9, high + 9]).view(1, 1, 1, 5)
    assert pictures.to_uint8(wild, limits).ravel().tolist() == [0, 255, 0, 0, 255]


def test_grids_hold_every_image_in_order(tmp_path):
    x = torch.linspace(-1, 1, 7).view(7, 1, 1, 1).expand(7, 3, 6, 5)
    pictures.save_grid(x, (-1.0, 1.0), tmp_path / "x.png", columns=3)
    picture = np.asarray(Image.open(tmp_path / "x.png"))
    factor = picture.shape[0] // (3 * 8 + 2)
    small = picture[::factor, ::factor]
    assert small.shape == (3 * 8 + 2, 3 * 7 + 2, 3) and factor > 1
    for i, value in enumerate(pictures.to_uint8(x)[:, 0, 0, 0]):
        row, column = divmod(i, 3)
        cell = small[2 + row * 8 : 8 + row * 8, 2 + column * 7 : 7 + column * 7]
        assert (cell == value).all()


def test_what_can_be_drawn_is_known_by_its_shape():
    shapes = {(1, 8, 8): "image", (3, 8, 8): "image", (8, 8): "image", (2,): "point", (43,): "point"}
    for shape, kind in (shapes | {(2, 8, 8): None, (1,): None, (): None}).items():
        assert pictures.kind_of(shape) == kind, shape
    model = Judge()
    model.event_shape = (1,)
    with pytest.raises(UsageError, match="can't be drawn"):
        pictures.Canvas(model)


def test_sequences_of_symbols_are_rows_of_colours():
    assert pictures.kind_of((8,), 4) == "image"
    model = Judge()
    model.event_shape, model.data_range, model.data_levels = (3,), (0.0, 3.0), 4
    canvas = pictures.Canvas(model)
    picture = canvas.draw(torch.tensor([[0.0, 1.0, 2.0], [3.0, 0.0, 1.5], [torch.nan, 0.0, 1.0]]))
    side = picture.shape[0] // 7  # three rows, and the gaps around them
    assert picture.shape == (7 * side, 5 * side, 3)
    cells = picture[side // 2 :: side, side // 2 :: side][1:-1:2, 1:-1]
    assert len(np.unique(cells.reshape(-1, 3), axis=0)) == 5, "four symbols, and grey for what is none"
    assert (cells[0, 0] == cells[1, 1]).all() and (cells[1, 2] == cells[2, 0]).all()
    assert len(set(cells[1, 2])) == 1, "grey"


def test_scatter_plots_put_points_and_density_where_they_belong():
    window = scatter.Window(-1.0, -1.0, 2.0)
    blank = scatter.draw(np.zeros((0, 2)), window, size=90).astype(int)
    for x, y in [(-0.5, 0.5), (0.5, 0.5), (0.9, -0.9)]:
        picture = scatter.draw(np.array([[x, y], [np.nan, 0], [99.0, 0]]), window, size=90).astype(int)
        changed = np.argwhere(np.abs(picture - blank).sum(-1) > 0)
        row, column = changed.mean(0)
        assert abs(column - (x + 1) * 45 + 0.5) < 1 and abs(row - (1 - y) * 45 + 0.5) < 1

    density = densities.density_of(lambda p: -8 * (p - torch.tensor([0.5, -0.5])).square().sum(1), window, grid=64)
    assert density.max() == 1
    row, column = np.unravel_index(density.argmax(), density.shape)
    assert abs(column - 48) <= 1 and abs(row - 48) <= 1
    picture = scatter.draw(np.zeros((0, 2)), window, density, size=64).astype(int).sum(-1)
    darkest = np.unravel_index(picture.argmin(), picture.shape)
    assert abs(darkest[0] - row) <= 1 and abs(darkest[1] - column) <= 1


def test_the_windows_of_scatter_plots_hold_the_points():
    x = sampling.sample(Ridge(), 5000).numpy()
    window = scatter.window_of(x)
    inside = (x >= (window.x, window.y)).all(1) & (x <= (window.x + window.side, window.y + window.side)).all(1)
    assert inside.mean() > 0.99
    assert scatter.window_of(np.full((3, 2), np.nan)).side > 0
    assert scatter.window_of(np.zeros((3, 2))).side > 0


def test_the_density_is_behind_the_samples_of_models_that_have_one(tmp_path):
    ridge, walk = pictures.Canvas(Ridge()), pictures.Canvas(Walk())
    for canvas in (ridge, walk):
        canvas.draw(sampling.sample(canvas.model, 20))
    assert ridge.density is not None and walk.density is None
    pictures.picture(Ridge(), sampling.sample(Ridge(), 50), tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as image:
        assert image.size == (720, 720)


class Slow(Ridge):
    """Takes a second for any points, but hardly any for more of them."""

    call, each = 1.0, 0.0

    def log_prob(self, x, **options):
        end = time.thread_time() + self.call + self.each * len(x)
        while time.thread_time() < end:
            pass
        return super().log_prob(x, **options)


@pytest.mark.parametrize(
    ("call", "each", "grid"), [(0.0, 0.0, 128), (1.0, 0.0, None), (0.1, 0.0, 128), (0.0, 1e-4, 64), (0.0, 1e-2, None)]
)
def test_densities_are_measured_within_a_time(call, each, grid):
    model = Slow()
    model.call, model.each = call, each
    start = time.thread_time()
    found = densities.density_behind(model, scatter.Window(-3.0, -3.0, 6.0), seconds=1.0)
    assert time.thread_time() - start < 2.5
    assert (None if found is None else len(found)) == grid


def test_densities_that_are_noise_or_nothing_are_not_drawn():
    window = scatter.Window(-3.0, -3.0, 6.0)
    assert densities.density_behind(Bound(), window) is None, "speckles"
    smooth = Bound()
    smooth.log_prob = lambda x, *, noise: Ridge.log_prob(smooth, x)
    assert densities.density_behind(smooth, window).max() == 1
    assert densities.density_of(lambda p: torch.full((len(p),), -torch.inf), window) is None
    assert densities.density_behind(Walk(), window) is None
    assert densities.density_behind(Pixels(), window) is None


def test_axes_have_round_numbers():
    assert scatter.ticks(-1.3, 2.2) == [-1, -0.5, 0, 0.5, 1, 1.5, 2]
    assert scatter.ticks(0.1, 0.35) == [0.1, 0.15, 0.2, 0.25, 0.3, 0.35]
    for low, side in ((-1e-6, 1e-6), (3.0, 1e5), (-7.0, 19.0)):
        found = scatter.ticks(low, low + side)
        assert 3 <= len(found) <= 9 and low <= found[0] and found[-1] <= low + side
    picture = scatter.figure(np.zeros((1, 2)), scatter.Window(-1.0, -1.0, 2.0)).astype(int)
    assert picture.shape == (720, 720, 3)
    orange = np.argwhere((np.abs(picture - (226, 88, 34)) < 40).all(-1)).mean(0)
    side = 720 - scatter.LEFT - scatter.TOP
    assert abs(orange[1] - (scatter.LEFT + side / 2)) < 2 and abs(orange[0] - (scatter.TOP + side / 2)) < 2


def test_ways_are_lines():
    window = scatter.Window(-1.0, -1.0, 2.0)
    ways = np.array([[[-0.8, 0.0], [0.8, 0.0]]])
    with_line, without = (scatter.draw(ways[0], window, size=90, ways=w).astype(int) for w in (ways, None))
    changed = np.argwhere(np.abs(with_line - without).sum(-1) > 0)
    assert set(changed[:, 0].tolist()) <= {43, 44, 45, 46} and np.ptp(changed[:, 1]) > 60


def test_points_are_vector_graphics_too(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    for suffix, start in ((".pdf", b"%PDF"), (".svg", b"<?xml")):
        sampling.sample_to(tmp_path / f"x{suffix}", Ridge(), 50)
        assert (tmp_path / f"x{suffix}").read_bytes().startswith(start)
    assert (tmp_path / "x.svg").read_text().count("<use ") >= 50
    with pytest.raises(UsageError, match="not written as"):
        sampling.sample_to(tmp_path / "y.pdf", Pixels(), 5)
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as where it is not installed
    with pytest.raises(UsageError, match="needs matplotlib") as caught:
        sampling.sample_to(tmp_path / "y.svg", Ridge(), 50)
    assert "dgmcore[plots]" in caught.value.hint
    sampling.sample_to(tmp_path / "y.png", Ridge(), 50)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.pdf", "x.svg", "y.png"]


def test_animations_hold_the_last_frame_and_thin_long_ways(tmp_path):
    frames = [np.full((4, 4, 3), i, np.uint8) for i in range(20)]
    pictures.save_gif(frames, tmp_path / "x.gif")
    with Image.open(tmp_path / "x.gif") as gif:
        durations = []
        for i in range(gif.n_frames):
            gif.seek(i)
            durations.append(gif.info["duration"])
        assert gif.info["loop"] == 0
    assert durations[-1] == 2000 and max(durations[:-1]) <= 400
    for count in (1, 2, 48, 96, 97, 98, 1000, 4001):
        kept = pictures.thinned(iter(range(count)))
        assert kept[0] == 0 and kept[-1] == count - 1 and len(kept) <= 98
        steps = np.diff(kept[:-1])
        assert len(kept) == count or (len(set(steps)) == 1 and len(kept) >= 48)


def test_pictures_are_read_in_the_models_shape_and_range(tmp_path):
    model = Pixels()
    model.entry = entry_of(model, range=(0.0, 1.0), levels=256)
    Image.new("RGB", (30, 20), (255, 255, 255)).save(tmp_path / "x.png")
    x = pictures.read_picture(tmp_path / "x.png", model)
    assert x.shape == (1, 8, 8) and float(x.min()) == 1
    (tmp_path / "x.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="can't be read"):
        pictures.read_picture(tmp_path / "x.png", model)


# --- the terminal -----------------------------------------------------------------------------------


class Tty(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    "environment,expected",
    [
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, "truecolor"),
        ({"TERM": "xterm-256color"}, "256"),
        ({"TERM": "xterm"}, "none"),
        ({"TERM": "dumb", "COLORTERM": "truecolor"}, "none"),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor", "NO_COLOR": "1"}, "none"),
        ({}, "none"),
    ],
)
def test_terminals_say_what_colours_they_have(environment, expected):
    assert console.colours(Tty(), environment) == expected
    assert console.colours(io.StringIO(), environment) == "none"


@pytest.mark.parametrize("shape", [(40, 60, 3), (60, 40, 1), (1, 200, 3), (200, 1, 1)])
@pytest.mark.parametrize("colours", ["truecolor", "256", "none"])
def test_previews_fit_the_terminal(shape, colours):
    text = terminal.preview(np.full(shape, 200, np.uint8), columns=30, lines=10, colours=colours)
    assert ("\x1b" in text) == (colours != "none")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).split("\n")
    assert 1 <= len(lines) <= 10 and max(map(len, lines)) <= 30


def test_previews_have_the_colours_of_the_picture():
    picture = np.zeros((4, 2, 3), np.uint8)
    picture[0, 0], picture[1, 0] = (255, 0, 0), (0, 0, 255)
    first = terminal.preview(picture, columns=2, lines=2).split("▀")[0]
    assert first == "\x1b[38;2;255;0;0;48;2;0;0;255m"
    assert terminal.preview(picture, 2, 2, "256").startswith("\x1b[38;5;196;48;5;21m")
