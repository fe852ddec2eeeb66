// An encoder: a picture, or a sample, through its code and back.

import { figures, note, number } from "../dom.js";
import { draw, pairs, Plane, windowOf } from "../draw.js";
import { can } from "../frame.js";
import { canvasFile } from "../share.js";
import { source } from "./pictures.js";

export const title = "Reconstruct";
export const lead = "Data go through their code and back: what is lost on the way?";
export const fits = (model) => can(model, "encoder");

export function show(view) {
  const { model, kind } = view;
  const canvases = [view.canvas("What goes in"), view.canvas("What comes back")];
  const error = note();
  const { controls, draw: sample } = source(view, kind === "point" ? 300 : 9, async (_, data) => {
    const { x, shape, range } = await view.floats("reconstruct", data);
    const half = x.length / 2;
    const halves = [x.subarray(0, half), x.subarray(half)];
    if (kind === "point") paint(...halves);
    else halves.forEach((values, i) => draw(canvases[i], { x: values, shape: shape.slice(1), range }));
    const squares = halves[0].reduce((sum, value, i) => sum + (value - halves[1][i]) ** 2, 0);
    error.textContent = `root mean square error ${number(Math.sqrt(squares / half))}${range ? ` in [${range.join(", ")}]` : ""}`;
  });

  function paint(before, after) {
    const window = windowOf(before, 0.2);
    const ends = pairs(after);
    new Plane(canvases[0], window).points(before, { alpha: 0.8 });
    new Plane(canvases[1], window).lines(pairs(before).map((start, i) => [start, ends[i]])).points(after, { alpha: 0.8 });
  }

  return view.show({
    stage: figures("pair", [canvases[0], "in"], [canvases[1], "and back"]),
    controls: [controls, error],
    as: { command: () => `dgm reconstruct ${model.name} ${kind === "image" ? "picture.png" : model.dataset}` },
    files: { PNG: canvasFile(`${model.name}-reconstruction`, canvases[1]) },
    draw: sample,
  });
}
