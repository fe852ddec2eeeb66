// Training in the plane: draw points, and watch a new model fit them.

import { events } from "../api.js";
import { button, clamp, figures, floatsOf, h, note, number } from "../dom.js";
import { chart, pairs, plane, steer, under } from "../draw.js";

const WINDOW = { x: -2, y: -2, side: 4 };

export function show(view) {
  const { model, signal } = view;
  const ask = view.read({ points: packed(shapes.spiral()) });
  let points = unpacked(ask.points);
  let [run, running, last, losses] = [null, null, null, []];

  const canvas = view.canvas("The points, and what the model has learnt");
  canvas.classList.add("draw");
  const loss = h("div.chart", { role: "img", ariaLabel: "The loss" });
  const progress = h("output");
  const go = button("train", () => (running ? pause() : start()), { className: "main", "data-play": "" });

  function paint() {
    plane(canvas, WINDOW, (it) => {
      if (last?.density) it.heat(floatsOf(last.density), last.grid);
      if (last?.points) it.points(floatsOf(last.points), { fill: "accent", alpha: 0.5 });
      it.points(points.flat(), { alpha: 0.9, radius: 2 });
    });
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
      for await (const { data } of events(`train/${run}`, mine.signal)) {
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
    for (let i = 0; i < 4; i++) points.push(under(WINDOW, share).map((value) => clamp(value + spread(), -2, 2)));
    paint();
  }

  const anew = () => reset();
  steer(canvas, { move: dot, end: anew });
  signal.addEventListener("abort", pause);
  return view.show({
    stage: canvas,
    below: figures("energy", [loss, "loss"]),
    controls: [
      h("div.player", go, button("start again", anew), progress),
      note("Draw on the plane with the pointer, or take:"),
      h("div.buttons", Object.entries(shapes).map(([name, make]) => button(name, () => reset(make())))),
      view.controls(),
    ],
    files: { csv: async () => new Blob(["x0,x1\n", ...points.map((point) => `${point.map((v) => v.toFixed(4))}\n`)]) },
    draw: anew,
  });
}

// 400 points at [radius, angle]: of each, how far it is on the way, and a number; these fill 0 to 1 evenly.
const cloud = (at) => Array.from({ length: 400 }, (_, i) => {
  const [radius, angle] = at(i / 400, (0.618 * i) % 1);
  return [radius * Math.cos(angle), radius * Math.sin(angle)];
});

const shapes = {
  spiral: () => cloud((u, v) => [0.17 + 1.5 * Math.sqrt(u) + 0.2 * v, 9 * Math.sqrt(u) + 1]),
  ring: () => cloud((u, v) => [1.2 + 0.25 * v, 2 * Math.PI * u]),
  blobs: () => cloud((u, v) => [1 + 0.4 * v, 0.4 * Math.PI * (Math.floor(5 * u) + 0.35 * ((5 * u) % 1))]),
  nothing: () => [],
};

// Points in an address: hundredths.
const packed = (points) => points.flat().map((value) => Math.round(100 * value)).join("_");
const unpacked = (text) => pairs(text.split("_").map((value) => value / 100));
