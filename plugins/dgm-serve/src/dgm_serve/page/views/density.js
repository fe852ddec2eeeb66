// A density, or a critic: a map over the plane, or what it says of a picture. The kind of number is always beside it.

import { button, h, note, number, say } from "../dom.js";
import { arrows, draw, Plane, windowOf, within } from "../draw.js";
import { can } from "../frame.js";
import { canvasFile } from "../share.js";
import { asPixels, source } from "./pictures.js";

const KINDS = {
  exact: "an exact log-likelihood",
  lower_bound: "a lower bound of the log-likelihood",
  estimate: "an estimate of the log-likelihood",
  unnormalized: "a log-likelihood up to a constant",
  critic: "a critic's score: higher is more like the data, and it is no likelihood",
};

const words = (kind) => kind.replace("_", " ");
const kindLine = (kind) => h("p", { class: "note kind" }, h("strong", {}, words(kind)), " ", KINDS[kind] ?? "");

export const title = (model) => (can(model, "density") ? "Density" : "Score");
export const fits = (model) => can(model, "density", "critic");
export const show = (view) => (view.kind === "point" ? showMap : showScore)(view);

// --- the plane

async function showMap(view) {
  const { model } = view;
  const ask = view.read({ zoom: 1, x: "", y: "" });
  const canvas = view.canvas("The density over the plane", { tabIndex: 0 });
  const under = h("output", { class: "where" }, "click a point to score it");
  const kind = h("div");
  const point = () => [ask.x, ask.y].map(Number);
  let [found, plane] = [];

  // The square around the model's samples; of what draws none, one about the origin.
  const home = can(model, "generator") ? windowOf((await view.floats("sample", { n: 500 })).x, 0.25) : { x: -4, y: -4, side: 8 };

  function paint() {
    if (!found) return;
    plane = new Plane(canvas, found.window).heat(found.values, found.shape[0]);
    if (ask.x !== "") plane.mark(...point());
  }

  const judge = view.newest(async () => {
    const { values, kind, unit } = await view.json("score", { data: [point()] });
    under.textContent = `(${point().map((v) => v.toFixed(2)).join(", ")}): ${number(values[0])} ${unit}, ${words(kind)}`;
    say(under.textContent);
  });

  function choose(at) {
    const [x, y] = at.map((value) => Number(value.toFixed(3)));
    view.remember({ x, y });
    view.sharing.refresh();
    paint();
    judge();
  }

  canvas.addEventListener("click", (event) => choose(plane.under(within(event))));
  arrows(canvas, (direction) => {
    const from = ask.x === "" ? plane.under([0.5, 0.5]) : point();
    choose(from.map((value, i) => value + (direction[i] * plane.window.side) / 50));
  });

  await view.show({
    stage: canvas,
    below: h("p", { class: "under" }, under),
    controls: [kind, view.slider("zoom", { min: 0.25, max: 4 })],
    as: { python: () => `import dgmcore\n\nmodel = dgmcore.load("${model.name}")\nprint(dgmcore.score(model, [[${point()}]]))\n` },
    files: { PNG: canvasFile(`${model.name}-density`, canvas) },
    paint,
    draw: async () => {
      const side = home.side / ask.zoom;
      const window = { x: home.x + (home.side - side) / 2, y: home.y + (home.side - side) / 2, side };
      for (const grid of [40, 128]) {
        const began = performance.now();
        const logs = await view.floats("density", { ...window, grid });
        const top = Math.max(...logs.x);
        found = { ...logs, window, values: logs.x.map((value) => (top === -Infinity ? 0 : Math.exp(value - top))) };
        kind.replaceChildren(kindLine(found.kind));
        paint();
        if (performance.now() - began > 800) break; // the finer one would take ten times as long
      }
    },
  });
  if (ask.x !== "") await judge();
}

// --- pictures

function showScore(view) {
  const { model, kind } = view;
  const image = kind === "image";
  const canvas = view.canvas("What is scored");
  const answer = h("div", { class: "answer" }, note("Drop a picture to score it."));
  const { controls, draw: sample } = source(view, 1, judge);

  async function judge(found, data) {
    draw(canvas, found, 1);
    const { kind, unit, values: [value], bits_per_dim: bits, dequantized } = await view.json("score", data);
    answer.replaceChildren(h("p", { class: "big" }, number(value), h("small", {}, ` ${unit}`)), kindLine(kind),
      bits === null ? "" : note(`${number(bits)} bits per dimension${dequantized ? ", with uniform dequantisation" : ""}`));
    say(`${number(value)} ${unit}, ${kind}`);
  }

  const noise = view.newest(async () => {
    const found = { x: Float32Array.from({ length: model.event_shape.reduce((a, b) => a * b) }, Math.random), shape: [1, ...model.event_shape], range: [0, 1] };
    await judge(found, { pixels: asPixels(found) });
  });
  return view.show({
    stage: canvas,
    below: answer,
    controls: [controls, image && button("noise, for comparison", noise)],
    as: { command: () => `dgm score ${model.name} ${image ? "picture.png" : model.dataset}` },
    files: { PNG: canvasFile(model.name, canvas) },
    draw: sample,
    paint: () => {}, // pictures are the same in the dark
  });
}
