// Pictures of numbers, on canvases.

import { h, number } from "./dom.js";

// How a datum is shown: "image", "point" (of a plane) or "row" (of numbers).
export function kindOf(shape) {
  if ((shape.length === 3 && [1, 3].includes(shape[0])) || (shape.length === 2 && Math.min(...shape) > 1)) return "image";
  return shape.length === 1 && shape[0] === 2 ? "point" : "row";
}

export const canvasFor = (kind, label, more) => h("canvas", { class: kind === "point" ? "plane" : "pixels", role: "img", "aria-label": label, ...more });

// Draws samples on a canvas for their kind; returns the plane, or the place of the pictures.
export function draw(canvas, found, columns) {
  return canvas.matches(".plane") ? new Plane(canvas, windowOf(found.x)).points(found.x) : mosaic(canvas, pixels(found), columns);
}

// --- pictures

// Bytes of pixels, as the command line rounds them: RGBA of n images, one after the other.
export function pixels({ x, shape: [n, ...event], range }) {
  const [c, height, width] = [1, 1, ...event].slice(-3);
  const [low, high] = range ?? limits(x);
  const [plane, scale] = [height * width, 255 / (high - low || 1)];
  const bytes = new Uint8ClampedArray(n * plane * 4);
  for (let i = 0; i < n; i++) {
    for (let p = 0; p < plane; p++) {
      const to = (i * plane + p) * 4;
      for (let k = 0; k < 3; k++) bytes[to + k] = (x[(i * c + (c === 3 ? k : 0)) * plane + p] - low) * scale;
      bytes[to + 3] = 255;
    }
  }
  return { bytes, n, height, width };
}

function limits(x) {
  return x.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
}

// Draws images side by side; returns their place, { columns, rows }.
export function mosaic(canvas, { bytes, n, height, width }, columns) {
  columns ??= width > 4 * height ? Math.max(1, Math.floor(Math.sqrt(n / 4))) : Math.ceil(Math.sqrt(n));
  const rows = Math.ceil(n / columns);
  const gap = Math.max(1, Math.round(Math.max(height, width) / 24));
  const size = [columns * (width + gap) - gap, rows * (height + gap) - gap];
  if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
  const context = canvas.getContext("2d");
  const plane = height * width * 4;
  for (let i = 0; i < n; i++) {
    const image = new ImageData(bytes.subarray(i * plane, (i + 1) * plane), width, height);
    context.putImageData(image, (i % columns) * (width + gap), Math.floor(i / columns) * (height + gap));
  }
  return { columns, rows };
}

// --- the plane

// A square around points, which a few that are far away do not make large.
export function windowOf(points, margin = 0.1) {
  const [[left, right], [bottom, top]] = [0, 1].map((axis) => {
    const values = points.filter((_, i) => i % 2 === axis).sort();
    const cut = Math.floor(values.length / 500);
    return [values[cut], values[values.length - 1 - cut]];
  });
  const side = Math.max(right - left, top - bottom, 1e-3) * (1 + 2 * margin);
  return { x: (left + right - side) / 2, y: (bottom + top - side) / 2, side };
}

// A flat list of points as pairs.
export const pairs = (x) => Array.from({ length: x.length / 2 }, (_, i) => [x[2 * i], x[2 * i + 1]]);

// A square of the plane on a canvas, cleared, with lines of a grid unless something lies below it.
export class Plane {
  constructor(canvas, window, grid = true) {
    Object.assign(this, { window, context: canvas.getContext("2d"), colours: colours(), scale: fit(canvas), size: canvas.width });
    if (grid) this.grid();
  }

  grid() {
    const { context, window: { x: left, y: bottom, side }, size, scale, colours: { line: stroke, muted } } = this;
    const power = 10 ** Math.floor(Math.log10(side / 6));
    const step = power * [1, 2, 5, 10].find((k) => k * power >= side / 6);
    const ticks = (from) => Array.from({ length: Math.ceil(side / step) }, (_, k) => (Math.ceil(from / step) + k) * step);
    this.lines(ticks(left).map((x) => [[x, bottom], [x, bottom + side]]), { stroke });
    this.lines(ticks(bottom).map((y) => [[left, y], [left + side, y]]), { stroke });
    Object.assign(context, { font: `${11 * scale}px system-ui, sans-serif`, fillStyle: muted });
    for (const x of ticks(left)) context.fillText(number(x), this.at(x, 0)[0] + 3 * scale, size - 5 * scale);
    for (const y of ticks(bottom + 0.06 * side)) context.fillText(number(y), 4 * scale, this.at(0, y)[1] - 3 * scale);
  }

  // From the plane to pixels, and from shares of the canvas to the plane.
  at(x, y) {
    const { window, size } = this;
    return [((x - window.x) / window.side) * size, (1 - (y - window.y) / window.side) * size];
  }

