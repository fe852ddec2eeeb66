// A picture of which a part is hidden by a brush, and three completions. Only where a plugin provides the call `given`.

import { floats, newest } from "../api.js";
import { button, seeds, slider } from "../controls.js";
import { h, say } from "../dom.js";
import { colour, kindOf, mosaic, pixels } from "../draw.js";
import { layout } from "../frame.js";
import { canvasFile, share } from "../share.js";
import { asPixels, base64, dropZone } from "./pictures.js";

export const given = {
  id: "given",
  title: "Complete",
  lead: "Hide a part of the picture with the brush. What could be there?",
  fits: (model) => model.calls.includes("given") && kindOf(model.event_shape) === "image" && model.capabilities.includes("generator") &&
    (model.capabilities.includes("pushforward") || ["diffusion", "hybrids"].includes(model.family)),

  async show(place, { model, state, signal }) {
    const [height, width] = model.event_shape.slice(-2);
    const known = unpacked(state.text("mask"), height * width) ?? lowerHalf(height, width);
    let [brush, picture, at] = [Math.max(1, Math.round(width / 9)), null, [width / 2, height / 2]];

    const canvas = h("canvas", { class: "pixels draw", tabIndex: 0, role: "application",
      "aria-label": "The picture: hide with the pointer, or arrows and Enter; with Shift, show again" });
    const completed = h("canvas", { class: "pixels", role: "img", "aria-label": "Three completions" });
    const source = seeds(state.number("seed", 0), (seed) => sample(seed));
    const shared = share({ command: () => `dgm sample ${model.name} -n 3 --seed ${state.number("draw", 0)} --given picture.png --mask mask.png` },
      { PNG: canvasFile(`${model.name}-completed`, () => completed), "picture and mask": canvasFile("masked", () => canvas) });
    const work = layout(place, {
      stage: h("div", { class: "given" }, h("figure", {}, canvas, h("figcaption", {}, "the picture: shaded is hidden")),
        h("figure", {}, completed, h("figcaption", {}, "three completions"))),
      controls: [
        button("complete", () => complete(), { class: "main" }),
        slider({ label: "brush", value: brush, min: 1, max: Math.round(width / 3), integer: true, onchange: (value) => (brush = value) }),
        h("div", { class: "buttons" }, button("hide all but a part", () => cover(0)), button("show all", () => cover(1))),
        h("p", { class: "note" }, `A sample of ${model.name}:`), source,
        dropZone(model, (chosen) => take(chosen)),
        shared.element,
      ],
    });

    function paint() {
      mosaic(canvas, pixels({ x: Float32Array.from(atob(picture), (c) => c.charCodeAt(0)), shape: [1, ...model.event_shape], range: [0, 255] }), 1);
      const context = canvas.getContext("2d");
      context.fillStyle = colour("accent");
      context.globalAlpha = 0.75;
      known.forEach((value, i) => value || context.fillRect(i % width, Math.floor(i / width), 1, 1));
      context.globalAlpha = 1;
    }

    function dab([x, y], value) {
      for (let row = 0; row < height; row++) {
        for (let column = 0; column < width; column++) {
          if ((column + 0.5 - x) ** 2 + (row + 0.5 - y) ** 2 <= (brush / 2 + 0.3) ** 2) known[row * width + column] = value;
        }
      }
      paint();
    }

    function cover(value) {
      known.fill(value);
      if (!value) dab([width / 2, height / 2], 1);
      paint();
      remember();
    }

    const remember = () => state.set({ mask: packed(known) });
    const under = (event) => {
      const box = canvas.getBoundingClientRect();
      return [((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.height) * height];
    };
    canvas.addEventListener("pointerdown", (event) => (canvas.setPointerCapture(event.pointerId), dab(under(event), event.shiftKey ? 1 : 0)));
    canvas.addEventListener("pointermove", (event) => event.buttons && dab(under(event), event.shiftKey ? 1 : 0));
    canvas.addEventListener("pointerup", remember);
    canvas.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (event.key === "Enter") dab(at, event.shiftKey ? 1 : 0), remember();
      else if (move) at = [at[0] + move[0], at[1] + move[1]];
      else return;
      event.preventDefault();
      say(`brush at column ${Math.round(at[0])}, row ${Math.round(at[1])}`);
    });

    const sample = newest((seed) => work.run(async () => {
      state.set({ seed: seed || "" });
      take(asPixels(await floats("api/sample", { model: model.name, n: 1, seed }, signal)));
    }, signal));

    function take(chosen) {
      picture = chosen;
      paint();
    }

    const complete = newest(() => work.run(async () => {
      const ask = { model: model.name, pixels: picture, mask: base64(Uint8Array.from(known)), n: 3, seed: state.number("draw", 0) };
      mosaic(completed, pixels(await floats("api/given", ask, signal)), 3);
      say("completed");
    }, signal));

    addEventListener("themechange", () => picture && paint(), { signal });
    await sample(state.number("seed", 0));
    await complete();
  },
};

const lowerHalf = (height, width) => Array.from({ length: height * width }, (_, i) => (i < (height * width) / 2 ? 1 : 0));

// A mask in an address: its bits, in base64.
function packed(known) {
  const bytes = new Uint8Array(Math.ceil(known.length / 8));
  known.forEach((value, i) => (bytes[i >> 3] |= value << (i & 7)));
  return base64(bytes);
}

function unpacked(text, size) {
  try {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    return bytes.length === Math.ceil(size / 8) ? Array.from({ length: size }, (_, i) => (bytes[i >> 3] >> (i & 7)) & 1) : null;
  } catch {
    return null; // a damaged address
  }
}
