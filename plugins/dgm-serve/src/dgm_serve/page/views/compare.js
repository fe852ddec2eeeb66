// Two models, side by side, from the same seeds.

import { figures } from "../dom.js";
import { draw } from "../draw.js";
import { can, like } from "../frame.js";
import { canvasFile, sampleCommand } from "../share.js";

const others = (model, models) => like(model, models, "generator").filter(({ name }) => name !== model.name);

export const title = "Compare";
export const fits = (model, models) => can(model, "generator") && others(model, models).length > 0;

export function show(view) {
  const { model, models, kind } = view;
  const found = others(model, models);
  const ask = view.read({ n: kind === "point" ? 1000 : 16, seed: 0, with: "" });
  ask.with ||= found[0].name;
  const asked = () => [model.name, ask.with].map((name) => ({ ...view.asked(), model: name, options: {} }));
  const canvases = [view.canvas(model.name), view.canvas("the other")];
  const pair = figures("pair", [canvases[0], model.name], [canvases[1], ask.with]);
  return view.show({
    stage: pair,
    controls: [view.modelChoice("with", "with", found), view.seeds(), view.count(kind === "point" ? 5000 : 64)],
    as: { command: () => asked().map(sampleCommand).join("\n") },
    files: { PNG: canvasFile(model.name, canvases[0]), "other PNG": canvasFile("other", canvases[1]) },
    draw: async () => {
      pair.querySelector("figure:last-child figcaption").textContent = ask.with;
      const both = await Promise.all(asked().map((one) => view.floats("sample", one)));
      both.forEach((samples, i) => draw(canvases[i], samples));
    },
  });
}
