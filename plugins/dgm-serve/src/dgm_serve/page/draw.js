// Pictures of numbers, on canvases.

import { h, number } from "./dom.js";

export const canvasFor = (kind, label, more) => h(kind === "point" ? "canvas.plane" : "canvas.pixels", { role: "img", ariaLabel: label, ...more });

// Draws samples on a canvas for their kind; returns the place of pictures, { columns, rows }.
export const draw = (canvas, found, columns) =>
  canvas.matches(".plane") ? plane(canvas, found.window, (it) => it.points(found.x)) : mosaic(canvas, found, columns);

const limits = (x) => x.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);

// Draws images side by side, their pixels rounded as the command line does.
export function mosaic(canvas, { x, shape: [n, ...event], range }, columns) {
  const [channels, height, width] = [1, 1, ...event].slice(-3);
  columns ??= width > 4 * height ? Math.max(1, Math.floor(Math.sqrt(n / 4))) : Math.ceil(Math.sqrt(n));
  const rows = Math.ceil(n / columns);
  const gap = Math.max(1, Math.round(Math.max(height, width) / 24));
  [canvas.width, canvas.height] = [columns * (width + gap) - gap, rows * (height + gap) - gap];
  const context = canvas.getContext("2d");
  const [low, high] = range ?? limits(x);
  const [size, scale] = [height * width, 255 / (high - low || 1)];
  for (let i = 0; i < n; i++) {
    const image = new ImageData(width, height);
    for (let at = 0; at < 4 * size; at++) {
      const from = (i * channels + (channels === 3 ? at % 4 : 0)) * size + (at >> 2);
      image.data[at] = at % 4 === 3 ? 255 : (x[from] - low) * scale;
    }
    context.putImageData(image, (i % columns) * (width + gap), Math.floor(i / columns) * (height + gap));
  }
  return { columns, rows };
}

// Canvases as one picture, a Blob.
export function sideBySide(canvases) {
  const edge = (size) => Math.max(...canvases.map(size));
  const [width, height] = [edge((one) => one.width + 8), edge((one) => one.height)];
  const whole = new OffscreenCanvas(width * canvases.length - 8, height);
  canvases.forEach((one, i) => whole.getContext("2d").drawImage(one, i * width, 0));
  return whole.convertToBlob();
}

// A square with such a share of it more at each side.
export const wider = ({ x, y, side }, by) => ({ x: x - by * side, y: y - by * side, side: side * (1 + 2 * by) });

// A flat list of points as pairs.
export const pairs = (x) => Array.from({ length: x.length / 2 }, (_, i) => [x[2 * i], x[2 * i + 1]]);

// The point of a square that is at such shares of it.
export const under = ({ x, y, side }, [u, v]) => [x + u * side, y + (1 - v) * side];

// Paints a square of the plane on a canvas: now, and again when its size or the colours have changed.
export function plane(canvas, window, paint, grid = true) {
  canvas.paint = () => paint(new Plane(canvas, window, grid));
  canvas.paint();
}

const repaint = () => document.querySelectorAll("canvas").forEach((canvas) => canvas.paint?.());
for (const event of ["resize", "themechange"]) addEventListener(event, repaint);

// A colour of the style sheet as a canvas takes it: they are `light-dark()`, so an element has to wear it.
export function colour(name) {
  document.head.style.color = `var(--${name})`;
  return getComputedStyle(document.head).color;
}

class Plane {
  constructor(canvas, window, grid) {
    const scale = Math.min(2, devicePixelRatio);
    Object.assign(this, { window, size: canvas.clientWidth, context: canvas.getContext("2d") });
    canvas.width = canvas.height = Math.round(this.size * scale);
    this.context.scale(scale, scale);
    if (grid) this.grid();
  }

