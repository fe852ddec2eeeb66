// A generator tilted by a critic: before and after for the same seeds, the energy along the chain, acceptance.

import { blob, events } from "../api.js";
import { figures, h, note, number } from "../dom.js";
import { chart, mosaic, plane } from "../draw.js";
import { Player } from "./player.js";

export function show(view) {
  const { kind, ask } = view;
  // The steps are said always: the page's own default is that of VAEBMs.
  const options = () => ({ steps: ask["o.steps"], step_size: ask["o.step_size"], ...view.options });
  const asked = () => ({ ...view.asked(), model: ask.base, tilt: ask.critic, weight: ask.weight, options: options() });

  const before = view.canvas("Before: the generator's samples");
  const energy = h("div.chart", { role: "img" });
  const accepted = note();
  const player = new Player(view, "After: the tilted samples", (at) => {
    const { frames } = player;
    const [first, last] = [frames[0], frames.at(-1)];
    const [values, low, high] = ["energy", "low", "high"].map((key) => frames.map((frame) => frame[key]));
    chart(energy, { values, low, high }, at);
    energy.ariaLabel = `Mean energy ${number(first.energy)} before, ${number(last.energy)} after`;
    accepted.textContent = last.acceptance === undefined ? "Langevin dynamics accepts every step." :
      last.acceptance === null ? "" : `${Math.round(100 * last.acceptance)} % of the proposals were accepted.`;
    if (kind === "point") plane(before, player.window, (it) => it.points(first.x));
    else mosaic(before, first);
  });

  return view.show({
    stage: figures("pair", [before, "before"], [player.canvas, "after"]),
    below: [player.bar, figures("energy", [energy, "energy along the chain: mean, and where 80 % of the samples are"])],
    controls: [view.controls(), accepted],
    files: { npz: () => blob("sample", { ...asked(), format: "npz" }) },
    hasty: true,
    draw: (signal) => player.load(events("trajectory", signal, asked())),
  });
}
