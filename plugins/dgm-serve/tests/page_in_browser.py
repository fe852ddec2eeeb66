"""The page in a headless Chromium: `make test-page`. No part of `make test`, as it needs a browser."""

from __future__ import annotations

import base64
import io

import pytest
from browsing import Visit, is_blank
from dgm_serve.catalog import calls

import dgmcore

#: A model of each family, with the views that its capabilities bring.
FAMILIES = {
    "realnvp-moons": "samples noise trajectory density tilt reconstruct compare train about",  # flows
    "vae-mnist-2d": "samples noise density tilt reconstruct given compare about",  # vaes
    "ebm-25gaussians": "samples trajectory density tilt compare train about",  # ebms
    "energy-fashion": "density tilt about",
    "dcgan-mnist": "samples noise density tilt given compare about",  # gans
    "ddpm-moons": "samples trajectory density compare train about",  # diffusion
    "rnn-tfim": "samples trajectory density compare about",  # autoregressive
    "vaebm-25gaussians": "samples trajectory density compare about",  # hybrids
    "lenet-mnist": "about",  # the core's features
}


def test_the_gallery_has_all_models_and_filters_them(visit):
    names = [m["name"] for m in dgmcore.list_models()]
    page = visit.open().page
    page.wait_for_selector(".card")
    assert page.eval_on_selector_all(".card h2", "all => all.map(e => e.textContent)") == names
    page.fill("#search", "moons flow")
    page.select_option("select[aria-label=can]", "trajectory")
    shown = page.eval_on_selector_all(".card:not([hidden]) h2", "all => all.map(e => e.textContent)")
    assert (
        shown and set(shown) <= {m["name"] for m in dgmcore.list_models(can="trajectory")} and "nice-moons" not in shown
    )
    assert "q=moons+flow&can=trajectory" in page.url
    page.fill("#search", "nothing is called that")
    page.click("text=show all")
    assert page.locator(".card:visible").count() == len(names)
    visit.check()


@pytest.mark.parametrize("name", FAMILIES)
def test_each_view_of_each_family(visit, name):
    page = visit.open(f"#/{name}").page
    page.wait_for_selector(".tabs")
    tabs = page.eval_on_selector_all(".tabs a", "all => all.map(a => a.hash.split('/').pop())")
    assert tabs == [view for view in FAMILIES[name].split() if view != "given" or "given" in calls()]
    for tab in tabs:
        page.click(f".tabs a[href$='/{tab}']")
        page.wait_for_selector(f".view-{tab}")
        if tab == "about":
            page.wait_for_selector(".prose")
        elif tab == "train":
            page.wait_for_selector("[data-play].main")
            assert not is_blank(page, ".stage canvas")
        else:
            visit.drawn()
            canvases = ".stage canvas" if tab != "noise" else ".stage canvas:not(.pad):not(.map)"
            assert not is_blank(page, canvases), tab
        visit.check()


@pytest.mark.parametrize(
    "hash",
    [
        "#/vae-fashion/samples?seed=3&n=9&o.temperature=0.7",
        "#/vae-fashion/samples?seed=3&lock=2",
        "#/vae-mnist-2d/noise?x=-0.7&y=1.2",
        "#/realnvp-moons/noise?x=1",
        "#/vae-fashion/noise?a=3&b=5&d0=2",
        "#/ddpm-moons/trajectory?step=60&seed=2",
        "#/vae-fashion/tilt?critic=energy-fashion&weight=1.5&step=7",
        "#/realnvp-moons/density?x=0.5&y=0.2",
        "#/vae-fashion/compare?with=glf-fashion&seed=4",
        "#/realnvp-moons/train",
    ],
)
def test_an_address_opened_again_gives_the_same_pixels(chromium, address, hash):
    seen = []
    for _ in range(2):
        visit = Visit(chromium, address).open(hash)
        if "train" in hash:
            visit.page.wait_for_selector("[data-play].main")
        else:
            visit.drawn()
        visit.page.wait_for_timeout(300)
        seen.append(visit.pixels())
        hash = "#" + visit.page.url.partition("#")[2]  # what it has become is what is shared
        visit.check()
        visit.context.close()
    assert seen[0] == seen[1] and seen[0]


def test_the_pixels_are_those_of_the_command_line(visit):
    import numpy as np
    from PIL import Image

    from dgmcore.sampling.pictures import to_uint8

    page = visit.open("#/vae-fashion/samples?n=1&seed=5").drawn().page
    data = page.eval_on_selector(".stage canvas", "c => c.toDataURL()").partition(",")[2]
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("L"))
    assert np.array_equal(shown, to_uint8(dgmcore.sample("vae-fashion", 1, seed=5), (-1, 1))[0, ..., 0])


def test_options_change_a_locked_sample(visit):
    page = visit.open("#/vae-fashion/samples").drawn().page
    page.click(".stage canvas", position={"x": 30, "y": 30})
    page.wait_for_selector("canvas.alone")
    visit.drawn()
    before = visit.pixels()
    page.fill("text=temperature >> xpath=.. >> input[type=number]", "0.2")
    page.keyboard.press("Tab")
    visit.until("location.hash.includes('o.temperature=0.2')")
    page.wait_for_timeout(200)
    visit.drawn()
    assert visit.pixels() != before and "lock=0" in page.url
    assert "--set temperature=0.2" in page.inner_text(".command")
    visit.check()


def test_the_pad_follows_the_pointer(visit):
    page = visit.open("#/vae-mnist-2d/noise").drawn().page
    box = page.locator(".pad").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 4, steps=8)
    page.mouse.up()
    visit.until("document.querySelector('.stage canvas[data-at^=\"-1.5\"]')")
    visit.until("location.hash.includes('x=-1.5')")
    visit.check()


def test_a_dropped_picture_is_scored_and_reconstructed(visit):
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (60, 40), (200, 30, 30)).save(file, "PNG")
    picture = {"name": "x.png", "mimeType": "image/png", "buffer": file.getvalue()}
    page = visit.open("#/vae-fashion/density").drawn().page
    before = page.inner_text(".big")
    page.set_input_files("#file", picture)
    visit.until(f"document.querySelector('.big').innerText !== {before!r}")
    assert "lower bound" in page.inner_text(".kind") and "nats" in page.inner_text(".big")
    page.click(".tabs a[href$='/reconstruct']")
    page.wait_for_selector(".view-reconstruct")
    visit.drawn()
    page.set_input_files("#file", picture)
    visit.until("document.querySelector('.stage canvas').width === 28")
    page.set_input_files("#file", {"name": "x.txt", "mimeType": "text/plain", "buffer": b"no picture"})
    page.wait_for_selector("#file:invalid")
    visit.check()


def test_training_can_be_watched_and_paused(visit):
    page = visit.open("#/nice-moons/train").page
    page.click("[data-play].main")
    visit.until("document.querySelector('.player output').textContent.startsWith('step 100')")
    page.click("[data-play].main")
    page.wait_for_selector("text=go on")
    page.click("[data-play].main")
    visit.until("!document.querySelector('.player output').textContent.startsWith('step 100')")
    page.click("text=start again")
    page.wait_for_selector("text=400 points")
    visit.check()
