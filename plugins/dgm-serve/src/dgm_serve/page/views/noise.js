// A map of noise: a pad if the noise is a plane; else walks between two samples, and the strongest directions at one.

import { floats, json, newest } from "../api.js";
import { seeds, slider } from "../controls.js";
import { h, number, say } from "../dom.js";
import { colour, kindOf, mosaic, pixels, Plane, windowOf } from "../draw.js";
import { layout } from "../frame.js";
import { canvasFile, share } from "../share.js";

export const noise = {
  id: "noise",
  title: "Noise",
  lead: "Every sample is made from noise. Move the noise, and watch what it makes.",
  fits: (model) => model.capabilities.includes("pushforward"),

  async show(place, context) {
    place.replaceChildren(h("p", { class: "waiting" }, "loading the model …"));
    const { pad } = await json("api/latent", { model: context.model.name }, context.signal);
    await (pad ? showPad : showWalk)(place, { ...context, pad });
  },
};

// --- the pad ------------------------------------------------------------------------------------------

const EDGE = 3; // the pad goes from -3 to 3 standard deviations

async function showPad(place, { model, pad: name, state, signal }) {
  const kind = kindOf(model.event_shape);
  let [u, v] = [state.number("x", 0), state.number("y", 0)];
  const pad = h("canvas", { class: "pad", tabIndex: 0, role: "application", "aria-label": "Pad of noise: move with the arrow keys" });
  const picture = h("canvas", { class: kind === "point" ? "plane" : "pixels", role: "img", "aria-label": "What the noise makes" });
  const map = kind === "point" ? null : h("canvas", { class: "pixels map", role: "presentation" });
  const where = h("output", { class: "where" });
  const shared = share({ python: () => python(model.name, name, [u, v]) }, { PNG: canvasFile(`${model.name}-pad`, () => picture) });
  const work = layout(place, {
    stage: h("div", { class: "pair" }, h("figure", {}, h("div", { class: "padbox" }, map, pad), h("figcaption", {}, "noise ", where)),
      h("figure", {}, picture, h("figcaption", {}, "what it makes"))),
    controls: [h("p", { class: "note" }, "Drag on the pad, or use the arrow keys, with Shift for small steps."), shared.element],
  });
  const plane = new Plane(pad, { x: -EDGE, y: -EDGE, side: 2 * EDGE });
  let lines = null;
  let target = null;

  function drawPad() {
    const size = Math.round(pad.clientWidth * Math.min(2, devicePixelRatio || 1));
    Object.assign(plane, { size, scale: Math.min(2, devicePixelRatio || 1) });
    [pad.width, pad.height] = [size, size];
    if (!map) plane.grid();
    if (lines) for (const line of lines.noise) plane.line(line, colour("accent"), 1, 0.35);
    plane.mark(u, v);
    where.textContent = `(${u.toFixed(2)}, ${v.toFixed(2)})`;
  }

  const follow = newest(async () => {
    const found = await floats("api/push", { model: model.name, z: [[u, v]] }, signal);
    if (kind === "point") drawPoint(found.x);
    else mosaic(picture, pixels(found), 1);
    picture.dataset.at = `${u.toFixed(3)},${v.toFixed(3)}`;
  });

  function drawPoint(point) {
    target.clear();
    for (const line of lines.data) target.line(line, colour("accent"), 1, 0.35);
    target.mark(...point);
  }

  const remember = debounced(() => {
    state.set({ x: Number(u.toFixed(3)) || "", y: Number(v.toFixed(3)) || "" });
    say(`noise ${u.toFixed(1)}, ${v.toFixed(1)}`);
  }, 250);

  function move(x, y) {
    [u, v] = [x, y].map((value) => Math.max(-EDGE, Math.min(EDGE, value)));
    drawPad();
    follow().catch((error) => work.run(() => { throw error; }, signal));
    remember();
  }

  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    move(...plane.under(event));
  });
  pad.addEventListener("pointermove", (event) => event.buttons && move(...plane.under(event)));
  pad.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 0.02 : 0.1;
    const [dx, dy] = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] }[event.key] ?? [];
    if (dx === undefined) return;
    event.preventDefault();
    move(u + dx, v + dy);
  });

  await work.run(async () => {
    if (kind === "point") {
      lines = await gridLines(model, signal);
      target = new Plane(picture, windowOf(lines.flat));
    } else {
      drawMap(map, await floats("api/push", { model: model.name, z: cells(13) }, signal));
    }
    drawPad();
    await follow();
  }, signal);
  addEventListener("themechange", () => (drawPad(), follow()), { signal });
}

