// A generator: samples by seed; one can be locked, and watched while the options change.

import { floats, newest } from "../api.js";
import { options, seeds, slider } from "../controls.js";
import { h, say } from "../dom.js";
import { kindOf, mosaic, pixels, Plane, windowOf } from "../draw.js";
import { layout } from "../frame.js";
import { sampleCommand, sampleFile, samplePython, share } from "../share.js";

export const samples = {
  id: "samples",
  title: "Samples",
  fits: (model) => model.capabilities.includes("generator"),

  async show(place, { model, state, signal }) {
    const kind = kindOf(model.event_shape);
    const usual = kind === "point" ? 2000 : kind === "row" ? 64 : model.event_shape.at(-1) > 100 ? 4 : 16;
    const ask = { model: model.name, n: state.number("n", usual), seed: state.number("seed", 0), options: state.options() };
    let locked = state.number("lock", -1);

    const stage = new SampleGrid(kind, (index) => lock(index));
    const shared = share({ command: () => sampleCommand(ask), python: () => samplePython(ask) }, {
      PNG: sampleFile(() => `${model.name}-seed${ask.seed}`, () => ask, "png"),
      npz: sampleFile(() => `${model.name}-seed${ask.seed}`, () => ask, "npz"),
    });
    const lockLine = h("p", { class: "note" });
    const work = layout(place, {
      stage: stage.element,
      controls: [
        seeds(ask.seed, (seed) => change({ seed })),
        slider({ label: "samples", value: ask.n, min: 1, max: kind === "point" ? 10000 : 64, limits: [1, kind === "point" ? 50000 : 400], integer: true, onchange: (n) => change({ n }) }),
        ...options(model.options_schema, ask.options, () => change({})),
        kind !== "point" && lockLine,
        shared.element,
      ],
    });

    const draw = newest(() => work.run(async () => {
      const one = locked >= 0 ? { n: 1, start: locked } : {};
      stage.draw(await floats("api/sample", { ...ask, ...one }, signal), locked);
      say(locked >= 0 ? `sample ${locked} of seed ${ask.seed}` : `${ask.n} samples of seed ${ask.seed}`);
    }, signal));

    function change(values) {
      Object.assign(ask, values);
      state.set({ seed: ask.seed || "", n: ask.n === usual ? "" : ask.n, lock: locked >= 0 ? locked : "" }, ask.options);
      lockLine.replaceChildren(...(locked >= 0
        ? [`Sample ${locked} is locked: seed and options change it alone. `, h("button", { type: "button", onclick: () => lock(-1) }, "unlock")]
        : ["Click a sample, or use the arrows and Enter, to lock it."]));
      shared.refresh();
      return draw();
    }

    function lock(index) {
      locked = locked >= 0 ? -1 : index;
      change({});
    }

    addEventListener("themechange", draw, { signal });
    await change({});
  },
};

// Samples as a mosaic or as points; a sample can be chosen by a click, or by arrows and Enter.
export class SampleGrid {
  constructor(kind, onchoose, label = "Samples") {
    this.kind = kind;
    this.canvas = h("canvas", { class: kind === "point" ? "plane" : "pixels", role: "img", "aria-label": label });
    this.frame = h("div", { class: "pick", hidden: true });
    this.element = h("div", { class: "mosaic" }, this.canvas, this.frame);
    if (kind === "point" || !onchoose) return;
    this.canvas.tabIndex = 0;
    this.canvas.addEventListener("click", (event) => {
      const box = this.canvas.getBoundingClientRect();
      const column = Math.floor(((event.clientX - box.left) / box.width) * this.columns);
      const index = Math.floor(((event.clientY - box.top) / box.height) * this.rows) * this.columns + column;
      if (index < this.n) onchoose(index);
    });
    this.canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns }[event.key];
      if (step) this.mark(Math.max(0, Math.min(this.n - 1, (this.marked ?? -step) + step)));
      else if (event.key === "Enter") onchoose(this.marked ?? 0);
      else return;
      event.preventDefault();
    });
    this.canvas.addEventListener("blur", () => (this.frame.hidden = true));
  }

  draw(found, alone = -1) {
    this.n = found.shape[0];
    this.element.classList.toggle("alone", alone >= 0);
    if (this.kind === "point") {
      this.plane = new Plane(this.canvas, windowOf(found.x)).clear().points(found.x);
    } else {
      Object.assign(this, mosaic(this.canvas, pixels(found)));
    }
  }

  // Shows a frame around a sample.
  mark(index) {
    this.marked = index;
    const place = { left: index % this.columns, top: Math.floor(index / this.columns) };
    this.frame.hidden = false;
    this.frame.style.left = `${(100 * place.left) / this.columns}%`;
    this.frame.style.top = `${(100 * place.top) / this.rows}%`;
    this.frame.style.width = `${100 / this.columns}%`;
    this.frame.style.height = `${100 / this.rows}%`;
    say(`sample ${index}`);
  }
}
