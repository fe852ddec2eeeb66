// A generator: samples by seed; one can be locked, and watched while the options change.

import { button, clamp, h, say } from "../dom.js";
import { arrows, draw, within } from "../draw.js";
import { can } from "../frame.js";
import { sampleFiles, sampleWords } from "../share.js";

export const title = "Samples";
export const fits = (model) => can(model, "generator");

export function show(view) {
  const { model, kind } = view;
  const usual = kind === "point" ? 2000 : kind === "row" ? 64 : model.event_shape.at(-1) > 100 ? 4 : 16;
  const ask = view.read({ n: usual, seed: 0, lock: -1 });
  const asked = () => view.asked();
  const canvas = view.canvas("Samples");
  const frame = h("div", { class: "pick", hidden: true });
  const mosaic = h("div", { class: "mosaic" }, canvas, frame);
  const line = h("p", { class: "note" });
  let place = null; // columns and rows of the pictures
  let marked = null;

  const lock = (index) => index < ask.n && view.change({ lock: ask.lock < 0 ? index : -1 });

  // Shows a frame around a sample.
  function mark(index) {
    marked = clamp(index, 0, ask.n - 1);
    const percent = (value, of) => `${(100 * value) / of}%`;
    frame.hidden = false;
    Object.assign(frame.style, {
      left: percent(marked % place.columns, place.columns), top: percent(Math.floor(marked / place.columns), place.rows),
      width: percent(1, place.columns), height: percent(1, place.rows),
    });
    say(`sample ${marked}`);
  }

  if (kind !== "point") {
    canvas.tabIndex = 0;
    canvas.addEventListener("click", (event) => {
      const [u, v] = within(event);
      lock(Math.floor(v * place.rows) * place.columns + Math.floor(u * place.columns));
    });
    arrows(canvas, ([dx, dy]) => mark(marked === null ? 0 : marked + dx - dy * place.columns));
    canvas.addEventListener("keydown", (event) => event.key === "Enter" && lock(marked ?? 0));
    canvas.addEventListener("blur", () => (frame.hidden = true));
  }

  return view.show({
    stage: mosaic,
    controls: [view.seeds(), view.count(kind === "point" ? 10000 : 64, kind === "point" ? 50000 : 400),
      view.optionControls(model.options_schema), kind !== "point" && line],
    as: sampleWords(asked),
    files: sampleFiles(() => `${model.name}-seed${ask.seed}`, asked),
    draw: async () => {
      const locked = ask.lock >= 0;
      line.replaceChildren(...(locked
        ? [`Sample ${ask.lock} is locked: seed and options change it alone. `, button("unlock", () => lock(0))]
        : ["Click a sample, or use the arrows and Enter, to lock it."]));
      place = draw(canvas, await view.floats("sample", { ...asked(), ...(locked && { n: 1, start: ask.lock }) }));
      mosaic.classList.toggle("alone", locked);
      say(locked ? `sample ${ask.lock} of seed ${ask.seed}` : `${ask.n} samples of seed ${ask.seed}`);
    },
  });
}
