// A density, or a critic: a map over the plane, or what it says of a picture. The kind of number is always beside it.

import { floats, json, newest } from "../api.js";
import { button, seeds, slider } from "../controls.js";
import { h, number, say } from "../dom.js";
import { colour, kindOf, mosaic, pixels, Plane, relative, windowOf } from "../draw.js";
import { layout, like } from "../frame.js";
import { canvasFile, share } from "../share.js";
import { asPixels, dropZone } from "./pictures.js";

const KINDS = {
  exact: "an exact log-likelihood",
  lower_bound: "a lower bound of the log-likelihood",
  estimate: "an estimate of the log-likelihood",
  unnormalized: "a log-likelihood up to a constant",
  critic: "a critic's score: higher is more like the data, and it is no likelihood",
};

const kindLine = (kind) => h("p", { class: "kind" }, h("strong", {}, kind.replace("_", " ")), " ", KINDS[kind] ?? "");

export const density = {
  id: "density",
  title: (model) => (model.capabilities.includes("density") ? "Density" : "Score"),
  fits: (model) => ["density", "critic"].some((can) => model.capabilities.includes(can)),
  show: (place, context) => (kindOf(context.model.event_shape) === "point" ? showMap : showScore)(place, context),
};

// --- the plane -----------------------------------------------------------------------------------------

async function showMap(place, { model, state, signal }) {
  const canvas = h("canvas", { class: "plane", role: "img", "aria-label": "The density over the plane", tabIndex: 0 });
  const under = h("output", { class: "where" }, "click a point to score it");
  const kind = h("div", {});
  let zoom = state.number("zoom", 1);
  let point = state.values.has("x") ? [state.number("x", 0), state.number("y", 0)] : null;
  const shared = share({ python: () => scorePython(model.name, JSON.stringify([point ?? [0, 0]])) }, { PNG: canvasFile(`${model.name}-density`, () => canvas) });
  const work = layout(place, {
    stage: canvas,
    below: h("p", { class: "under" }, under),
    controls: [kind, slider({ label: "zoom", value: zoom, min: 0.25, max: 4, onchange: (value) => {
      zoom = value;
      state.set({ zoom: value === 1 ? "" : value });
      draw();
    } }), shared.element],
  });
  let found = null;
  let plane = null;
  let home = null;

  function paint() {
    plane = new Plane(canvas, found.window).clear().heat(found.values, found.shape[0]);
    if (point) plane.mark(...point);
    kind.replaceChildren(kindLine(found.kind));
  }

  const draw = newest(() => work.run(async () => {
    home ??= await square(model, signal);
    const side = home.side / zoom;
    const window = { x: home.x + (home.side - side) / 2, y: home.y + (home.side - side) / 2, side };
    for (const grid of [40, 128]) {
      const began = performance.now();
      const logs = await floats("api/density", { model: model.name, ...window, grid }, signal);
      found = { ...logs, window, values: relative(logs.x) };
      paint();
      if (performance.now() - began > 800) break; // the finer one would take ten times as long
    }
  }, signal));

  async function judge() {
    const { values, kind: what, unit } = await json("api/score", { model: model.name, data: [point] }, signal);
    under.textContent = `(${point.map((v) => v.toFixed(2)).join(", ")}): ${number(values[0])} ${unit}, ${what.replace("_", " ")}`;
    say(under.textContent);
  }

  function choose(at) {
    point = at.map((value) => Number(value.toFixed(3)));
    state.set({ x: point[0], y: point[1] });
    paint();
    work.run(judge, signal);
  }

  canvas.addEventListener("click", (event) => choose(plane.under(event)));
  canvas.addEventListener("keydown", (event) => {
    const step = plane.window.side / 50;
    const move = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] }[event.key];
    if (!move) return;
    event.preventDefault();
    const from = point ?? [plane.window.x + plane.window.side / 2, plane.window.y + plane.window.side / 2];
    choose([from[0] + move[0], from[1] + move[1]]);
  });
  addEventListener("themechange", () => found && paint(), { signal });
  await draw();
  if (point) await work.run(judge, signal);
}

// The square around the model's samples; of what draws none, one about the origin.
async function square(model, signal) {
  if (!model.capabilities.includes("generator")) return { x: -4, y: -4, side: 8 };
  return windowOf((await floats("api/sample", { model: model.name, n: 500 }, signal)).x, 0.25);
}

const scorePython = (name, data) => `import dgmcore\n\nmodel = dgmcore.load("${name}")\nprint(dgmcore.score(model, ${data}))\n`;

// --- pictures ------------------------------------------------------------------------------------------

async function showScore(place, { model, models, state, signal }) {
  const image = kindOf(model.event_shape) === "image";
  const canvas = h("canvas", { class: "pixels", role: "img", "aria-label": "What is scored" });
  const answer = h("div", { class: "answer" });
  const source = like(model, models, "generator")[0]?.name;
  const ask = { seed: state.number("seed", 0) };
  const shared = share({ command: () => `dgm score ${model.name} ${image ? "picture.png" : model.dataset}` });
  const work = layout(place, {
    stage: canvas,
    below: answer,
    controls: [
      image && dropZone(model, (pixels_) => judge({ pixels: pixels_ })),
      source && h("p", { class: "note" }, `Or score a sample of ${source}:`),
      source && seeds(ask.seed, (seed) => sample(seed)),
      image && button("noise, for comparison", () => judge({ pixels: asPixels(scatter()) })),
      shared.element,
    ],
  });

  function scatter() {
    const size = model.event_shape.reduce((a, b) => a * b);
    return { x: Float32Array.from({ length: size }, () => Math.random()), range: [0, 1] };
  }

  const sample = newest((seed) => work.run(async () => {
    ask.seed = seed;
    state.set({ seed: seed || "" });
    const found = await floats("api/sample", { model: source, n: 1, seed }, signal);
    await show(found, image && found.range ? { pixels: asPixels(found) } : { data: nested(found.x, model.event_shape) });
  }, signal));

  const judge = newest((data) => work.run(() => show(null, data), signal));

  async function show(found, data) {
    const given = data.pixels ? bytesOf(data.pixels, model.event_shape) : found;
    mosaic(canvas, pixels(given), 1);
    const { kind, unit, values, bits_per_dim, dequantized } = await json("api/score", { model: model.name, ...data }, signal);
    answer.replaceChildren(h("p", { class: "big" }, number(values[0]), h("small", {}, ` ${unit}`)), kindLine(kind),
      bits_per_dim === null ? "" : h("p", { class: "note" }, `${number(bits_per_dim)} bits per dimension${dequantized ? ", with uniform dequantisation" : ""}`));
    say(`${number(values[0])} ${unit}, ${kind}`);
  }

  if (source) await sample(ask.seed);
  else answer.replaceChildren(h("p", { class: "note" }, "Drop a picture to score it."));
}

function bytesOf(base64, shape) {
  return { x: Float32Array.from(atob(base64), (c) => c.charCodeAt(0)), shape: [1, ...shape], range: [0, 255] };
}

function nested(x, shape) {
  if (shape.length === 1) return [[...x]];
  const size = shape.slice(1).reduce((a, b) => a * b);
  const split = (values, [n, ...rest]) => rest.length
    ? Array.from({ length: n }, (_, i) => split(values.slice((i * values.length) / n, ((i + 1) * values.length) / n), rest))
    : [...values];
  return size && [split(x, shape)];
}
