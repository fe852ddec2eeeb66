// An encoder: a picture, or a sample, through its code and back.

import { floats, newest } from "../api.js";
import { seeds } from "../controls.js";
import { h, number } from "../dom.js";
import { colour, kindOf, mosaic, pixels, Plane, windowOf } from "../draw.js";
import { layout, like } from "../frame.js";
import { canvasFile, share } from "../share.js";
import { asPixels, dropZone } from "./pictures.js";

export const reconstruct = {
  id: "reconstruct",
  title: "Reconstruct",
  lead: "Data go through their code and back: what is lost on the way?",
  fits: (model) => model.capabilities.includes("encoder"),

  async show(place, { model, models, state, signal }) {
    const kind = kindOf(model.event_shape);
    const source = like(model, models, "generator")[0]?.name;
    const canvases = ["What goes in", "What comes back"].map((label) => h("canvas", { class: kind === "point" ? "plane" : "pixels", role: "img", "aria-label": label }));
    const error = h("p", { class: "note", role: "status" });
    const shared = share({ command: () => `dgm reconstruct ${model.name} ${kind === "image" ? "picture.png" : model.dataset}` },
      { PNG: canvasFile(`${model.name}-reconstruction`, () => canvases[1]) });
    const work = layout(place, {
      stage: h("div", { class: "pair" }, canvases.map((canvas, i) => h("figure", {}, canvas, h("figcaption", {}, ["in", "and back"][i])))),
      controls: [
        kind === "image" && dropZone(model, (chosen) => draw({ pixels: chosen })),
        source && h("p", { class: "note" }, kind === "image" ? `Or samples of ${source}:` : `Samples of ${source}:`),
        source && seeds(state.number("seed", 0), (seed) => {
          state.set({ seed: seed || "" });
          draw({ seed });
        }),
        error,
        shared.element,
      ],
    });

    const draw = newest((given) => work.run(async () => {
      const data = given.pixels ? given : await drawn(given.seed);
      const { x, shape, range } = await floats("api/reconstruct", { model: model.name, ...data }, signal);
      const [half, n] = [x.length / 2, shape[1]];
      const halves = [x.slice(0, half), x.slice(half)];
      if (kind === "point") paint(...halves);
      else halves.forEach((values, i) => mosaic(canvases[i], pixels({ x: values, shape: [n, ...shape.slice(2)], range })));
      const squares = halves[0].reduce((sum, value, i) => sum + (value - halves[1][i]) ** 2, 0);
      error.textContent = `root mean square error ${number(Math.sqrt(squares / half))}${range ? ` in [${range.join(", ")}]` : ""}`;
    }, signal));

    async function drawn(seed) {
      const found = await floats("api/sample", { model: source, n: kind === "point" ? 300 : 9, seed }, signal);
      if (kind === "image" && found.range) return { pixels: asPixels(found) };
      const d = model.event_shape[0];
      return { data: Array.from({ length: found.shape[0] }, (_, i) => [...found.x.slice(i * d, (i + 1) * d)]) };
    }

    function paint(before, after) {
      const window = windowOf(before, 0.2);
      [before, after].forEach((points, i) => {
        const plane = new Plane(canvases[i], window).clear();
        if (i) for (let k = 0; k < points.length; k += 2) plane.line([[before[k], before[k + 1]], [points[k], points[k + 1]]], colour("accent"), 1);
        plane.points(points, { alpha: 0.8 });
      });
    }

    if (source) await draw({ seed: state.number("seed", 0) });
  },
};