  under([u, v]) {
    const { x, y, side } = this.window;
    return [x + u * side, y + (1 - v) * side];
  }

  points(x, { fill = this.colours.ink, alpha = Math.min(0.8, 0.25 + 300 / x.length), radius = 1.4 } = {}) {
    const { context, scale } = this;
    const side = radius * 2 * scale;
    Object.assign(context, { fillStyle: fill, globalAlpha: alpha });
    for (let i = 0; i < x.length; i += 2) {
      const [u, v] = this.at(x[i], x[i + 1]);
      context.fillRect(u - side / 2, v - side / 2, side, side);
    }
    context.globalAlpha = 1;
    return this;
  }

  lines(all, { stroke = this.colours.accent, alpha = 1 } = {}) {
    const { context, scale } = this;
    Object.assign(context, { strokeStyle: stroke, lineWidth: scale, globalAlpha: alpha, lineJoin: "round" });
    for (const points of all) {
      context.beginPath();
      for (const [x, y] of points) context.lineTo(...this.at(x, y));
      context.stroke();
    }
    context.globalAlpha = 1;
    return this;
  }

  mark(x, y) {
    const { context, scale, colours: { accent, paper } } = this;
    context.beginPath();
    context.arc(...this.at(x, y), 6 * scale, 0, 7);
    Object.assign(context, { fillStyle: accent, strokeStyle: paper, lineWidth: 2 * scale });
    context.fill();
    context.stroke();
    return this;
  }

  // Colours cells by values from 0 to 1, rows from the top.
  heat(values, grid) {
    const image = new ImageData(grid, grid);
    const [r, g, b] = this.colours.accent.match(/\d+/g);
    values.forEach((value, i) => image.data.set([r, g, b, 255 * Math.sqrt(value) * 0.9], 4 * i));
    const small = new OffscreenCanvas(grid, grid);
    small.getContext("2d").putImageData(image, 0, 0);
    this.context.imageSmoothingQuality = "high";
    this.context.drawImage(small, 0, 0, this.size, this.size);
    return this;
  }
}

// --- a chart

// A line over steps in an element, with a band from low to high where they are given, and a mark at a step.
export function chart(element, { values, low = values, high = values }, at) {
  const [bottom, top] = limits([...values, ...low, ...high].filter(Number.isFinite));
  const place = ([i, v]) => `${(300 * i) / Math.max(1, values.length - 1)},${100 - (100 * (v - bottom)) / (top - bottom || 1)}`;
  const path = (...points) => points.map(place).join(" ");
  const band = path(...low.entries(), ...[...high.entries()].reverse());
  const mark = at === undefined ? "" : `<path d="M${place([at, bottom])}V0"/>`;
  element.innerHTML = values.length === 0 ? "" : `<span>${number(top)}</span><span>${number(bottom)}</span>
    <svg viewBox="0 0 300 100" preserveAspectRatio="none"><polygon points="${band}"/><polyline points="${path(...values.entries())}"/>${mark}</svg>`;
}

// --- canvases

// Gives a canvas the pixels of its place on the screen; returns how many of them make one of CSS.
function fit(canvas) {
  const scale = Math.min(2, devicePixelRatio);
  [canvas.width, canvas.height] = [canvas.clientWidth, canvas.clientHeight].map((size) => Math.round(size * scale));
  return scale;
}

let worn = null;
const forget = () => (worn = null);
addEventListener("themechange", forget);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", forget);

// The style sheet's colours, as canvases take them. They are `light-dark()`, so an element has to wear each.
export function colours() {
  const { head } = document;
  worn ??= Object.fromEntries(["ink", "muted", "line", "accent", "paper"].map((name) => {
    head.style.color = `var(--${name})`;
    return [name, getComputedStyle(head).color];
  }));
  return worn;
}

// Where on an element an event is, in shares of its width and height from the top left.
export const within = ({ target, offsetX, offsetY }) => [offsetX / target.clientWidth, offsetY / target.clientHeight];

// Calls `move` with where the pointer is pressed, `arrow` with the direction of an arrow key, `end` when it is let go.
export function steer(element, { move, arrow, end = () => {} }) {
  element.addEventListener("pointerdown", (event) => {
    element.setPointerCapture(event.pointerId);
    move(within(event), event);
  });
  element.addEventListener("pointermove", (event) => event.buttons && move(within(event), event));
  element.addEventListener("pointerup", end);
  if (arrow) arrows(element, arrow);
}

export function arrows(element, arrow) {
  element.addEventListener("keydown", (event) => {
    const direction = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!direction) return;
    event.preventDefault();
    arrow(direction, event);
  });
}
