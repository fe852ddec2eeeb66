"""The page for those without a mouse, on a telephone, with plugins of their own, without a server: `make test-page`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from browsing import Visit, end, is_blank, serve
from dgm_serve.catalog import calls
from PIL import Image

ROOT = Path(__file__).parents[3]


def test_a_user_of_the_keyboard_tilts_vae_fashion(visit):
    page = visit.open().page
    page.wait_for_selector(".card")
    press = page.keyboard.press
    page.keyboard.type("/")
    page.keyboard.type("vae-fashion")
    press("Enter")
    page.wait_for_selector(".tabs")
    for _ in range(20):
        press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Tilt":
            break
    press("Enter")
    page.wait_for_selector(".view-tilt")
    visit.drawn()
    for _ in range(20):
        press("Tab")
        if page.evaluate("document.activeElement.labels?.[0]?.textContent") == "weight":
            break
    for _ in range(10):
        press("ArrowRight")
    visit.until("location.hash.includes('weight=1.5')")
    visit.drawn()
    assert "dgm sample vae-fashion " in page.inner_text(".command"), "not the first that has this in its name"
    # what only judges comes first
    visit.until("document.querySelector('.command').textContent.includes('--tilt energy-fashion:1.5')")
    visit.check()


def test_a_user_of_the_keyboard_locks_a_sample_and_hides_a_part_of_a_picture(visit):
    page = visit.open("#/vae-fashion/samples").drawn().page
    page.focus("[type=number][name=lock]")
    page.keyboard.type("3")
    page.keyboard.press("Enter")
    visit.until("location.hash.includes('lock=3') && document.querySelector('.stage canvas').width === 28")
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
    page.keyboard.press("Tab")
    visit.until("!location.hash.includes('lock') && document.querySelector('.stage canvas').width > 28")
    if "given" not in calls():
        return
    visit.open("#/vae-mnist-2d/given?mask=zz").drawn()  # a damaged address is read as far as it goes
    page.focus("canvas.draw")
    for _ in range(6):
        page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    visit.until("/mask=[0-9a-f]+/.test(location.hash)")
    visit.check()


def test_the_plane_is_painted_anew_in_the_dark_and_after_a_resize(visit):
    page = visit.open("#/realnvp-moons/density?x=0.5&y=0.2").drawn().page
    light = visit.pixels()
    page.click("#theme")
    visit.until("getComputedStyle(document.documentElement).colorScheme === 'dark'")
    assert visit.pixels() != light
    page.click("#theme")
    assert visit.pixels() == light
    page.set_viewport_size({"width": 700, "height": 900})
    visit.until("document.querySelector('.stage canvas').width === document.querySelector('.stage canvas').clientWidth")
    visit.check()


def test_pictures_and_samples_can_be_downloaded(visit):
    page = visit.open("#/vae-fashion/tilt").drawn().page
    with page.expect_download() as png:
        page.click(".share button:has-text('png')")
    with Image.open(png.value.path()) as picture:
        assert picture.size == (238, 115)  # before and after, side by side
    with page.expect_download() as npz:
        page.click(".share button:has-text('npz')")
    assert np.load(npz.value.path())["samples"].shape == (16, 1, 28, 28)
    visit.check()


def test_controls_have_labels_and_the_page_fits_a_telephone(chromium, address):
    for hash in (
        "#/",
        "#/vae-fashion/tilt",
        "#/vae-mnist-2d/noise",
        "#/ddpm-moons/trajectory",
        "#/realnvp-moons/train",
    ):
        visit = Visit(chromium, address, color_scheme="dark").open(hash)
        visit.page.set_viewport_size({"width": 380, "height": 800})
        visit.page.wait_for_selector(".card, .controls .control, .controls .note")
        unnamed = visit.page.evaluate(
            "[...document.querySelectorAll('input, select, button, canvas, img:not([alt])')].filter(e =>"
            "!(e.labels?.length || e.getAttribute('aria-label') || e.textContent.trim() || e.role === 'presentation'))"
            ".map(e => e.outerHTML)"
        )
        assert unnamed == []
        assert visit.page.evaluate("document.documentElement.scrollWidth <= 380"), hash
        visit.check()
        visit.context.close()


def test_an_error_is_shown_with_what_to_do(visit):
    page = visit.open("#/vae-fashion/samples").drawn().page
    page.fill("text=temperature >> xpath=.. >> input[type=number]", "1e6")
    page.route(
        "**/api/sample",
        lambda route: route.fulfill(status=503, json={"error": "the server is busy", "hint": "try again"}),
    )
    page.keyboard.press("Tab")
    page.wait_for_selector(".problem")
    assert page.inner_text(".problem strong") == "the server is busy"
    page.unroute("**/api/sample")
    page.click(".problem button")
    page.wait_for_selector(".problem", state="detached")


def test_weights_are_pulled_with_progress_and_again_after_a_refusal(chromium, tmp_path):
    sys.path.append(str(ROOT / "tests"))
    from hub_server import Fault, HubServer

    entry = (ROOT / "registry" / "vae-fashion" / "model.yaml").read_text("utf-8")
    weights = (ROOT / "registry" / "vae-fashion" / "model.safetensors").read_bytes()
    folder = tmp_path / "registry" / "far-fashion"
    folder.mkdir(parents=True)
    with HubServer() as hub:
        commit = hub.add("user/far", {"model.safetensors": weights})
        entry = entry.replace("name: vae-fashion", "name: far-fashion")
        entry = entry.replace("weights:\n", f"weights:\n  hub: {{repo: user/far, revision: {commit}}}\n")
        (folder / "model.yaml").write_text(entry, "utf-8")
        places = {"DGM_REGISTRY": str(folder.parent), "XDG_CACHE_HOME": str(tmp_path / "cache")}
        process, address = serve({**os.environ, **hub.environment(tmp_path), **places}, "--models", "far*")
        try:
            visit = Visit(chromium, address).open()
            hub.faults.append(Fault("status", code=403, method="*"))
            visit.page.click(".here button")
            visit.page.wait_for_selector(".here .problem")
            assert "refused access" in visit.page.inner_text(".here") and "HF_TOKEN" in visit.page.inner_text(".here")
            hub.faults[:] = [Fault("slow", path="model.safetensors", delay=1.0)]
            visit.page.click(".here button")
            visit.until("document.querySelector('.here progress')?.value === 0")
            visit.page.click(".card:not(.away) a")
            visit.drawn().check()
        finally:
            end(process)


def test_a_page_without_a_token_is_locked(chromium, address):
    visit = Visit(chromium, address)
    visit.page.goto(address.partition("?")[0])
    assert "the address that dgm serve printed" in visit.page.inner_text("body")
    visit.context.close()


def test_a_stranger_s_plugin_appears_with_its_views(chromium, tmp_path):
    run = [sys.executable, "-m", "dgmcore"]
    subprocess.run([*run, "new-plugin", "drift", "--out", str(tmp_path)], check=True, capture_output=True)
    installed = tmp_path / "site"
    shutil.copytree(tmp_path / "drift" / "src", installed)
    about = installed / "drift-0.1.dist-info"
    about.mkdir()
    about.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: drift\nVersion: 0.1\n")
    entry_points = re.search(
        r"\[project.entry-points.dgm\]\n(.*)", (tmp_path / "drift" / "pyproject.toml").read_text()
    )[1]
    about.joinpath("entry_points.txt").write_text(f"[dgm]\n{entry_points.replace(chr(34), '')}\n")
    path = os.pathsep.join([str(installed), os.environ.get("PYTHONPATH", "")])
    process, address = serve(
        {**os.environ, "PYTHONPATH": path, "XDG_CACHE_HOME": str(tmp_path / "cache")}, "--models", "drift*"
    )
    try:
        visit = Visit(chromium, address).open()
        visit.page.click(".card a")
        visit.drawn()
        tabs = visit.page.eval_on_selector_all(".tabs a", "all => all.map(a => a.textContent)")
        assert {"Samples", "Noise", "Density", "Train"} <= set(tabs)
        visit.page.click("text=Noise")
        visit.page.wait_for_selector(".view-noise")
        visit.drawn()
        visit.check()
    finally:
        end(process)


@pytest.mark.parametrize("name", ["vae-mnist-2d", "otflow-moons", "ddpm-moons"])
def test_a_page_of_its_own_asks_nobody(chromium, tmp_path, name):
    out = tmp_path / f"{name}.html"
    subprocess.run([sys.executable, "-m", "dgmcore", "page", name, "--out", str(out)], check=True, capture_output=True)
    visit = Visit(chromium, out.as_uri())
    page = visit.page
    page.goto(out.as_uri())
    page.wait_for_selector("body[data-done]")
    assert page.eval_on_selector_all("img", "all => all.every((i) => i.naturalWidth > 28)")
    canvases = page.locator("canvas:not(.pad)").count()
    assert not any(is_blank(page, f"canvas:not(.pad) >> nth={i}") for i in range(canvases))
    steps = page.query_selector_all(".pad, .player input")
    assert steps
    for step in steps:
        before = page.screenshot()
        step.focus()
        page.keyboard.press("ArrowLeft")
        assert page.screenshot() != before
    assert out.stat().st_size < 500_000
    visit.check()
    visit.context.close()
