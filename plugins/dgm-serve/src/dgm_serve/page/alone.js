// The page that `dgm page` writes: it shows what was computed for it, and asks nobody.

import { h } from "./dom.js";
import { colour, mosaic, Plane, windowOf } from "./draw.js";

const data = JSON.parse(document.getElementById("data").textContent);
const image = data.kind === "image";
const floatsOf = (text) => new Float32Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);

// Pictures below each other in a PNG, as what `mosaic` takes; points as they are.
async function unpacked(text) {
  if (!image) return floatsOf(text);
  const picture = new Image();
  picture.src = `data:image/png;base64,${text}`;
  await picture.decode();
  const [height, width] = data.shape.slice(-2);
  const canvas = h("canvas", { width, height: picture.height });
  canvas.getContext("2d").drawImage(picture, 0, 0);
  const { data: bytes } = canvas.getContext("2d").getImageData(0, 0, width, picture.height);
  return { bytes, n: picture.height / height, height, width };
}

const canvasOf = (label, focus) => h("canvas", { class: image ? "pixels" : "plane", role: "img", "aria-label": label, tabIndex: focus ? 0 : -1 });
const section = (title, ...children) => h("section", {}, h("h2", {}, title), ...children);

// Between the four nearest cells of the pad: pixels, or points.
function between(cells, size, side, u, v) {
  const [i, j] = [Math.min(side - 2, Math.floor(u)), Math.min(side - 2, Math.floor(v))];
  const [s, t] = [u - i, v - j];
  const mixed = new Float32Array(size);
  for (const [di, dj, weight] of [[0, 0, (1 - s) * (1 - t)], [1, 0, s * (1 - t)], [0, 1, (1 - s) * t], [1, 1, s * t]]) {
    const from = ((j + dj) * side + i + di) * size;
    for (let k = 0; k < size; k++) mixed[k] += weight * cells[from + k];
  }
  return mixed;
}

async function pad() {
  const { side, edge } = data.pad;
  const cells = await unpacked(data.pad.x);
  const pad = h("canvas", { class: "pad", tabIndex: 0, role: "application", "aria-label": "Pad of noise: move with the arrow keys" });
  const picture = canvasOf("What the noise makes");
  const map = image && h("canvas", { class: "pixels map", role: "presentation" });
  const plane = new Plane(pad, { x: -edge, y: -edge, side: 2 * edge });
  const target = image ? null : new Plane(picture, windowOf(cells));
  const place = section("Noise", h("p", { class: "lead" }, "Drag on the pad, or use the arrow keys. Between the pictures that were computed, this page mixes the nearest four."),
    h("div", { class: "pair" }, h("div", { class: "padbox" }, map, pad), picture));
  let [x, y] = [0, 0];

  function show() {
    if (image) {
      Object.assign(plane, { size: pad.clientWidth, scale: 1 });
      [pad.width, pad.height] = [plane.size, plane.size];
    } else plane.clear();
    plane.mark(x, y);
    const size = image ? cells.width * cells.height * 4 : 2;
    const mixed = between(image ? cells.bytes : cells, size, side, ((x + edge) / (2 * edge)) * (side - 1), ((edge - y) / (2 * edge)) * (side - 1));
    if (image) mosaic(picture, { ...cells, n: 1, bytes: Uint8ClampedArray.from(mixed) }, 1);
    else target.clear().points(cells, { fill: colour("muted") }).mark(...mixed);
  }

  function move(to) {
    [x, y] = to.map((value) => Math.max(-edge, Math.min(edge, value)));
    show();
  }
  pad.addEventListener("pointerdown", (event) => (pad.setPointerCapture(event.pointerId), move(plane.under(event))));
  pad.addEventListener("pointermove", (event) => event.buttons && move(plane.under(event)));
  pad.addEventListener("keydown", (event) => {
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key] ?? [];
    if (dx === undefined) return;
    event.preventDefault();
    move([x + 0.1 * dx, y + 0.1 * dy]);
  });
  return [place, () => {
    if (map) mosaic(map, cells, side);
    show();
  }];
}

async function samples() {
  const found = await unpacked(data.samples);
  const canvas = canvasOf("Samples");
  const place = section("Samples", canvas, h("pre", { class: "command" }, data.command));
  return [place, () => {
    if (image) return mosaic(canvas, found);
    const plane = new Plane(canvas, data.density ?? windowOf(found)).clear();
    if (data.density) plane.heat(Float32Array.from(atob(data.density.values), (c) => c.charCodeAt(0) / 255), data.density.grid);
    plane.points(found);
  }];
}

async function way() {
  const frames = await Promise.all(data.frames.map(unpacked));
  const canvas = canvasOf("The state of the sampler");
  const range = h("input", { type: "range", min: 0, max: frames.length - 1, value: frames.length - 1, "aria-label": "State" });
  const window = image ? null : windowOf(frames.at(-1), 0.35);
  const show = () => (image ? mosaic(canvas, frames[range.value]) : new Plane(canvas, window).clear().points(frames[range.value]));
  range.addEventListener("input", show);
  return [section("The sampler's way", canvas, h("div", { class: "player" }, range)), show];
}

async function start() {
  const parts = await Promise.all([data.pad && pad, samples, data.frames && way].filter(Boolean).map((make) => make()));
  document.getElementById("place").replaceChildren(...parts.map(([place]) => place));
  const show = () => parts.forEach(([, draw]) => draw());
  show();
  addEventListener("resize", show);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  document.body.dataset.done = "1";
}

start();
