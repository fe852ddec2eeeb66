// A picture of which a part is hidden by a brush, and three completions.

import { button, figures, h, say } from "../dom.js";
import { canvasFor, colour, draw, steer } from "../draw.js";
import { source } from "./pictures.js";

export async function show(view) {
  const [height, width] = view.model.event_shape.slice(-2);
  // The mask in the address is its bits, as a hexadecimal number; at first the upper half is known.
  const hex = (bits) => BigInt(`0b${bits.join("")}`).toString(16);
  const half = Array.from({ length: height * width }, (_, i) => (i < (height * width) / 2 ? 1 : 0));
  const ask = view.read({ draw: 0, mask: hex(half) });
  const mask = /^[0-9a-f]+$/.test(ask.mask) ? ask.mask : hex(half);
  const known = Array.from(BigInt(`0x${mask}`).toString(2).padStart(half.length, "0").slice(-half.length), Number);
  let [picture, data, at] = [null, null, [width / 2, height / 2]];
  const canvas = canvasFor("image", "The picture: hide with the pointer, or arrows and Enter; with Shift, show again", { tabIndex: 0, role: "application" });
  canvas.classList.add("draw");
  const completed = canvasFor("image", "Three completions");

  canvas.paint = () => {
    if (!picture) return;
    draw(canvas, picture, 1);
    const context = canvas.getContext("2d");
    Object.assign(context, { fillStyle: colour("accent"), globalAlpha: 0.75 });
    known.forEach((value, i) => value || context.fillRect(i % width, Math.floor(i / width), 1, 1));
  };

  function dab([x, y], shows) {
    known.forEach((_, i) => {
      const [dx, dy] = [(i % width) + 0.5 - x, Math.floor(i / width) + 0.5 - y];
      if (Math.hypot(dx, dy) <= ask.brush / 2 + 0.3) known[i] = shows ? 1 : 0;
    });
    canvas.paint();
  }

  const remember = () => view.remember({ mask: hex(known) });

  function cover(value) {
    known.fill(value);
    dab([width / 2, height / 2], true);
    remember();
  }

  steer(canvas, {
    move: ([u, v], { shiftKey }) => dab([u * width, v * height], shiftKey),
    arrow: ([dx, dy]) => {
      at = [at[0] + dx, at[1] - dy];
      say(`brush at column ${Math.round(at[0])}, row ${Math.round(at[1])}`);
    },
    enter: ({ shiftKey }) => {
      dab(at, shiftKey);
      remember();
    },
    end: remember,
  });

  const complete = view.newest(async () => {
    const bytes = Uint8Array.from(known).toBase64();
    draw(completed, await view.floats("given", { ...data, mask: bytes, n: 3, seed: ask.draw }), 3);
    say("completed");
  });

  const { controls, draw: sample } = source(view, 1, (...found) => {
    [picture, data] = found;
    canvas.paint();
  });

  await view.show({
    stage: figures("pair.given", [canvas, "the picture: shaded is hidden"], [completed, "three completions"]),
    controls: [
      button("complete", complete, { className: "main" }),
      h("div.buttons", button("hide all but a part", () => cover(0)), button("show all", () => cover(1))),
      controls,
    ],
    on: { brush: () => {} },
    draw: sample,
  });
  await complete();
}
