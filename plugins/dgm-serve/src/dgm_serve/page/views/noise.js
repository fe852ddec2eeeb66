// A map of noise: a pad if the noise is a plane; else walks between samples, and the strongest directions.

import { figures, h, note } from "../dom.js";
import { draw, mosaic, pairs, plane, wider } from "../draw.js";
import { EDGE, Pad } from "../pad.js";

export async function show(view) {
  const { pad } = await view.json("latent");
  await (pad ? showPad : showWalk)(view);
}

const MANY = 13; // pictures, or lines, along a side of the pad
const along = (n, edge = EDGE) => Array.from({ length: n }, (_, k) => (2 * k / (n - 1) - 1) * edge);

async function showPad(view) {
  const ask = view.read({ x: 0, y: 0 });
  const picture = view.canvas("What the noise makes");
  const map = view.kind === "point" ? null : h("canvas.pixels.map", { role: "presentation" });
  const where = h("output.where");
  const pad = new Pad(map, [ask.x, ask.y], ([x, y]) => {
    view.remember({ x: Number(x.toFixed(3)), y: Number(y.toFixed(3)) });
    view.draw();
  });
  let lines = null;

  // What the pad lies on: pictures, or lines and where they go.
  async function below() {
    if (!map) return gridLines(view, pad);
    const centres = along(MANY, EDGE * (1 - 1 / MANY));
    return mosaic(map, await view.floats("push", { z: centres.toReversed().flatMap((y) => centres.map((x) => [x, y])) }), MANY);
  }

  const shown = view.show({
    stage: figures("pair", [pad.element, "noise ", where], [picture, "what it makes"]),
    controls: note("Drag on the pad, or use the arrow keys, with Shift for small steps."),
    draw: async () => {
      lines ??= await below();
      const found = await view.floats("push", { z: [pad.at] });
      if (map) mosaic(picture, found, 1);
      else plane(picture, lines.window, (it) => it.lines(lines.made, { alpha: 0.35 }).mark(...found.x));
      picture.dataset.at = pad.at.map((value) => value.toFixed(3));
      where.textContent = `(${pad.at.map((value) => value.toFixed(2)).join(", ")})`;
    },
  });
  pad.paint();
  await shown;
}

// Draws lines of a grid of noise on the pad; returns where the model takes them.
async function gridLines(view, pad) {
  const per = 61;
  pad.lines = along(MANY).flatMap((a) => [along(per).map((b) => [a, b]), along(per).map((b) => [b, a])]);
  pad.paint();
  const { x, window } = await view.floats("push", { z: pad.lines.flat() });
  return { window, made: pad.lines.map((_, i) => pairs(x.subarray(2 * i * per, 2 * (i + 1) * per))) };
}

function showWalk(view) {
  const { ask, kind } = view;
  const walk = view.canvas("The walk between the two samples");
  const moved = view.canvas("The first sample, moved along its strongest directions");

  const push = view.newest(async () => {
    const found = await view.floats("push", { seed: ask.seed, index: ask.a, along: [ask.d0, ask.d1, ask.d2, ask.d3] });
    if (kind === "point") plane(moved, { x: found.x[0] - 2, y: found.x[1] - 2, side: 4 }, (it) => it.mark(...found.x));
    else draw(moved, found, 1);
  });

  return view.show({
    stage: figures("walk", [walk, "from the one sample to the other, on a great circle of noise"],
      [moved, "the first sample, moved along the directions that change it most"]),
    on: { d0: push, d1: push, d2: push, d3: push },
    draw: async () => {
      const { seed, a, b } = ask;
      const found = await view.floats("walk", { seed, a, b, steps: 9 });
      if (kind === "point") plane(walk, wider(found.window, 0.25), (it) => it.lines([pairs(found.x)]).points(found.x, { radius: 3, alpha: 1 }));
      else draw(walk, found, kind === "row" ? 1 : view.large ? 3 : 9);
      await push();
    },
  });
}
