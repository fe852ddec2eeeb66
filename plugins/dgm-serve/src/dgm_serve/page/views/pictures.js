// Data for questions to the API: pictures that a user drops, or samples.

import { h, note } from "../dom.js";

// Controls for a view of data, and what draws it; `show` gets data to look at, and the same as the API takes it.
export function source(view, n, show) {
  const { generators: [from], event_shape: shape } = view.model;
  const dropped = view.newest((bytes) => show({ x: Float32Array.from(bytes), shape: [1, ...shape], range: [0, 255] }, { pixels: bytes.toBase64() }));
  return {
    controls: [view.kind === "image" && fileField(shape, dropped), from && note(`Samples of ${from}:`), view.controls()],
    draw: async () => {
      if (!from) return;
      const found = await view.floats("sample", { model: from, n, seed: view.ask.seed });
      await show(found, { data: [...found.x] });
    },
  };
}

// A field to drop a picture on, or to choose one; calls `give` with the pixels.
function fileField(shape, give) {
  const file = h("input", { type: "file", accept: "image/*", id: "file", onchange: async () => {
    if (!file.files[0]) return;
    const bytes = await pixelsOf(file.files[0], shape).catch(() => null);
    file.setCustomValidity(bytes ? "" : "This is no picture that the browser can read: choose another.");
    if (file.reportValidity()) give(bytes);
  } });
  return h("div", h("label", { htmlFor: "file" }, "Drop a picture here, or choose one"), file);
}

// The middle of a picture, resized to the model's, as (channels, height, width) bytes.
async function pixelsOf(file, shape) {
  const [channels, height, width] = [1, ...shape].slice(-3);
  const picture = await createImageBitmap(file);
  const context = new OffscreenCanvas(width, height).getContext("2d");
  const scale = Math.min(picture.width / width, picture.height / height);
  const [w, h] = [width * scale, height * scale];
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, (picture.width - w) / 2, (picture.height - h) / 2, w, h, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  const grey = (at) => Math.round(0.299 * data[at] + 0.587 * data[at + 1] + 0.114 * data[at + 2]); // as Pillow does
  return Uint8Array.from({ length: channels * height * width }, (_, i) => {
    const at = 4 * (i % (height * width));
    return channels === 3 ? data[at + Math.floor(i / (height * width))] : grey(at);
  });
}
