// Training in the plane: draw points, choose a model of which to train a new one, and watch it fit.

import { events } from "../api.js";
import { button, clamp, figures, floatsOf, fromBase64, h, note, number, say, toBase64 } from "../dom.js";
import { chart, Plane, steer } from "../draw.js";
import { can } from "../frame.js";
import { python } from "../share.js";

const WINDOW = { x: -2, y: -2, side: 4 };

export const title = "Train";
export const lead = "Draw points, and watch a new model of this kind learn where they are.";
export const fits = (model) => String(model.event_shape) === "2" && can(model, "generator", "density") && model.phases.length > 0 &&
  model.calls.includes("train") && Object.values(model.parts).every((part) => typeof part !== "string");

export function show(view) {
  const { model, signal } = view;
  const ask = view.read({ learning_rate: 1e-3, phase: model.phases[0], points: "" });
  ask.points ||= packed(shapes.spiral());
  let points = unpacked(ask.points);
  let [run, running, last, losses] = [null, null, null, []];

  const canvas = view.canvas("The points, and what the model has learnt", { class: "plane draw" });
  const loss = h("div", { class: "chart", role: "img", "aria-label": "The loss" });
  const progress = h("output");
  const go = button("train", () => (running ? pause() : start()), { class: "main", "data-play": "" });

  function paint() {
    const plane = new Plane(canvas, WINDOW);
    if (last?.density) plane.heat(floatsOf(last.density), last.grid);
    if (last?.points) plane.points(floatsOf(last.points), { fill: plane.colours.accent, alpha: 0.5 });
    plane.points(points.flat(), { alpha: 0.9, radius: 2 });
    chart(loss, { values: losses });
  }

  // Begins anew; with the points as whoever gets the address will see them.
  function reset(made = points) {
    pause();
    [run, last, losses] = [null, null, []];
    view.remember({ points: packed(made) });
    points = unpacked(ask.points);
    progress.textContent = `${points.length} points`;
    go.textContent = "train";
    paint();
  }

  function pause() {
    running?.abort();
    running = null;
    go.textContent = run ? "go on" : "train";
  }

  async function start() {
    const mine = (running = new AbortController());
    go.textContent = "pause";
    if (!run) progress.textContent = "starting …";
    await view.run(async () => {
      const { learning_rate, phase } = ask;
      run ??= (await view.json("train", { learning_rate, phase, points })).run;
      for await (const { data } of events(`api/train/${run}`, mine.signal)) {
        last = data;
        if (data.loss !== null) losses.push(data.loss);
        progress.textContent = `step ${data.step}${data.loss === null ? "" : `, loss ${number(data.loss)}`}`;
        paint();
      }
    }, mine.signal);
    if (running === mine) pause();
  }

  // Four points near the pointer.
  function dot(share) {
    if (points.length >= 5000) return;
    if (run) reset();
    const spread = () => (Math.random() + Math.random() - 1) * 0.12;
    const at = new Plane(canvas, WINDOW).under(share);
    for (let i = 0; i < 4; i++) points.push(at.map((value) => clamp(value + spread(), -2, 2)));
    paint();
  }

  steer(canvas, { move: dot, end: () => (reset(), say(`${points.length} points`)) });
  signal.addEventListener("abort", pause);
  return view.show({
    stage: canvas,
    below: [h("div", { class: "player" }, go, button("start again", () => reset()), progress), figures("energy", [loss, "loss"])],
    controls: [
      note("Draw on the plane with the pointer, or take:"),
      h("div", { class: "buttons" }, Object.entries(shapes).map(([name, make]) => button(name, () => reset(make()))), button("nothing", () => reset([]))),
      model.phases.length > 1 && view.choice("phase", "trained by", model.phases.map((name) => [name])),
      view.slider("learning_rate", { label: "learning rate", min: 1e-4, max: 1e-2, step: 1e-4, limits: [1e-6, 1] }),
    ],
    as: { python: () => pythonOf(model, ask) },
    files: { "points as .csv": async () => ["points.csv", new Blob([`x0,x1\n${points.map((point) => point.map((v) => v.toFixed(4))).join("\n")}\n`])] },
    paint,
    draw: async () => reset(),
  });
}

// --- points

// Points at [x, y, width], from numbers that look random and are always the same.
function cloud(at) {
  let seed = 7;
  const next = () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  const normal = () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
  return Array.from({ length: 400 }, (_, i) => {
    const [x, y, width] = at(next(), i);
    return [x + width * normal(), y + width * normal()].map((v) => clamp(v, -2, 2));
  });
}

const polar = (radius, angle, width) => [radius * Math.cos(angle), radius * Math.sin(angle), width];

const shapes = {
  spiral: () => cloud((u) => polar(0.17 * (9 * Math.sqrt(u) + 1), 9 * Math.sqrt(u) + 1, 0.05)),
  ring: () => cloud((u) => polar(1.3, 2 * Math.PI * u, 0.08)),
  blobs: () => cloud((u, i) => polar(1.2, (2 * Math.PI * (i % 5)) / 5, 0.15)),
};

// Points in an address: two bytes for each coordinate.
const packed = (points) => toBase64(new Uint8Array(Int16Array.from(points.flat(), (value) => value * 16000).buffer));

function unpacked(text) {
  try {
    const values = [...new Int16Array(fromBase64(text).buffer)].map((value) => value / 16000);
    return Array.from({ length: values.length / 2 }, (_, i) => values.slice(2 * i, 2 * i + 2));
  } catch {
    return []; // a damaged address
  }
}

const pythonOf = (model, ask) => `import dgmcore

folder = dgmcore.train({
    "schema": 1, "name": "drawn", "license": "of the points", "data": {"dataset": "points.csv"},
    "architecture": "${model.architecture}",
    "config": ${python(model.config)},
    "phases": [{"phase": "${ask.phase}", "batch_size": 256, "steps": 2000, "optimizer": {"lr": ${ask.learning_rate}}, "clip_norm": 5.0}],
})
`;
