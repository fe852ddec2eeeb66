// A map of noise: a pad if the noise is a plane; else walks between two samples, and the strongest directions at one.

import { slider } from "../controls.js";
import { figures, h, note, number, say } from "../dom.js";
import { draw, mosaic, pairs, pixels, Plane, windowOf } from "../draw.js";
import { can } from "../frame.js";
import { EDGE, Pad } from "../pad.js";
import { canvasFile } from "../share.js";

export const title = "Noise";
export const lead = "Every sample is made from noise. Move the noise, and watch what it makes.";
export const fits = (model) => can(model, "pushforward");

export async function show(view) {
  const { pad } = await view.json("latent", {});
  await (pad ? showPad(view, pad) : showWalk(view));
}

// --- the pad

const MANY = 13; // pictures, or lines, along a side

async function showPad(view, name) {
  const { model, kind } = view;
  const ask = view.read({ x: 0, y: 0 });
  const picture = view.canvas("What the noise makes");
  const map = kind === "point" ? null : h("canvas", { class: "pixels map", role: "presentation" });
  const where = h("output", { class: "where" });
  const pad = new Pad(map, [ask.x, ask.y], ([x, y]) => view.change({ x: Number(x.toFixed(3)), y: Number(y.toFixed(3)) }));
  let lines = null;

  // What the pad lies on: pictures, or lines and where they go.
  async function below() {
    if (map) return mosaic(map, pixels(await view.floats("push", { z: cells() })), MANY);
    const found = await gridLines(view);
    pad.lines = found.noise;
    pad.paint();
    return found;
  }

  const shown = view.show({
    stage: figures("pair", [pad.element, ["noise ", where]], [picture, "what it makes"]),
    controls: note("Drag on the pad, or use the arrow keys, with Shift for small steps."),
    as: { python: () => pythonOf(model.name, name, pad.at) },
    files: { PNG: canvasFile(`${model.name}-pad`, picture) },
    paint: () => pad.move(pad.at),
    draw: async () => {
      lines ??= await below();
      const found = await view.floats("push", { z: [pad.at] });
      if (map) mosaic(picture, pixels(found), 1);
      else new Plane(picture, lines.window).lines(lines.data, { alpha: 0.35 }).mark(...found.x);
      picture.dataset.at = pad.at.map((value) => value.toFixed(3));
      where.textContent = `(${pad.at.map((value) => value.toFixed(2)).join(", ")})`;
      if (!pad.canvas.matches(":active")) say(where.textContent); // not at each step of a drag
    },
  });
  pad.paint();
  await shown;
}

// The centres of the cells of the pad, row by row from the top.
function cells() {
  const at = (k) => -EDGE + ((k + 0.5) / MANY) * 2 * EDGE;
  return Array.from({ length: MANY * MANY }, (_, i) => [at(i % MANY), -at(Math.floor(i / MANY))]);
}

// Lines of a grid of noise, and where the model takes them.
async function gridLines(view) {
  const per = 61;
  const along = (n) => Array.from({ length: n }, (_, k) => -EDGE + (k / (n - 1)) * 2 * EDGE);
  const noise = along(MANY).flatMap((a) => [along(per).map((b) => [a, b]), along(per).map((b) => [b, a])]);
  const { x } = await view.floats("push", { z: noise.flat() });
  const made = pairs(x);
  return { noise, data: noise.map((_, i) => made.slice(i * per, (i + 1) * per)), window: windowOf(x) };
}

const pythonOf = (model, name, z) => `import dgmcore\nimport torch

model = dgmcore.load("${model}")
eps = {k: torch.zeros(1, *shape) for k, shape in model.noise_shapes.items()}
eps["${name}"] = torch.tensor([[${z.map(number).join(", ")}]]).view(1, *model.noise_shapes["${name}"])
with torch.no_grad():
    x = model.push(eps)
`;

// --- walks and directions

const STEPS = 9;

function showWalk(view) {
  const { model, kind } = view;
  const ask = view.read({ seed: 0, a: 0, b: 1, d0: 0, d1: 0, d2: 0, d3: 0 });
  const walk = view.canvas("The walk between the two samples");
  const moved = view.canvas("The first sample, moved along its strongest directions");
  const columns = kind === "row" ? 1 : model.event_shape.at(-1) > 100 ? 3 : STEPS;

  async function push() {
    const found = await view.floats("push", { seed: ask.seed, index: ask.a, along: [ask.d0, ask.d1, ask.d2, ask.d3] });
    if (kind === "point") new Plane(moved, { x: found.x[0] - 2, y: found.x[1] - 2, side: 4 }).mark(...found.x);
    else draw(moved, found, 1);
  }

  const turned = view.newest(push);
  const turn = (i) => slider({ label: `direction ${i + 1}`, value: ask[`d${i}`], min: -4, max: 4, limits: [-20, 20], onchange: (value) => {
    view.remember({ [`d${i}`]: value });
    turned();
  } });
  const index = (key, label) => view.slider(key, { label, min: 0, max: 31, limits: [0, 1e6], integer: true });
  return view.show({
    stage: figures("walk", [walk, "from the one sample to the other, on a great circle of noise"],
      [moved, "the first sample, moved along the directions that change it most"]),
    controls: [view.seeds(), index("a", "from sample"), index("b", "to sample"),
      h("fieldset", {}, h("legend", {}, "strongest directions at the first sample"), [0, 1, 2, 3].map(turn))],
    as: { command: () => `dgm interpolate ${model.name} --seed ${ask.seed}` },
    files: { PNG: canvasFile(`${model.name}-walk`, walk) },
    draw: async () => {
      const found = await view.floats("walk", { seed: ask.seed, a: ask.a, b: ask.b, steps: STEPS });
      if (kind === "point") new Plane(walk, windowOf(found.x, 0.4)).lines([pairs(found.x)]).points(found.x, { radius: 3, alpha: 1 });
      else draw(walk, found, columns);
      await push();
    },
  });
}
