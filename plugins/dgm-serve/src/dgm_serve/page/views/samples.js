// A generator: samples by seed; one can be locked, and watched while the options change.

import { blob } from "../api.js";
import { say } from "../dom.js";
import { draw, steer } from "../draw.js";

export function show(view) {
  const { ask, kind } = view;
  const canvas = view.canvas("Samples");
  let place = null; // columns and rows of the pictures

  if (kind !== "point") steer(canvas, { click: ([u, v]) => {
    const index = Math.floor(v * place.rows) * place.columns + Math.floor(u * place.columns);
    if (index < ask.n) view.set("lock", ask.lock === null ? index : null);
  } });

  return view.show({
    stage: canvas,
    files: { npz: () => blob("sample", { ...view.asked(), format: "npz" }) },
    draw: async () => {
      const locked = kind !== "point" && ask.lock !== null;
      place = draw(canvas, await view.floats("sample", { ...view.asked(), ...(locked && { n: 1, start: ask.lock }) }));
      canvas.classList.toggle("alone", locked);
      say(locked ? `sample ${ask.lock} of seed ${ask.seed}` : `${ask.n} samples of seed ${ask.seed}`);
    },
  });
}
