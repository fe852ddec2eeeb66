"""Takes the screenshots of docs/serve.md: python docs/serve_pictures.py. Needs what `make test-page` needs."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "plugins" / "dgm-serve" / "tests"))

from browsing import FLAGS, Visit, serve


def main() -> None:
    from PIL import Image
    from playwright.sync_api import sync_playwright

    out = Path(__file__).parent / "serve"
    out.mkdir(exist_ok=True)
    process, address = serve()
    pages = {
        "gallery": ("#/", "light", (1100, 640)),
        "pad": ("#/vae-mnist-2d/noise?x=-0.7&y=-0.4", "dark", (1100, 640)),
        "tilt": ("#/vae-fashion/tilt?critic=energy-fashion&weight=1.5", "light", (1100, 860)),
        "train": ("#/nsf-moons/train", "light", (1100, 860)),
    }
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            for name, (hash, scheme, (width, height)) in pages.items():
                visit = Visit(browser, address, color_scheme=scheme)
                visit.page.set_viewport_size({"width": width, "height": height})
                visit.open(hash).page.wait_for_load_state("networkidle")
                if name == "train":
                    visit.page.click("[data-play].main")
                    visit.until("document.querySelector('.player output').textContent.startsWith('step 500')")
                elif name != "gallery":
                    visit.drawn()
                visit.page.screenshot(path=out / f"{name}.png")
                visit.context.close()
                small = Image.open(out / f"{name}.png").convert("RGB").quantize(200, dither=Image.Dither.NONE)
                small.save(out / f"{name}.png", optimize=True)
    finally:
        process.terminate()


if __name__ == "__main__":
    main()
