"""How fast the page is: python plugins/dgm-serve/speed.py. Needs Chromium and playwright, as `make test-page` does.

Prints the pad's latency from a move of the pointer to the new picture, the frames a second while 64 garments are
scrubbed, the time from the server's address to the gallery, and the memory of a server that has loaded no model.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "tests"))

MOVE = """async () => {
  const [pad, picture] = [document.querySelector(".pad"), document.querySelector(".stage canvas:not(.pad):not(.map)")];
  const box = pad.getBoundingClientRect();
  const move = (x, y) => pad.dispatchEvent(new PointerEvent("pointermove", {
    clientX: box.left + box.width * x, clientY: box.top + box.height * y, buttons: 1, pointerId: 1, bubbles: true }));
  pad.setPointerCapture = () => {};
  const times = [];
  for (let i = 0; i < 200; i++) {
    const before = picture.dataset.at;
    const began = performance.now();
    move(0.5 + 0.3 * Math.cos(i / 20), 0.5 + 0.3 * Math.sin(i / 20));
    while (picture.dataset.at === before) await new Promise((resolve) => setTimeout(resolve, 0));
    times.push(performance.now() - began);
    await new Promise(requestAnimationFrame);
  }
  return times.sort((a, b) => a - b);
}"""

SCRUB = """async () => {
  const range = document.querySelector(".player input");
  const times = [];
  for (let i = 0; i < 120; i++) {
    range.value = i % (Number(range.max) + 1);
    const began = performance.now();
    range.dispatchEvent(new Event("input"));
    await new Promise(requestAnimationFrame);
    times.push(performance.now() - began);
  }
  return times.sort((a, b) => a - b);
}"""


def main() -> None:
    from browsing import FLAGS, Visit, serve
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        page = browser.new_page()
        process, address = serve()
        page.goto(address)  # a browser that has been used before, and a server that is new
        process.terminate()
        process, address = serve()
        began = time.monotonic()
        page.goto(address)
        page.wait_for_selector(".card")
        print(f"gallery: {1000 * (time.monotonic() - began):.0f} ms after the address was printed")
        page.close()
        time.sleep(6)
        status = Path(f"/proc/{process.pid}/status").read_text()
        print(f"memory with no model loaded: {int(status.split('VmRSS:')[1].split()[0]) / 1024:.0f} MB")
        visit = Visit(browser, address).open("#/vae-mnist-2d/noise").drawn()
        times = visit.page.evaluate(MOVE)
        print(f"pad: median {times[100]:.1f} ms, 95 % within {times[189]:.1f} ms, worst {times[-1]:.1f} ms")
        visit.open("#/ddgan-fashion/trajectory?n=64").drawn()
        times = visit.page.evaluate(SCRUB)
        print(
            f"scrubbing 64 garments: median {1000 / times[60]:.0f}, 95 % above {1000 / times[114]:.0f} frames a second"
        )
        browser.close()
        process.terminate()


if __name__ == "__main__":
    main()
