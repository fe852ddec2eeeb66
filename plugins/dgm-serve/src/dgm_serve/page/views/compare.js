// Two models, side by side, from the same seeds.

import { floats, newest } from "../api.js";
import { choice, seeds, slider } from "../controls.js";
import { h } from "../dom.js";
import { kindOf } from "../draw.js";
import { layout, like, named } from "../frame.js";
import { canvasFile, sampleCommand, share } from "../share.js";
import { SampleGrid } from "./samples.js";

const others = (model, models) => like(model, models, "generator").filter((other) => other.name !== model.name);

export const compare = {
  id: "compare",
  title: "Compare",
  fits: (model, models) => model.capabilities.includes("generator") && others(model, models).length > 0,

  async show(place, { model, models, state, signal }) {
    const kind = kindOf(model.event_shape);
    const usual = kind === "point" ? 1000 : 16;
    const found = others(model, models);
    const ask = { n: state.number("n", usual), seed: state.number("seed", 0) };
    let other = state.text("with", found[0].name);
    const grids = [new SampleGrid(kind, null, model.name), new SampleGrid(kind, null, "the other")];
    const title = h("figcaption", {}, other);
    const shared = share({ command: () => [model.name, other].map((name) => sampleCommand({ model: name, ...ask })).join("\n") },
      { PNG: canvasFile(`${model.name}-seed${ask.seed}`, () => grids[0].canvas), "other PNG": canvasFile("other", () => grids[1].canvas) });
    const work = layout(place, {
      stage: h("div", { class: "pair" }, h("figure", {}, grids[0].element, h("figcaption", {}, model.name)), h("figure", {}, grids[1].element, title)),
      controls: [
        choice({ label: "with", value: other, options: named(found, model), onchange: (name) => change({}, name) }),
        seeds(ask.seed, (seed) => change({ seed })),
        slider({ label: "samples", value: ask.n, min: 1, max: kind === "point" ? 5000 : 64, integer: true, onchange: (n) => change({ n }) }),
        shared.element,
      ],
    });

    const draw = newest(() => work.run(async () => {
      const both = await Promise.all([model.name, other].map((name) => floats("api/sample", { model: name, ...ask }, signal)));
      both.forEach((samples, i) => grids[i].draw(samples));
    }, signal));

    function change(values, name = other) {
      Object.assign(ask, values);
      other = title.textContent = name;
      state.set({ with: other, seed: ask.seed || "", n: ask.n === usual ? "" : ask.n });
      shared.refresh();
      return draw();
    }

    addEventListener("themechange", draw, { signal });
    await change({});
  },
};
