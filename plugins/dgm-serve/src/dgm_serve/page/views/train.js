// Training in the plane: draw points, choose a model of which to train a new one, and watch it fit.

import { decoded, events, json } from "../api.js";
import { button, choice, slider } from "../controls.js";
import { h, number, say } from "../dom.js";
import { chart, colour, Plane } from "../draw.js";
import { layout } from "../frame.js";
import { share } from "../share.js";

const WINDOW = { x: -2, y: -2, side: 4 };
const TRAINABLE = ["generator", "density"];

const fits = (model) => model.available && model.plugin && String(model.event_shape) === "2" &&
  TRAINABLE.some((can) => model.capabilities.includes(can));

export const train = {
  id: "train",
  title: "Train",
  lead: "Draw points, and watch a new model of this kind learn where they are.",
  fits: (model) => fits(model) && model.phases.length > 0 && model.calls.includes("train") &&
    Object.values(model.parts).every((part) => typeof part !== "string"),

  async show(place, { model, state, signal }) {
    let points = unpacked(state.text("points", "")) ?? shapes.spiral();
    const ask = { model: model.name, learning_rate: state.number("rate", 1e-3), phase: state.text("phase", model.phases[0]) };
    let [run, running, last] = [null, null, null];
    const losses = [];

    const canvas = h("canvas", { class: "plane draw", role: "img", "aria-label": "The points, and what the model has learnt" });
    const loss = h("canvas", { class: "chart", role: "img", "aria-label": "The loss" });
    const progress = h("output", {});
    const go = button("train", () => (running ? pause() : start()), { class: "main", "data-play": "" });
    const shared = share({ python: () => python(model, ask) }, { "points as .csv": async () => ["points.csv", new Blob([csv(points)])] });
    const work = layout(place, {
      stage: canvas,
      below: [h("div", { class: "player" }, go, button("start again", reset), progress), h("figure", { class: "energy" }, loss, h("figcaption", {}, "loss"))],
      controls: [
        h("p", { class: "note" }, "Draw on the plane with the pointer, or take:"),
        h("div", { class: "buttons" }, Object.entries(shapes).map(([name, make]) => button(name, () => take(make()))), button("nothing", () => take([]))),
        model.phases.length > 1 && choice({ label: "trained by", value: ask.phase, options: model.phases.map((name) => [name]), onchange: (phase) => change({ phase }) }),
        slider({ label: "learning rate", value: ask.learning_rate, min: 1e-4, max: 1e-2, step: 1e-4, limits: [1e-6, 1], onchange: (learning_rate) => change({ learning_rate }) }),
        shared.element,
      ],
    });
    const plane = new Plane(canvas, WINDOW);

    function paint() {
      plane.clear();
      if (last?.density) plane.heat(last.density, last.grid);
      if (last?.points) plane.points(last.points, { fill: colour("accent"), alpha: 0.5 });
      plane.points(points.flat(), { alpha: 0.9, radius: 2 });
      if (losses.length) chart(loss, [{ values: losses }]);
    }

    function take(made) {
      points = made;
      reset();
    }

    function change(values) {
      Object.assign(ask, values);
      reset();
    }

    function reset() {
      pause();
      [run, last] = [null, null];
      losses.length = 0;
      points = unpacked(packed(points)) ?? []; // as whoever gets the address will see them
      progress.textContent = `${points.length} points`;
      state.set({ points: packed(points), rate: ask.learning_rate === 1e-3 ? "" : ask.learning_rate, phase: ask.phase === model.phases[0] ? "" : ask.phase });
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
      await work.run(async () => {
        run ??= (await json("api/train", { ...ask, points }, mine.signal)).run;
        for await (const { data } of events(`api/train/${run}`, undefined, mine.signal)) {
          last = { ...data, points: data.points && decoded(data.points), density: data.density && decoded(data.density) };
          if (data.loss !== null) losses.push(data.loss);
          progress.textContent = `step ${data.step}${data.loss === null ? "" : `, loss ${number(data.loss)}`}`;
          paint();
        }
      }, mine.signal);
      if (running === mine) pause();
    }

    function dot(event) {
      if (points.length >= 5000) return;
      if (run) reset();
      for (let i = 0; i < 4; i++) {
        const [x, y] = plane.under(event);
        const spread = () => (Math.random() + Math.random() - 1) * 0.12;
        points.push([x + spread(), y + spread()].map((v) => Math.max(-2, Math.min(2, v))));
      }
      paint();
    }
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      dot(event);
    });
    canvas.addEventListener("pointermove", (event) => event.buttons && dot(event));
    canvas.addEventListener("pointerup", () => (reset(), say(`${points.length} points`)));
    addEventListener("themechange", paint, { signal });
    signal.addEventListener("abort", pause);
    reset();
  },
};

// --- points ----------------------------------------------------------------------------------------------

// A sequence that looks random and is always the same, so that an address shows the same points.
function random(seed) {
  return () => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return seed / 2 ** 32;
  };
}

function cloud(n, at) {
  const next = random(7);
  const normal = () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
  return Array.from({ length: n }, (_, i) => {
    const [x, y, width] = at(next(), i);
    return [x + width * normal(), y + width * normal()].map((v) => Math.max(-2, Math.min(2, v)));
  });
}

const shapes = {
  spiral: () => cloud(400, (u) => {
    const angle = 9 * Math.sqrt(u) + 1;
    return [0.17 * angle * Math.cos(angle), 0.17 * angle * Math.sin(angle), 0.05];
  }),
  ring: () => cloud(400, (u) => [1.3 * Math.cos(2 * Math.PI * u), 1.3 * Math.sin(2 * Math.PI * u), 0.08]),
  blobs: () => cloud(400, (u, i) => [1.2 * Math.cos(1.2566 * (i % 5)), 1.2 * Math.sin(1.2566 * (i % 5)), 0.15]),
};

// Points in an address: two letters for each coordinate, to a thousandth.
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

function packed(points) {
  return points.flat().map((v) => {
    const k = Math.round(((v + 2) / 4) * 4095);
    return LETTERS[k >> 6] + LETTERS[k & 63];
  }).join("");
}

function unpacked(text) {
  if (!text || text.length % 4) return null;
  const values = text.match(/../g).map((pair) => ((LETTERS.indexOf(pair[0]) * 64 + LETTERS.indexOf(pair[1])) / 4095) * 4 - 2);
  return Array.from({ length: values.length / 2 }, (_, i) => [values[2 * i], values[2 * i + 1]]);
}

const csv = (points) => `x0,x1\n${points.map((point) => point.map((v) => v.toFixed(4)).join(",")).join("\n")}\n`;

const python = (model, ask) => `import dgmcore

folder = dgmcore.train({
    "schema": 1, "name": "drawn", "license": "of the points", "data": {"dataset": "points.csv"},
    "architecture": "${model.architecture}",
    "config": ${JSON.stringify(model.config).replaceAll("true", "True").replaceAll("false", "False").replaceAll("null", "None")},
    "phases": [{"phase": "${ask.phase}", "batch_size": 256, "steps": 2000, "optimizer": {"lr": ${ask.learning_rate}}, "clip_norm": 5.0}],
})
`;
