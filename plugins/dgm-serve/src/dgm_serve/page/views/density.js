// A density, or a critic: a map over the plane, or what it says of a picture. The kind of number is always beside it.

import { button, h, note, number } from "../dom.js";
import { draw, plane, steer, under, wider } from "../draw.js";
import { source } from "./pictures.js";

const words = (kind) => kind.replace("_", " ");
const kindLine = ({ kind, meaning }) => h("p.note.kind", h("strong", words(kind)), " ", meaning);

export const show = (view) => (view.kind === "point" ? showMap : showScore)(view);

async function showMap(view) {
  const ask = view.read({ x: null, y: null });
  const canvas = view.canvas("The density over the plane", { tabIndex: 0 });
  const answer = h("output.where", "click a point to score it");
  const kind = h("div");
  let window = null;

  // The square around the model's samples; of what draws none, one about the origin.
  const home = view.model.generators.includes(view.model.name) ? wider((await view.floats("sample", { n: 500 })).window, 0.12) : { x: -4, y: -4, side: 8 };

  const judge = view.newest(async () => {
    if (ask.x === null) return;
    const { values, kind, unit } = await view.json("score", { data: [[ask.x, ask.y]] });
    answer.textContent = `(${ask.x.toFixed(2)}, ${ask.y.toFixed(2)}): ${number(values[0])} ${unit}, ${words(kind)}`;
  });

  function choose(at) {
    const [x, y] = at.map((value) => Number(value.toFixed(3)));
    view.remember({ x, y });
    canvas.paint();
    judge();
  }

  steer(canvas, {
    click: (share) => choose(under(window, share)),
    arrow: (direction) => {
      const from = ask.x === null ? under(window, [0.5, 0.5]) : [ask.x, ask.y];
      choose(from.map((value, i) => value + (direction[i] * window.side) / 50));
    },
  });

  await view.show({
    stage: canvas,
    below: h("p.under", answer),
    controls: [kind, view.controls()],
    hasty: true,
    draw: async (signal) => {
      window = wider(home, (1 / ask.zoom - 1) / 2);
      for (const grid of [40, 128]) {
        const began = performance.now();
        const found = await view.floats("density", { ...window, grid }, signal);
        const top = Math.max(...found.x);
        const values = found.x.map((value) => (top === -Infinity ? 0 : Math.exp(value - top)));
        kind.replaceChildren(kindLine(found));
        plane(canvas, window, (it) => {
          it.heat(values, grid);
          if (ask.x !== null) it.mark(ask.x, ask.y);
        });
        if (performance.now() - began > 8000) break; // the finer one would take ten times as long
      }
    },
  });
  await judge();
}

function showScore(view) {
  const { model } = view;
  const canvas = view.canvas("What is scored");
  const answer = h("div.answer", { role: "status" }, note("Drop a picture to score it."));
  const { controls, draw: sample } = source(view, 1, judge);

  async function judge(found, data) {
    draw(canvas, found, 1);
    const said = await view.json("score", data);
    const { unit, values: [value], bits_per_dim: bits, dequantized } = said;
    answer.replaceChildren(h("p.big", number(value), h("small", ` ${unit}`)), kindLine(said),
      bits === null ? "" : note(`${number(bits)} bits per dimension${dequantized ? ", with uniform dequantisation" : ""}`));
  }

  const noise = view.newest(async () => {
    const length = model.event_shape.reduce((a, b) => a * b);
    const x = Uint8Array.from({ length }, () => 256 * Math.random());
    await judge({ x, shape: [1, ...model.event_shape], range: [0, 255] }, { pixels: x.toBase64() });
  });
  return view.show({ stage: canvas, below: answer, controls: [controls, view.kind === "image" && button("noise, for comparison", noise)], draw: sample });
}
