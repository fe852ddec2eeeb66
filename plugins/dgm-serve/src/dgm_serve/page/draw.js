// Pictures of numbers, on canvases.

// How a datum is shown: "image", "point" (of a plane) or "row" (of numbers).
export function kindOf(shape) {
  if ((shape.length === 3 && [1, 3].includes(shape[0])) || (shape.length === 2 && Math.min(...shape) > 1)) return "image";
  return shape.length === 1 && shape[0] === 2 ? "point" : "row";
}

// Bytes of pixels, as the command line rounds them: RGBA of n images, one after the other.
export function pixels({ x, shape, range }) {
  const event = shape.slice(1);
  const [c, height, width] = event.length === 3 ? event : event.length === 2 ? [1, ...event] : [1, 1, event[0]];
  const [low, high] = range ?? limits(x);
  const [plane, scale] = [height * width, 255 / (high - low || 1)];
  const bytes = new Uint8ClampedArray(shape[0] * plane * 4);
  for (let i = 0; i < shape[0]; i++) {
    for (let p = 0; p < plane; p++) {
      const to = (i * plane + p) * 4;
      for (let k = 0; k < 3; k++) bytes[to + k] = (x[(i * c + (c === 3 ? k : 0)) * plane + p] - low) * scale;
      bytes[to + 3] = 255;
    }
  }
  return { bytes, n: shape[0], height, width };
}

function limits(x) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of x) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return [low, high];
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

// --- the plane ------------------------------------------------------------------------------------

// A square around points, which a few that are far away do not make large.
export function windowOf(x, margin = 0.1) {
  const ends = [0, 1].map((axis) => {
    const values = Float32Array.from({ length: x.length / 2 }, (_, i) => x[2 * i + axis]).sort();
    const cut = Math.floor(values.length / 500);
    return [values[cut], values[values.length - 1 - cut]];
  });
  const side = Math.max(ends[0][1] - ends[0][0], ends[1][1] - ends[1][0], 1e-3) * (1 + 2 * margin);
  return { x: (ends[0][0] + ends[0][1] - side) / 2, y: (ends[1][0] + ends[1][1] - side) / 2, side };
}

export class Plane {
  // A canvas that shows a square of the plane; `window` can be changed before `clear`.
  constructor(canvas, window) {
    Object.assign(this, { canvas, window, context: canvas.getContext("2d") });
  }

  clear() {
    const scale = Math.min(2, devicePixelRatio || 1);
    const size = Math.round((this.canvas.clientWidth || 560) * scale);
    [this.canvas.width, this.canvas.height, this.size, this.scale] = [size, size, size, scale];
    this.grid();
    return this;
  }

  grid() {
    const { context, window, size, scale } = this;
    const step = nice(window.side / 6);
    context.font = `${11 * scale}px system-ui, sans-serif`;
    for (let k = Math.ceil(window.x / step); k * step < window.x + window.side; k++) {
      this.line([[k * step, window.y], [k * step, window.y + window.side]], colour("line"), 1);
      context.fillStyle = colour("muted");
      context.fillText(number(k * step), this.at(k * step, 0)[0] + 3 * scale, size - 5 * scale);
    }
    for (let k = Math.ceil(window.y / step); k * step < window.y + window.side; k++) {
      this.line([[window.x, k * step], [window.x + window.side, k * step]], colour("line"), 1);
      context.fillStyle = colour("muted");
      if (k * step > window.y + 0.06 * window.side) context.fillText(number(k * step), 4 * scale, this.at(0, k * step)[1] - 3 * scale);
    }
  }

  at(x, y) {
    const { window, size } = this;
    return [((x - window.x) / window.side) * size, (1 - (y - window.y) / window.side) * size];
  }

  // The point of the plane under a pointer.
  under(event) {
    const box = this.canvas.getBoundingClientRect();
    const [u, v] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    return [this.window.x + u * this.window.side, this.window.y + (1 - v) * this.window.side];
  }

  points(x, { fill = colour("ink"), alpha, radius = 1.4 } = {}) {
    const { context, scale } = this;
    const side = radius * 2 * scale;
    context.fillStyle = fill;
    context.globalAlpha = alpha ?? Math.min(0.8, 0.25 + 150 / (x.length / 2));
    for (let i = 0; i < x.length; i += 2) {
      const [u, v] = this.at(x[i], x[i + 1]);
      context.fillRect(u - side / 2, v - side / 2, side, side);
    }
    context.globalAlpha = 1;
    return this;
  }

