// Frames that come one by one, a slider over them, and a button that plays them.

import { button, floatsOf, h } from "../dom.js";
import { mosaic, pixels, Plane, windowOf } from "../draw.js";

export class Player {
  constructor(view, label, onframe = () => {}) {
    Object.assign(this, { view, onframe, ask: view.read({ step: -1 }), frames: [], at: -1, playing: 0 });
    this.canvas = view.canvas(label);
    this.range = h("input", { type: "range", min: 0, max: 0, value: 0, "aria-label": "State", oninput: () => this.go(Number(this.range.value)) });
    this.button = button("▶", () => (this.playing ? this.stop() : this.play()), { "data-play": "", "aria-label": "Play" });
    this.label = h("output");
    this.bar = h("div", { class: "player" }, this.button, this.range, this.label);
    view.signal.addEventListener("abort", () => this.stop());
  }

  // Takes in the events of a trajectory; the address says which state is shown in the end.
  async load(stream) {
    this.stop();
    this.frames = [];
    let meta = null;
    for await (const { name, data: { x, ...facts } } of stream) {
      if (name === "begin") meta = facts;
      else if (name === "thin") this.frames = this.frames.filter((frame) => frame.number % facts.stride === 0);
      else if (name === "state") {
        const found = { x: floatsOf(x), ...meta };
        this.frames.push({ ...facts, x: found.x, image: this.view.kind === "point" ? null : pixels(found) });
        this.range.max = this.frames.length - 1;
        this.show(this.frames.length - 1);
        if (this.frames.length % 8 === 0) await new Promise(requestAnimationFrame);
      }
    }
    const wanted = this.ask.step < 0 ? -1 : this.frames.findIndex((frame) => frame.number >= this.ask.step);
    this.show(wanted < 0 ? this.frames.length - 1 : wanted);
  }

  // The part of the plane where the last state is.
  get window() {
    return windowOf(this.frames.at(-1).x, 0.35);
  }

  show(at = this.at) {
    const frame = this.frames[at];
    if (!frame) return;
    this.at = this.range.value = at;
    this.label.textContent = `state ${frame.number} of ${this.frames.at(-1).number}`;
    if (frame.image) mosaic(this.canvas, frame.image);
    else this.points(frame);
    this.onframe(at);
  }

  points({ x }) {
    const paths = this.ask.paths === "lines" ? Math.min(24, x.length / 2) : 0;
    const way = (_, i) => this.frames.slice(0, this.at + 1).map((frame) => [frame.x[2 * i], frame.x[2 * i + 1]]);
    new Plane(this.canvas, this.window).lines(Array.from({ length: paths }, way), { alpha: 0.4 }).points(x);
  }

  go(at) {
    this.stop();
    this.show(at);
    this.view.remember({ step: at === this.frames.length - 1 ? -1 : this.frames[at].number });
  }

  play() {
    this.button.textContent = "❚❚";
    this.button.ariaLabel = "Pause";
    if (this.at === this.frames.length - 1) this.at = -1;
    const each = Math.max(1000 / 60, Math.min(200, 4000 / this.frames.length));
    let due = 0;
    const tick = (now) => {
      this.playing = requestAnimationFrame(tick);
      if (now < due) return;
      due = now + each;
      this.show(this.at + 1);
      if (this.at === this.frames.length - 1) this.stop();
    };
    this.playing = requestAnimationFrame(tick);
  }

  stop() {
    cancelAnimationFrame(this.playing);
    this.playing = 0;
    this.button.textContent = "▶";
    this.button.ariaLabel = "Play";
  }
}
