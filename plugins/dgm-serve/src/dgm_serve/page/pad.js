// A square of noise with a mark, which the pointer and the arrow keys move.

import { clamp, h } from "./dom.js";
import { Plane, steer } from "./draw.js";

export const EDGE = 3; // it goes from -3 to 3 standard deviations
const SQUARE = { x: -EDGE, y: -EDGE, side: 2 * EDGE };

export class Pad {
  // `map`: a canvas below it, or none; `onmove` is called with where the mark is.
  constructor(map, at, onmove) {
    Object.assign(this, { map, at, onmove, lines: [] });
    this.canvas = h("canvas", { class: "pad", tabIndex: 0, role: "application", "aria-label": "Pad of noise: move with the arrow keys" });
    this.element = h("div", { class: "padbox" }, map, this.canvas);
    steer(this.canvas, {
      move: (share) => this.move(this.plane.under(share)),
      arrow: (direction, { shiftKey }) => this.move(direction.map((way, i) => this.at[i] + (shiftKey ? 0.02 : 0.1) * way)),
    });
  }

  move(to) {
    this.at = to.map((value) => clamp(value, -EDGE, EDGE));
    this.paint();
    this.onmove(this.at);
  }

  paint() {
    this.plane = new Plane(this.canvas, SQUARE, !this.map);
    this.plane.lines(this.lines, { alpha: 0.35 }).mark(...this.at);
  }
}