  line(points, stroke, width = 1.5, alpha = 1) {
    const { context, scale } = this;
    context.beginPath();
    for (const [x, y] of points) context.lineTo(...this.at(x, y));
    Object.assign(context, { strokeStyle: stroke, lineWidth: width * scale, globalAlpha: alpha, lineJoin: "round" });
    context.stroke();
    context.globalAlpha = 1;
    return this;
  }

  mark(x, y, fill = colour("accent"), radius = 6) {
    const { context, scale } = this;
    context.beginPath();
    context.arc(...this.at(x, y), radius * scale, 0, 7);
    Object.assign(context, { fillStyle: fill, strokeStyle: colour("paper"), lineWidth: 2 * scale });
    context.fill();
    context.stroke();
    return this;
  }

  // Colours cells by values from 0 to 1, rows from the top.
  heat(values, grid, at = this.window) {
    const image = new ImageData(grid, grid);
    const [r, g, b] = rgb(colour("heat"));
    values.forEach((value, i) => image.data.set([r, g, b, 255 * Math.sqrt(value) * 0.9], 4 * i));
    const small = document.createElement("canvas");
    small.width = small.height = grid;
    small.getContext("2d").putImageData(image, 0, 0);
    const [left, top] = this.at(at.x, at.y + at.side);
    const side = (at.side / this.window.side) * this.size;
    this.context.imageSmoothingQuality = "high";
    this.context.drawImage(small, left, top, side, side);
    return this;
  }
}

// Logarithms of a density as values from 0 to 1.
export function relative(logs) {
  const top = logs.reduce((a, b) => (b > a ? b : a), -Infinity);
  return Float32Array.from(logs, (value) => (top === -Infinity ? 0 : Math.exp(value - top)));
}

// --- a chart ---------------------------------------------------------------------------------------

// Lines over steps: [{ values, low, high, colour }], with a band between low and high where they are given.
export function chart(canvas, lines, { at } = {}) {
  const scale = Math.min(2, devicePixelRatio || 1);
  const [width, height] = [canvas.clientWidth || 320, canvas.clientHeight || 120].map((size) => Math.round(size * scale));
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  const all = lines.flatMap((line) => [...line.values, ...(line.low ?? []), ...(line.high ?? [])]).filter(Number.isFinite);
  if (!all.length) return;
  const [low, high] = limits(all);
  const last = Math.max(1, ...lines.map((line) => line.values.length - 1));
  const [left, bottom] = [44 * scale, 6 * scale];
  const px = (i) => left + (i / last) * (width - left - 4 * scale);
  const py = (v) => bottom + (1 - (v - low) / (high - low || 1)) * (height - 2 * bottom);
  Object.assign(context, { font: `${11 * scale}px system-ui, sans-serif`, fillStyle: colour("muted"), textBaseline: "middle" });
  for (const value of [low, high]) context.fillText(number(value), 0, Math.min(height - 7 * scale, Math.max(7 * scale, py(value))));
  for (const line of lines) {
    context.fillStyle = context.strokeStyle = line.colour ?? colour("accent");
    if (line.low) {
      context.globalAlpha = 0.18;
      context.beginPath();
      line.low.forEach((v, i) => context.lineTo(px(i), py(v)));
      [...line.high].reverse().forEach((v, i) => context.lineTo(px(line.high.length - 1 - i), py(v)));
      context.fill();
      context.globalAlpha = 1;
    }
    context.lineWidth = 2 * scale;
    context.beginPath();
    line.values.forEach((v, i) => context.lineTo(px(i), py(v)));
    context.stroke();
  }
  if (at !== undefined) {
    context.fillStyle = colour("ink");
    context.fillRect(px(at), 0, scale, height);
  }
}

// --- colours and numbers ----------------------------------------------------------------------------

export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function rgb(hex) {
  return [1, 3, 5].map((i) => Number.parseInt(hex.slice(i, i + 2), 16));
}

function nice(step) {
  const power = 10 ** Math.floor(Math.log10(step));
  return power * [1, 2, 5, 10].find((k) => k * power >= step);
}

function number(x) {
  return Number(x.toPrecision(3)).toString();
}
