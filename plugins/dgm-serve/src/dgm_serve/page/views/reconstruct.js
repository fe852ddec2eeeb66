// An encoder: a picture, or a sample, through its code and back.

import { figures, note, number } from "../dom.js";
import { draw, pairs, plane } from "../draw.js";
import { source } from "./pictures.js";

export function show(view) {
  const { kind } = view;
  const canvases = [view.canvas("What goes in"), view.canvas("What comes back")];
  const error = note();
  const { controls, draw: sample } = source(view, kind === "point" ? 300 : 9, async (_, data) => {
    const found = await view.floats("reconstruct", data);
    const { x, shape: [, ...shape], range, window } = found;
    const half = x.length / 2;
    const halves = [x.subarray(0, half), x.subarray(half)];
    if (kind === "point") paint(window, ...halves);
    else halves.forEach((values, i) => draw(canvases[i], { x: values, shape, range }));
    error.textContent = `root mean square error ${number(found.error)}${range ? ` in [${range.join(", ")}]` : ""}`;
  });

  function paint(window, before, after) {
    const ends = pairs(after);
    const lines = [[], pairs(before).map((start, i) => [start, ends[i]])];
    [before, after].forEach((x, i) => plane(canvases[i], window, (it) => it.lines(lines[i]).points(x, { alpha: 0.8 })));
  }

  return view.show({ stage: figures("pair", [canvases[0], "in"], [canvases[1], "and back"]), controls: [controls, error], draw: sample });
}