  grid() {
    const { context, size, window: { x: left, y: bottom, side } } = this;
    const step = 2 ** Math.ceil(Math.log2(side / 6));
    const ticks = (from) => Array.from({ length: Math.ceil(side / step) }, (_, k) => (Math.ceil(from / step) + k) * step);
    const lines = [...ticks(left).map((x) => [[x, bottom], [x, bottom + side]]), ...ticks(bottom).map((y) => [[left, y], [left + side, y]])];
    this.lines(lines, { stroke: "line" });
    Object.assign(context, { font: "11px system-ui, sans-serif", fillStyle: colour("muted") });
    for (const x of ticks(left)) context.fillText(number(x), this.at(x, 0)[0] + 3, size - 5);
    for (const y of ticks(bottom + 0.06 * side)) context.fillText(number(y), 4, this.at(0, y)[1] - 3);
  }

  // From the plane to pixels.
  at(x, y) {
    const { window, size } = this;
    return [((x - window.x) / window.side) * size, (1 - (y - window.y) / window.side) * size];
  }

  points(x, { fill = "ink", alpha = Math.min(0.8, 0.25 + 300 / x.length), radius = 1.4 } = {}) {
    Object.assign(this.context, { fillStyle: colour(fill), globalAlpha: alpha });
    for (let i = 0; i < x.length; i += 2) {
      const [u, v] = this.at(x[i], x[i + 1]);
      this.context.fillRect(u - radius, v - radius, 2 * radius, 2 * radius);
    }
    return this;
  }

  lines(all, { stroke = "accent", alpha = 1 } = {}) {
    const { context } = this;
    Object.assign(context, { strokeStyle: colour(stroke), lineWidth: 1, globalAlpha: alpha, lineJoin: "round" });
    for (const points of all) {
      context.beginPath();
      for (const [x, y] of points) context.lineTo(...this.at(x, y));
      context.stroke();
    }
    return this;
  }

  mark(x, y) {
    const { context } = this;
    context.beginPath();
    context.arc(...this.at(x, y), 6, 0, 7);
    Object.assign(context, { fillStyle: colour("accent"), strokeStyle: colour("paper"), lineWidth: 2, globalAlpha: 1 });
    context.fill();
    context.stroke();
    return this;
  }

  // Colours cells by values from 0 to 1, rows from the top.
  heat(values, grid) {
    const image = new ImageData(grid, grid);
    const rgb = colour("accent").match(/\d+/g);
    values.forEach((value, i) => image.data.set([...rgb, 255 * Math.sqrt(value) * 0.9], 4 * i));
    const small = new OffscreenCanvas(grid, grid);
    small.getContext("2d").putImageData(image, 0, 0);
    Object.assign(this.context, { globalAlpha: 1, imageSmoothingQuality: "high" }).drawImage(small, 0, 0, this.size, this.size);
    return this;
  }
}

// A line over steps in an element, with a band from low to high where they are given, and a mark at a step.
export function chart(element, { values, low = values, high = values }, at) {
  const [bottom, top] = limits([...values, ...low, ...high].filter(Number.isFinite));
  const place = ([i, v]) => `${(300 * i) / Math.max(1, values.length - 1)},${100 - (100 * (v - bottom)) / (top - bottom || 1)}`;
  const band = [...low.entries(), ...[...high.entries()].reverse()];
  const mark = at >= 0 ? `<path d="M${place([at, bottom])}V0"/>` : "";
  element.innerHTML = values.length === 0 ? "" : `<span>${number(top)}</span><span>${number(bottom)}</span>
    <svg viewBox="0 0 300 100" preserveAspectRatio="none"><polygon points="${band.map(place)}"/><polyline points="${[...values.entries()].map(place)}"/>${mark}</svg>`;
}

// Where on an element an event is: shares of its width and height from the top left.
const within = ({ target, offsetX, offsetY }) => [offsetX / target.clientWidth, offsetY / target.clientHeight];

// Calls `move` while the pointer is pressed, and `end` when it is let go; `click`; `arrow` with the direction of a key.
export function steer(element, { move, click, arrow, enter, end }) {
  if (click) element.onclick = (event) => click(within(event));
  if (move) element.onpointerdown = element.onpointermove = (event) => {
    if (event.type === "pointerdown") element.setPointerCapture(event.pointerId);
    if (event.buttons) move(within(event), event);
  };
  element.onpointerup = end;
  element.onkeydown = (event) => {
    const direction = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (event.key === "Enter") enter?.(event);
    else if (direction && arrow) arrow(direction, event);
    else return;
    event.preventDefault();
  };
}
