// A picture of which a part is hidden by a brush, and three completions. Only where a plugin provides the call `given`.

import { slider } from "../controls.js";
import { button, figures, h, say, toBase64 } from "../dom.js";
import { canvasFor, colours, draw, kindOf, steer } from "../draw.js";
import { can } from "../frame.js";
import { canvasFile } from "../share.js";
import { asPixels, source } from "./pictures.js";

export const title = "Complete";
export const lead = "Hide a part of the picture with the brush. What could be there?";
export const fits = (model) => model.calls.includes("given") && kindOf(model.event_shape) === "image" && can(model, "generator") &&
  (can(model, "pushforward") || ["diffusion", "hybrids"].includes(model.family));

export async function show(view) {
  const { model } = view;
  const [height, width] = model.event_shape.slice(-2);
  const ask = view.read({ draw: 0, mask: "" });
  const known = bitsOf(ask.mask, height * width) ?? Array.from({ length: height * width }, (_, i) => (i < (height * width) / 2 ? 1 : 0));
  let [brush, picture, at] = [Math.max(1, Math.round(width / 9)), null, [width / 2, height / 2]];
  const canvas = canvasFor("image", "The picture: hide with the pointer, or arrows and Enter; with Shift, show again",
    { class: "pixels draw", tabIndex: 0, role: "application" });
  const completed = canvasFor("image", "Three completions");

  function paint() {
    if (!picture) return;
    draw(canvas, picture, 1);
    const context = canvas.getContext("2d");
    Object.assign(context, { fillStyle: colours().accent, globalAlpha: 0.75 });
    known.forEach((value, i) => value || context.fillRect(i % width, Math.floor(i / width), 1, 1));
    context.globalAlpha = 1;
  }

  function dab([x, y], { shiftKey }) {
    known.forEach((_, i) => {
      const [dx, dy] = [(i % width) + 0.5 - x, Math.floor(i / width) + 0.5 - y];
      if (dx ** 2 + dy ** 2 <= (brush / 2 + 0.3) ** 2) known[i] = shiftKey ? 1 : 0;
    });
    paint();
  }

  const remember = () => view.remember({ mask: hexOf(known) });

  function cover(value) {
    known.fill(value);
    if (!value) dab([width / 2, height / 2], { shiftKey: true });
    paint();
    remember();
  }

  steer(canvas, {
    move: ([u, v], event) => dab([u * width, v * height], event),
    arrow: ([dx, dy]) => {
      at = [at[0] + dx, at[1] - dy];
      say(`brush at column ${Math.round(at[0])}, row ${Math.round(at[1])}`);
    },
    end: remember,
  });
  canvas.addEventListener("keydown", (event) => event.key === "Enter" && (dab(at, event), remember()));

  const complete = view.newest(async () => {
    const mask = toBase64(Uint8Array.from(known));
    draw(completed, await view.floats("given", { pixels: asPixels(picture), mask, n: 3, seed: ask.draw }), 3);
    say("completed");
  });

  const { controls, draw: sample } = source(view, 1, (found) => {
    picture = found;
    paint();
  });

  await view.show({
    stage: figures("given", [canvas, "the picture: shaded is hidden"], [completed, "three completions"]),
    controls: [
      button("complete", complete, { class: "main" }),
      slider({ label: "brush", value: brush, min: 1, max: Math.round(width / 3), integer: true, onchange: (value) => (brush = value) }),
      h("div", { class: "buttons" }, button("hide all but a part", () => cover(0)), button("show all", () => cover(1))),
      controls,
    ],
    as: { command: () => `dgm sample ${model.name} -n 3 --seed ${ask.draw} --given picture.png --mask mask.png` },
    files: { PNG: canvasFile(`${model.name}-completed`, completed), "picture and mask": canvasFile("masked", canvas) },
    paint,
    draw: sample,
  });
  await complete();
}

// A mask in an address: its bits, as a hexadecimal number.
const hexOf = (known) => BigInt(`0b${known.join("")}`).toString(16);

function bitsOf(text, size) {
  try {
    const bits = text && BigInt(`0x${text}`).toString(2).padStart(size, "0");
    return bits.length === size ? Array.from(bits, Number) : null;
  } catch {
    return null; // a damaged address
  }
}
