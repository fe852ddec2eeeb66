// Two models, side by side, from the same seeds.

import { figures } from "../dom.js";
import { draw } from "../draw.js";

export function show(view) {
  const { ask, model } = view;
  const canvases = [view.canvas(model.name), view.canvas("the other")];
  const pair = figures("pair", [canvases[0], model.name], [canvases[1], ask.with]);
  return view.show({
    stage: pair,
    draw: async () => {
      const { n, seed } = ask;
      pair.querySelector("figure:last-child figcaption").textContent = ask.with;
      const both = await Promise.all([model.name, ask.with].map((name) => view.floats("sample", { model: name, n, seed })));
      both.forEach((samples, i) => draw(canvases[i], samples));
      view.hear({ command: both.map(({ command }) => command).join("\n") });
    },
  });
}
