"""A browser for tests, and a visit to the page in it.

The browser is Debian's, or the one that $DGM_CHROMIUM names; without one the tests are skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager

import pytest

_FLAGS = "no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-sync"
FLAGS = [f"--{name}" for name in (*_FLAGS.split(" "), "disable-component-update")]
WAIT = 120_000  # milliseconds for a view to be drawn, on a machine that is busy with other things


@contextmanager
def browser():
    """A browser; without one the test is skipped."""

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


def is_blank(page, selector: str) -> bool:
    """Whether a canvas has one colour only."""
    return page.eval_on_selector(
        selector,
        "c => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "for (let i = 4; i < d.length; i++) if (d[i] !== d[i % 4]) return false; return true; }",
    )
