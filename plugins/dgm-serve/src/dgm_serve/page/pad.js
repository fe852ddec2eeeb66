// A square of noise with a mark, which the pointer and the arrow keys move.

import { clamp, h } from "./dom.js";
import { plane, steer, under } from "./draw.js";

export const EDGE = 3; // it goes from -3 to 3 standard deviations
const SQUARE = { x: -EDGE, y: -EDGE, side: 2 * EDGE };

export class Pad {
  lines = [];

  // `map`: an element below it, or none; `onmove` is called with where the mark is.
  constructor(map, at, onmove) {
    Object.assign(this, { map, at, onmove });
    this.canvas = h("canvas.pad", { tabIndex: 0, role: "application", ariaLabel: "Pad of noise: move with the arrow keys" });
    this.element = h("div.padbox", map, this.canvas);
    steer(this.canvas, {
      move: (share) => this.move(under(SQUARE, share)),
      arrow: (direction, { shiftKey }) => this.move(direction.map((way, i) => this.at[i] + (shiftKey ? 0.02 : 0.1) * way)),
    });
  }

  move(to) {
    this.at = to.map((value) => clamp(value, -EDGE, EDGE));
    this.paint();
    this.onmove(this.at);
  }

  paint() {
    plane(this.canvas, SQUARE, (it) => it.lines(this.lines, { alpha: 0.35 }).mark(...this.at), !this.map);
  }
}
