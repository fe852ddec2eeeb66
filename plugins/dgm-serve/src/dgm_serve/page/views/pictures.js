// Pictures that a user drops, or chooses, as the bytes of pixels that a model wants.

import { h } from "../dom.js";

// A place to drop a picture on, or to choose a file; calls `ontake` with base64 of the pixels.
export function dropZone(model, ontake) {
  const file = h("input", { type: "file", accept: "image/*", class: "sr", id: "file", onchange: () => take(file.files[0]) });
  const zone = h("div", { class: "drop" }, h("label", { htmlFor: "file" }, "Drop a picture here, or ", h("u", {}, "choose one")), file);
  zone.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("over");
  });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    take(event.dataTransfer.files[0]);
  });

  async function take(chosen) {
    if (!chosen) return;
    try {
      ontake(await pixelsOf(chosen, model.event_shape));
      zone.classList.remove("failed");
    } catch {
      zone.classList.add("failed");
      zone.querySelector("label").replaceChildren(`${chosen.name} is no picture that the browser can read. `, h("u", {}, "Choose another"));
    }
  }
  return zone;
}

// The middle of a picture, resized to the model's, as base64 of (channels, height, width) bytes.
async function pixelsOf(blob, shape) {
  const [height, width] = shape.slice(-2);
  const picture = await createImageBitmap(blob);
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  const scale = Math.min(picture.width / width, picture.height / height);
  const [w, h] = [width * scale, height * scale];
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, (picture.width - w) / 2, (picture.height - h) / 2, w, h, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  const channels = shape.length === 3 ? shape[0] : 1;
  const bytes = new Uint8Array(channels * height * width);
  for (let p = 0; p < height * width; p++) {
    const [r, g, b] = data.subarray(4 * p, 4 * p + 3);
    if (channels === 3) [bytes[p], bytes[height * width + p], bytes[2 * height * width + p]] = [r, g, b];
    else bytes[p] = Math.round(0.299 * r + 0.587 * g + 0.114 * b); // as Pillow does
  }
  return base64(bytes);
}

export function base64(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

// Samples of a model, as the API takes data: for those who have no picture at hand.
export function asPixels({ x, range }) {
  const [low, high] = range;
  return base64(Uint8Array.from(x, (value) => Math.max(0, Math.min(255, Math.round(((value - low) / (high - low)) * 255)))));
}
