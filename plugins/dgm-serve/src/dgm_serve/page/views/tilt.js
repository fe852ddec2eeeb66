// A generator tilted by a critic: before and after for the same seeds, the energy along the chain, acceptance.

import { events } from "../api.js";
import { figures, h, note, number } from "../dom.js";
import { chart, mosaic, Plane } from "../draw.js";
import { can, like } from "../frame.js";
import { canvasFile, sampleFiles, sampleWords } from "../share.js";
import { Player } from "./player.js";

const START = { steps: 20, step_size: 0.1 }; // what VAEBMs are sampled with

const partners = (model, models) => can(model, "pushforward")
  ? { bases: [model], critics: like(model, models, "critic") }
  : { bases: like(model, models, "pushforward"), critics: [model] };

export const title = "Tilt";
export const lead = "Choose a critic and its weight: the generator's noise moves to where the critic judges better. Same seeds before and after.";

export function fits(model, models) {
  const { bases, critics } = partners(model, models);
  return can(model, "pushforward", "critic") && bases.length > 0 && critics.length > 0;
}

export function show(view) {
  const { model, models, kind } = view;
  const { bases, critics } = partners(model, models);
  const known = (found, name) => (found.find((one) => one.name === name) ?? found[0]).name;
  const ask = view.read({ n: kind === "point" ? 1000 : 16, seed: 0, weight: 1, base: model.name, critic: "" });
  [ask.base, ask.critic] = [known(bases, ask.base), known(critics, ask.critic)];
  const asked = () => ({ ...view.asked(), model: ask.base, tilt: ask.critic, weight: ask.weight, options: { ...START, ...view.options } });

  const before = view.canvas("Before: the generator's samples");
  const energy = h("div", { class: "chart", role: "img" });
  const accepted = note();
  const player = new Player(view, "After: the tilted samples", (at) => {
    const { frames } = player;
    const all = (key) => frames.map((frame) => frame[key]);
    chart(energy, { values: all("energy"), low: all("low"), high: all("high") }, at);
    energy.ariaLabel = `Mean energy ${number(frames[0].energy)} before, ${number(frames.at(-1).energy)} after`;
    const { acceptance } = frames.at(-1);
    accepted.textContent = acceptance === undefined ? "Langevin dynamics accepts every step." :
      acceptance === null ? "" : `${Math.round(100 * acceptance)} % of the proposals were accepted.`;
    if (kind === "point") new Plane(before, player.window).points(frames[0].x);
    else mosaic(before, frames[0].image);
  });

  return view.show({
    stage: figures("pair", [before, "before"], [player.canvas, "after"]),
    below: [player.bar, figures("energy", [energy, "energy along the chain: mean, and where 80 % of the samples are"])],
    controls: [
      bases.length > 1 && view.modelChoice("base", "generator", bases),
      view.modelChoice("critic", "critic", critics),
      view.slider("weight", { min: 0, max: 2, step: 0.05, limits: [-1e6, 1e6] }),
      view.seeds(),
      view.count(kind === "point" ? 2000 : 64),
      h("details", { open: Object.keys(view.options).length > 0 }, h("summary", {}, "the chain"), view.optionControls(withStart(model.tilt_schema))),
      accepted,
    ],
    as: sampleWords(asked),
    files: { ...sampleFiles(() => `${ask.base}-by-${ask.critic}-seed${ask.seed}`, asked), "this state": canvasFile("state", player.canvas) },
    paint: () => player.show(),
    chain: (signal) => player.load(events("api/trajectory", signal, asked())),
  });
}

// The options of the chain, with where this page starts as their defaults; the weight has a slider of its own.
function withStart({ properties }) {
  const { weight, start, final_mean, ...rest } = properties;
  for (const [key, value] of Object.entries(START)) rest[key] = { ...rest[key], default: value };
  return { properties: rest };
}
