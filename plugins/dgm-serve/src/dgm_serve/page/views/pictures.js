// Data for questions to the API: pictures that a user drops, or samples, for those who have no picture at hand.

import { fromBase64, h, note, toBase64 } from "../dom.js";
import { like } from "../frame.js";

// Controls for a view of data, and what draws it; `show` gets data to look at, and the same as the API takes it.
export function source(view, n, show) {
  const { model, models, kind } = view;
  const from = like(model, models, "generator")[0]?.name;
  view.read({ seed: 0 });
  const dropped = view.newest((pixels) => show(fromPixels(pixels, model.event_shape), { pixels }));
  return {
    controls: [kind === "image" && dropZone(model, dropped), from && [note(`Samples of ${from}:`), view.seeds()]],
    draw: async () => {
      if (!from) return;
      const found = await view.floats("sample", { model: from, n, seed: view.ask.seed });
      await show(found, kind === "image" && found.range ? { pixels: asPixels(found) } : { data: nested(found.x, found.shape) });
    },
  };
}

// A place to drop a picture on, or to choose a file; calls `ontake` with base64 of the pixels.
function dropZone(model, ontake) {
  const file = h("input", { type: "file", accept: "image/*", class: "sr", id: "file", onchange: () => take(file.files[0]) });
  const label = h("label", { htmlFor: "file" }, "Drop a picture here, or ", h("u", {}, "choose one"));
  const over = (event, is) => {
    event.preventDefault();
    zone.classList.toggle("over", is);
  };
  const zone = h("div", { class: "drop", ondragover: (event) => over(event, true), ondragleave: (event) => over(event, false),
    ondrop: (event) => {
      over(event, false);
      take(event.dataTransfer.files[0]);
    } }, label, file);

  async function take(chosen) {
    if (!chosen) return;
    const pixels = await pixelsOf(chosen, model.event_shape).catch(() => null);
    zone.classList.toggle("failed", !pixels);
    if (pixels) ontake(pixels);
    else label.replaceChildren(`${chosen.name} is no picture that the browser can read. `, h("u", {}, "Choose another"));
  }
  return zone;
}

// The middle of a picture, resized to the model's, as base64 of (channels, height, width) bytes.
async function pixelsOf(file, shape) {
  const [channels, height, width] = [1, ...shape].slice(-3);
  const picture = await createImageBitmap(file);
  const context = new OffscreenCanvas(width, height).getContext("2d");
  const scale = Math.min(picture.width / width, picture.height / height);
  const [w, h] = [width * scale, height * scale];
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, (picture.width - w) / 2, (picture.height - h) / 2, w, h, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  const plane = height * width;
  const bytes = new Uint8Array(channels * plane);
  for (let p = 0; p < plane; p++) {
    const [r, g, b] = data.subarray(4 * p, 4 * p + 3);
    const all = channels === 3 ? [r, g, b] : [Math.round(0.299 * r + 0.587 * g + 0.114 * b)]; // as Pillow does
    all.forEach((value, k) => (bytes[k * plane + p] = value));
  }
  return toBase64(bytes);
}

// Samples as pixels in base64, and pixels as samples.
export const asPixels = ({ x, range: [low, high] }) =>
  toBase64(Uint8ClampedArray.from(x, (value) => ((value - low) / (high - low)) * 255));

const fromPixels = (base64, shape) => ({ x: Float32Array.from(fromBase64(base64)), shape: [1, ...shape], range: [0, 255] });

function nested(x, [n, ...rest]) {
  const size = x.length / n;
  return Array.from({ length: n }, (_, i) => (rest.length ? nested(x.subarray(i * size, (i + 1) * size), rest) : x[i]));
}
