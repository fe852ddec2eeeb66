// Frames that come one by one, a slider over them, and a button that plays them.

import { button, floatsOf, h } from "../dom.js";
import { mosaic, pairs, plane, wider } from "../draw.js";

export class Player {
  frames = [];
  at = -1;
  range = h("input", { type: "range", min: 0, max: 0, ariaLabel: "State", oninput: () => this.go(Number(this.range.value)) });
  button = button("▶", () => (this.timer ? this.stop() : this.play()), { "data-play": "", ariaLabel: "Play" });
  label = h("output");
  bar = h("div.player", this.button, this.range, this.label);

  constructor(view, label, onframe = () => {}) {
    Object.assign(this, { view, onframe, ask: view.read({ step: -1 }), canvas: view.canvas(label) });
    view.signal.addEventListener("abort", () => this.stop());
  }

  // Takes in the events of a trajectory; the address says which state is shown in the end.
  async load(stream) {
    this.stop();
    this.frames = [];
    let meta = null;
    for await (const { name, data } of stream) {
      if (name === "begin") meta = this.view.hear(data);
      else if (name === "thin") this.frames = this.frames.filter(({ number }) => number % data.stride === 0);
      else {
        this.frames.push({ ...meta, ...data, x: floatsOf(data.x) });
        this.range.max = this.frames.length - 1;
        this.show(this.frames.length - 1);
        if (this.frames.length % 8 === 0) await new Promise(requestAnimationFrame);
      }
    }
    const { step } = this.ask;
    const wanted = step < 0 ? -1 : this.frames.findIndex(({ number }) => number >= step);
    this.show(wanted < 0 ? this.frames.length - 1 : wanted);
  }

  // The part of the plane where the last state is, and around it.
  get window() {
    return wider(this.frames.at(-1).window, 0.2);
  }

  show(at = this.at) {
    const frame = this.frames[at];
    if (!frame) return;
    this.at = this.range.value = at;
    this.label.textContent = `state ${frame.number} of ${this.frames.at(-1).number}`;
    if (this.view.kind === "point") this.points(frame);
    else mosaic(this.canvas, frame);
    this.onframe(at);
  }

  points({ x }) {
    const ways = this.frames.slice(0, this.at + 1).map((frame) => pairs(frame.x));
    const lines = this.ask.paths === "lines" ? pairs(x).slice(0, 24).map((_, i) => ways.map((points) => points[i])) : [];
    plane(this.canvas, this.window, (it) => it.lines(lines, { alpha: 0.4 }).points(x));
  }

  go(at) {
    this.stop();
    this.show(at);
    this.view.remember({ step: at === this.frames.length - 1 ? -1 : this.frames[at].number });
  }

  play() {
    Object.assign(this.button, { textContent: "❚❚", ariaLabel: "Pause" });
    if (this.at === this.frames.length - 1) this.at = -1;
    const each = Math.max(1000 / 60, Math.min(200, 4000 / this.frames.length));
    this.timer = setInterval(() => {
      this.show(this.at + 1);
      if (this.at === this.frames.length - 1) this.stop();
    }, each);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = 0;
    Object.assign(this.button, { textContent: "▶", ariaLabel: "Play" });
  }
}
