// A sampler's way to its samples: to scrub, to play, and in the plane as paths of points.

import { decoded, events } from "../api.js";
import { choice, options, seeds, slider } from "../controls.js";
import { h } from "../dom.js";
import { colour, kindOf, mosaic, pixels, Plane, windowOf } from "../draw.js";
import { layout } from "../frame.js";
import { canvasFile, sampleCommand, samplePython, share } from "../share.js";

export const trajectory = {
  id: "trajectory",
  title: "Trajectory",
  lead: "The sampler goes through many states. Drag the slider to see each.",
  fits: (model) => model.capabilities.includes("trajectory"),

  async show(place, { model, state, signal }) {
    const kind = kindOf(model.event_shape);
    const usual = kind === "point" ? 500 : model.event_shape.at(-1) > 100 ? 1 : 16;
    const ask = { model: model.name, n: state.number("n", usual), seed: state.number("seed", 0), options: state.options() };
    let paths = state.text("paths", "lines");
    const player = new Player(kind, state, signal);
    const shared = share({ command: () => sampleCommand(ask, ` --trajectory ${model.name}.gif`), python: () => samplePython(ask) },
      { PNG: canvasFile(`${model.name}-state`, () => player.canvas) });
    const work = layout(place, {
      stage: player.canvas,
      below: player.bar,
      controls: [
        seeds(ask.seed, (seed) => change({ seed })),
        slider({ label: "samples", value: ask.n, min: 1, max: kind === "point" ? 2000 : 64, integer: true, onchange: (n) => change({ n }) }),
        kind === "point" && choice({ label: "show", value: paths, options: [["lines", "points and paths"], ["points", "points"]], onchange: (value) => {
          player.paths = paths = value;
          state.set({ paths: value === "lines" ? "" : value });
          player.show();
        } }),
        ...options(model.options_schema, ask.options, () => change({})),
        shared.element,
      ],
    });
    player.paths = paths;

    let running = new AbortController();
    signal.addEventListener("abort", () => running.abort());
    async function change(values) {
      Object.assign(ask, values);
      state.set({ seed: ask.seed || "", n: ask.n === usual ? "" : ask.n }, ask.options);
      shared.refresh();
      running.abort();
      running = new AbortController();
      await work.run(() => player.load(events("api/trajectory", ask, running.signal)), running.signal);
    }
    await change({});
  },
};

// Frames that come one by one, a slider over them, and a button that plays them.
export class Player {
  constructor(kind, state, signal, onframe = () => {}) {
    Object.assign(this, { kind, state, onframe, paths: "points", frames: [], at: -1 });
    this.canvas = h("canvas", { class: kind === "point" ? "plane" : "pixels", role: "img", "aria-label": "The state of the sampler" });
    this.range = h("input", { type: "range", min: 0, max: 0, value: 0, "aria-label": "State", oninput: () => this.go(Number(this.range.value)) });
    this.button = h("button", { type: "button", "data-play": "", "aria-label": "Play", onclick: () => this.play() }, "▶");
    this.label = h("output", {});
    this.bar = h("div", { class: "player" }, this.button, this.range, this.label);
    addEventListener("themechange", () => this.show(), { signal });
    signal.addEventListener("abort", () => this.stop());
  }

  // Takes in the events of a trajectory; the address says which state is shown in the end.
  async load(stream) {
    this.stop();
    this.frames = [];
    const wanted = this.state.number("step", -1);
    let meta = null;
    for await (const { name, data } of stream) {
      if (name === "begin") meta = data;
      else if (name === "thin") this.frames = this.frames.filter((frame) => frame.number % data.stride === 0);
      else if (name === "state") {
        this.frames.push(this.frame(data, meta));
        this.range.max = this.frames.length - 1;
        this.at = this.frames.length - 1;
        this.show();
        if (this.frames.length % 8 === 0) await new Promise(requestAnimationFrame);
      }
    }
    this.window = this.kind === "point" ? windowOf(this.frames.at(-1).x, 0.35) : null;
    const found = this.frames.findIndex((frame) => frame.number >= wanted);
    this.at = wanted < 0 || found < 0 ? this.frames.length - 1 : found;
    this.show();
  }

  frame({ x, ...facts }, { shape, range }) {
    const values = decoded(x);
    return { ...facts, x: values, image: this.kind === "point" ? null : pixels({ x: values, shape, range }) };
  }

  show() {
    const frame = this.frames[this.at];
    if (!frame) return;
    this.range.value = this.at;
    this.label.textContent = `state ${frame.number} of ${this.frames.at(-1).number}`;
    if (frame.image) mosaic(this.canvas, frame.image);
    else this.points(frame);
    this.onframe(this.at);
  }

  points(frame) {
    const plane = new Plane(this.canvas, this.window ?? windowOf(this.frames.at(-1).x, 0.35)).clear();
    if (this.paths === "lines") {
      const stroke = colour("accent");
      for (let i = 0; i < Math.min(24, frame.x.length / 2); i++) {
        plane.line(this.frames.slice(0, this.at + 1).map(({ x }) => [x[2 * i], x[2 * i + 1]]), stroke, 1, 0.4);
      }
    }
    plane.points(frame.x);
  }

  go(at) {
    this.stop();
    this.at = at;
    this.show();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.state.set({ step: at === this.frames.length - 1 ? "" : this.frames[at].number }), 250);
  }

  play() {
    if (this.playing) return this.stop();
    if (this.at === this.frames.length - 1) this.at = 0;
    this.button.textContent = "❚❚";
    this.button.setAttribute("aria-label", "Pause");
    const each = Math.max(1000 / 60, Math.min(200, 4000 / this.frames.length));
    let due = performance.now();
    const tick = (now) => {
      if (!this.playing) return;
      if (now >= due) {
        due = now + each;
        this.show();
        if (++this.at >= this.frames.length) {
          this.at = this.frames.length - 1;
          return this.stop();
        }
      }
      this.playing = requestAnimationFrame(tick);
    };
    this.playing = requestAnimationFrame(tick);
  }

  stop() {
    if (this.playing) cancelAnimationFrame(this.playing);
    this.playing = null;
    this.button.textContent = "▶";
    this.button.setAttribute("aria-label", "Play");
  }
}