// The centres of the cells of the pad, row by row from the top.
function cells(side) {
  const at = (k) => -EDGE + ((k + 0.5) / side) * 2 * EDGE;
  return Array.from({ length: side * side }, (_, i) => [at(i % side), -at(Math.floor(i / side))]);
}

function drawMap(canvas, found) {
  mosaic(canvas, pixels(found), Math.sqrt(found.shape[0]));
}

// Lines of a grid of noise, and where the model takes them.
async function gridLines(model, signal) {
  const [many, per] = [13, 61];
  const at = (k, n) => -EDGE + (k / (n - 1)) * 2 * EDGE;
  const noise = [];
  for (let i = 0; i < many; i++) {
    noise.push(Array.from({ length: per }, (_, k) => [at(i, many), at(k, per)]));
    noise.push(Array.from({ length: per }, (_, k) => [at(k, per), at(i, many)]));
  }
  const { x } = await floats("api/push", { model: model.name, z: noise.flat() }, signal);
  const data = noise.map((line, i) => line.map((_, k) => [x[2 * (i * per + k)], x[2 * (i * per + k) + 1]]));
  return { noise, data, flat: x };
}

const python = (model, name, z) => `import dgmcore\nimport torch

model = dgmcore.load("${model}")
eps = {k: torch.zeros(1, *shape) for k, shape in model.noise_shapes.items()}
eps["${name}"] = torch.tensor([[${z.map(number).join(", ")}]]).view(1, *model.noise_shapes["${name}"])
with torch.no_grad():
    x = model.push(eps)
`;

function debounced(work, wait) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(work, wait);
  };
}

// --- walks and directions -----------------------------------------------------------------------------

const STEPS = 9;

async function showWalk(place, { model, state, signal }) {
  const kind = kindOf(model.event_shape);
  const ask = { seed: state.number("seed", 0), a: state.number("a", 0), b: state.number("b", 1) };
  const along = [0, 1, 2, 3].map((i) => state.number(`d${i}`, 0));
  const canvas = () => h("canvas", { class: kind === "point" ? "plane" : "pixels", role: "img" });
  const [walk, moved] = [canvas(), canvas()];
  walk.setAttribute("aria-label", "The walk between the two samples");
  moved.setAttribute("aria-label", "The first sample, moved along its strongest directions");
  const shared = share({ command: () => `dgm interpolate ${model.name} --seed ${ask.seed}` }, { PNG: canvasFile(`${model.name}-walk`, () => walk) });
  const index = (key, label) => slider({ label, value: ask[key], min: 0, max: 31, limits: [0, 1e6], integer: true, onchange: (value) => change({ [key]: value }) });
  const work = layout(place, {
    stage: h("div", { class: "walk" }, h("figure", {}, walk, h("figcaption", {}, "from the one sample to the other, on a great circle of noise")),
      h("figure", { class: "small" }, moved, h("figcaption", {}, "the first sample, moved along the directions that change it most"))),
    controls: [
      seeds(ask.seed, (seed) => change({ seed })), index("a", "from sample"), index("b", "to sample"),
      h("fieldset", {}, h("legend", {}, "strongest directions at the first sample"),
        along.map((value, i) => slider({ label: `direction ${i + 1}`, value, min: -4, max: 4, limits: [-20, 20], onchange: (v) => turn(i, v) }))),
      shared.element,
    ],
  });

  const draw = newest(() => work.run(async () => {
    const found = await floats("api/walk", { model: model.name, ...ask, steps: STEPS }, signal);
    if (kind === "point") new Plane(walk, windowOf(found.x, 0.4)).clear().line(pairs(found.x), colour("accent")).points(found.x, { radius: 3, alpha: 1 });
    else mosaic(walk, pixels(found), kind === "row" ? 1 : model.event_shape.at(-1) > 100 ? 3 : STEPS);
  }, signal));
  const push = newest(() => work.run(async () => {
    const found = await floats("api/push", { model: model.name, seed: ask.seed, index: ask.a, along }, signal);
    if (kind === "point") new Plane(moved, { x: found.x[0] - 2, y: found.x[1] - 2, side: 4 }).clear().mark(...found.x);
    else mosaic(moved, pixels(found), 1);
  }, signal));

  function change(values) {
    Object.assign(ask, values);
    state.set({ seed: ask.seed || "", a: ask.a || "", b: ask.b === 1 ? "" : ask.b });
    shared.refresh();
    return Promise.all([draw(), push()]);
  }

  function turn(i, value) {
    along[i] = value;
    state.set({ [`d${i}`]: value || "" });
    return push();
  }

  addEventListener("themechange", () => change({}), { signal });
  await change({});
}

const pairs = (x) => Array.from({ length: x.length / 2 }, (_, i) => [x[2 * i], x[2 * i + 1]]);
