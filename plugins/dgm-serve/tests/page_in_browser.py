"""The page in a headless Chromium: `make test-page`. No part of `make test`, as it needs a browser.

The browser is Debian's, or the one that $DGM_CHROMIUM names; without one the tests are skipped.
"""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dgm_serve.catalog import calls

import dgmcore

_FLAGS = "no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-sync"
FLAGS = [f"--{name}" for name in (*_FLAGS.split(" "), "disable-component-update")]
ROOT = Path(__file__).parents[3]
WAIT = 120_000  # milliseconds for a view to be drawn, on a machine that is busy with other things

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


@pytest.fixture(scope="session")
def chromium():
    """A browser."""

    path = os.environ.get("DGM_CHROMIUM") or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None
    )
    if path is None:
        pytest.skip("there is no chromium here (apt-get install chromium, or name one in DGM_CHROMIUM)")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


def serve(environment=None, *options: str):
    """Starts the command; returns the process and the address that it prints."""

    command = [sys.executable, "-m", "dgmcore", "serve", "--no-browser", "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
    return process, process.stdout.readline().strip()


def end(process) -> None:
    process.terminate()
    process.communicate(timeout=30)


@pytest.fixture(scope="session")
def address():
    process, address = serve()
    yield address
    end(process)


class Visit:
    """A page, and whatever on it should not have happened."""

    def __init__(self, browser, address: str, **context):
        self.address, self.wrong = address, []
        self.context = browser.new_context(viewport={"width": 1200, "height": 900}, **context)
        self.page = self.context.new_page()
        self.page.set_default_timeout(WAIT)
        origin = address.partition("?")[0]
        self.page.on("console", lambda m: self.wrong.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda e: self.wrong.append(str(e)))
        self.page.on("request", lambda r: r.url.startswith((origin, "data:", "blob:")) or self.wrong.append(r.url))
        self.page.on("response", lambda r: r.status >= 400 and self.wrong.append(f"{r.status} {r.url}"))

    def open(self, hash: str = "#/"):
        self.page.goto("about:blank")
        self.page.goto(self.address + hash)
        return self

    def drawn(self):
        """Waits until the view has been drawn, and nothing more is under way."""
        self.page.wait_for_selector(".stage[data-done]:not(.busy)")
        self.page.wait_for_load_state("networkidle")
        return self

    def until(self, expression: str):
        """Waits until something is so; the page's own policy forbids playwright's way, which is `eval`."""
        for _ in range(WAIT // 25):
            if self.page.evaluate(expression):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never: {expression}")

    def pixels(self) -> list[str]:
        """The pixels of all canvases."""
        return self.page.eval_on_selector_all("canvas", "all => all.map(c => c.toDataURL())")

    def check(self):
        assert self.wrong == []
        assert self.page.query_selector(".problem") is None


@pytest.fixture
def visit(chromium, address):
    made = Visit(chromium, address)
    yield made
    made.context.close()


def _blank(page, selector: str) -> bool:
    """Whether a canvas has one colour only."""
    return page.eval_on_selector(
        selector,
        "c => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "for (let i = 4; i < d.length; i++) if (d[i] !== d[i % 4]) return false; return true; }",
    )


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
            assert not _blank(page, ".stage canvas")
        else:
            visit.drawn()
            canvases = ".stage canvas" if tab != "noise" else ".stage canvas:not(.pad):not(.map)"
            assert not _blank(page, canvases), tab
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
    page.wait_for_selector(".mosaic.alone")
    visit.drawn()
    before = visit.pixels()
    page.fill("text=temperature >> xpath=.. >> input[type=text]", "0.2")
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
    page.wait_for_selector(".drop.failed")
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
    assert "--tilt energy-fashion:1.5" in page.inner_text(".command"), "what only judges comes first"
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
    page.fill("text=temperature >> xpath=.. >> input[type=text]", "1e6")
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


def test_a_page_of_its_own_asks_nobody(chromium, tmp_path):
    for name in ("vae-mnist-2d", "otflow-moons"):
        out = tmp_path / f"{name}.html"
        subprocess.run(
            [sys.executable, "-m", "dgmcore", "page", name, "--out", str(out)], check=True, capture_output=True
        )
        visit = Visit(chromium, out.as_uri())
        visit.page.goto(out.as_uri())
        visit.page.wait_for_selector("body[data-done]")
        before = visit.pixels()
        visit.page.focus(".pad")
        visit.page.keyboard.press("ArrowLeft")
        assert visit.pixels() != before
        assert not any(
            _blank(visit.page, f"canvas >> nth={i}") for i in range(visit.page.locator("canvas").count()) if i
        )
        assert out.stat().st_size < 500_000
        visit.check()
        visit.context.close()
