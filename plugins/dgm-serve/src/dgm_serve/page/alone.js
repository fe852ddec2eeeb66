// The page that `dgm page` writes: it shows what was computed for it, and asks nobody.

import { floatsOf, fromBase64, h } from "./dom.js";
import { canvasFor, mosaic, Plane, windowOf } from "./draw.js";
import { EDGE, Pad } from "./pad.js";

const data = JSON.parse(document.getElementById("data").textContent);
const image = data.kind === "image";
const section = (title, ...children) => h("section", {}, h("h2", {}, title), children);

// Pictures below each other in a PNG, as what `mosaic` takes; points as they are.
async function unpacked(text) {
  if (!image) return floatsOf(text);
  const [height, width] = data.shape.slice(-2);
  const picture = h("img", { src: `data:image/png;base64,${text}` });
  await picture.decode();
  const context = new OffscreenCanvas(width, picture.height).getContext("2d");
  context.drawImage(picture, 0, 0);
  return { bytes: context.getImageData(0, 0, width, picture.height).data, n: picture.height / height, height, width };
}

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

// Each part: what is on the page, and a function that draws it.
async function noise() {
  const { side } = data.pad;
  const cells = await unpacked(data.pad.x);
  const picture = canvasFor(data.kind, "What the noise makes");
  const map = image ? h("canvas", { class: "pixels map", role: "presentation" }) : null;
  const pad = new Pad(map, [0, 0], ([x, y]) => {
    const [u, v] = [x + EDGE, EDGE - y].map((value) => (value / (2 * EDGE)) * (side - 1));
    if (image) mosaic(picture, { ...cells, n: 1, bytes: Uint8ClampedArray.from(between(cells.bytes, cells.width * cells.height * 4, side, u, v)) });
    else {
      const plane = new Plane(picture, windowOf(cells));
      plane.points(cells, { fill: plane.colours.muted }).mark(...between(cells, 2, side, u, v));
    }
  });
  const lead = "Drag on the pad, or use the arrow keys. Between the pictures that were computed, this page mixes the nearest four.";
  return [section("Noise", h("p", { class: "lead" }, lead), h("div", { class: "pair" }, pad.element, picture)), () => {
    if (map) mosaic(map, cells, side);
    pad.move(pad.at);
  }];
}

async function samples() {
  const found = await unpacked(data.samples);
  const canvas = canvasFor(data.kind, "Samples");
  return [section("Samples", canvas, h("pre", { class: "command" }, data.command)), () => {
    if (image) return mosaic(canvas, found);
    const plane = new Plane(canvas, data.density ?? windowOf(found));
    if (data.density) plane.heat([...fromBase64(data.density.values)].map((value) => value / 255), data.density.grid);
    plane.points(found);
  }];
}

async function way() {
  const frames = await Promise.all(data.frames.map(unpacked));
  const canvas = canvasFor(data.kind, "The state of the sampler");
  const last = frames.length - 1;
  const range = h("input", { type: "range", max: last, value: last, "aria-label": "State", oninput: show });
  function show() {
    const frame = frames[range.value];
    if (image) mosaic(canvas, frame);
    else new Plane(canvas, windowOf(frames[last], 0.35)).points(frame);
  }
  return [section("The sampler's way", canvas, h("div", { class: "player" }, range)), show];
}

async function start() {
  const parts = await Promise.all([data.pad && noise, samples, data.frames && way].filter(Boolean).map((make) => make()));
  document.getElementById("place").replaceChildren(...parts.map(([element]) => element));
  const show = () => parts.forEach(([, draw]) => draw());
  show();
  addEventListener("resize", show);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  document.body.dataset.done = "1";
}

start();
