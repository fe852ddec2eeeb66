// A generator tilted by a critic: before and after for the same seeds, the energy along the chain, acceptance.

import { events } from "../api.js";
import { choice, options, seeds, slider } from "../controls.js";
import { h, number } from "../dom.js";
import { chart, colour, kindOf, mosaic, Plane, windowOf } from "../draw.js";
import { layout, like, named } from "../frame.js";
import { canvasFile, sampleCommand, sampleFile, samplePython, share } from "../share.js";
import { Player } from "./trajectory.js";

const START = { steps: 20, step_size: 0.1 }; // what VAEBMs are sampled with

const pairs = (model, models) => ({
  bases: model.capabilities.includes("pushforward") ? [model] : like(model, models, "pushforward"),
  critics: model.capabilities.includes("pushforward") ? like(model, models, "critic") : [model],
});

export const tilt = {
  id: "tilt",
  title: "Tilt",
  lead: "A critic judges; the generator's noise moves to where it judges better. Same seeds before and after.",

  fits(model, models) {
    if (!["pushforward", "critic"].some((can) => model.capabilities.includes(can))) return false;
    const { bases, critics } = pairs(model, models);
    return bases.length > 0 && critics.length > 0;
  },

  async show(place, { model, models, state, signal }) {
    const { bases, critics } = pairs(model, models);
    const kind = kindOf(model.event_shape);
    const usual = kind === "point" ? 1000 : 16;
    const chosenOf = (found, key) => (found.find((m) => m.name === state.text(key)) ?? found[0]).name;
    const ask = { model: chosenOf(bases, "base"), n: state.number("n", usual), seed: state.number("seed", 0), tilt: chosenOf(critics, "critic"),
      weight: state.number("weight", 1), options: {} };
    const chosen = state.options();

    const before = h("canvas", { class: kind === "point" ? "plane" : "pixels", role: "img", "aria-label": "Before: the generator's samples" });
    const energy = h("canvas", { class: "chart", role: "img", "aria-label": "The energy along the chain" });
    const accepted = h("p", { class: "note" });
    const player = new Player(kind, state, signal, (at) => follow(at));
    player.canvas.setAttribute("aria-label", "After: the tilted samples");
    const name = () => `${ask.model}-by-${ask.tilt}-seed${ask.seed}`;
    const shared = share({ command: () => sampleCommand(ask), python: () => samplePython(ask) }, {
      PNG: sampleFile(name, () => ask, "png"), npz: sampleFile(name, () => ask, "npz"), "this state": canvasFile("state", () => player.canvas),
    });
    const work = layout(place, {
      stage: h("div", { class: "pair" }, h("figure", {}, before, h("figcaption", {}, "before")),
        h("figure", {}, player.canvas, h("figcaption", {}, "after"))),
      below: [player.bar, h("figure", { class: "energy" }, energy, h("figcaption", {}, "energy along the chain: mean, and where 80 % of the samples are"))],
      controls: [
        bases.length > 1 && choice({ label: "generator", value: ask.model, options: named(bases, model), onchange: (base) => change({ model: base }) }),
        choice({ label: "critic", value: ask.tilt, options: named(critics, model), onchange: (critic) => change({ tilt: critic }) }),
        slider({ label: "weight", value: ask.weight, min: 0, max: 2, step: 0.05, limits: [-1e6, 1e6], onchange: (weight) => change({ weight }) }),
        seeds(ask.seed, (seed) => change({ seed })),
        slider({ label: "samples", value: ask.n, min: 1, max: kind === "point" ? 2000 : 64, integer: true, onchange: (n) => change({ n }) }),
        h("details", { open: Object.keys(chosen).length > 0 }, h("summary", {}, "the chain"),
          options(withStart(model.tilt_schema), chosen, () => change({}))),
        accepted,
        shared.element,
      ],
    });

    function follow(at) {
      const frames = player.frames;
      chart(energy, [{ values: frames.map((f) => f.energy), low: frames.map((f) => f.low), high: frames.map((f) => f.high) }], { at });
      const { acceptance } = frames.at(-1);
      accepted.textContent = acceptance === undefined ? "Langevin dynamics accepts every step." :
        acceptance === null ? "" : `${Math.round(100 * acceptance)} % of the proposals were accepted.`;
      energy.setAttribute("aria-label", `Mean energy ${number(frames[0].energy)} before, ${number(frames.at(-1).energy)} after`);
      if (frames[0].image) mosaic(before, frames[0].image);
      else new Plane(before, player.window ?? windowOf(frames[0].x, 0.35)).clear().points(frames[0].x, { fill: colour("ink") });
    }

    let running = new AbortController();
    signal.addEventListener("abort", () => running.abort());
    let timer;
    function change(values, wait = 120) {
      Object.assign(ask, values, { options: { ...START, ...chosen } });
      state.set({ base: bases.length > 1 ? ask.model : "", critic: ask.tilt, weight: ask.weight, seed: ask.seed || "", n: ask.n === usual ? "" : ask.n }, chosen);
      shared.refresh();
      running.abort();
      running = new AbortController();
      clearTimeout(timer);
      const now = running.signal;
      timer = setTimeout(() => work.run(() => player.load(events("api/trajectory", ask, now)), now), wait);
    }
    change({}, 0);
  },
};

// The options of the chain, with where this page starts as their defaults; the weight has a slider of its own.
function withStart(schema) {
  const properties = { ...schema.properties };
  for (const key of ["weight", "start", "final_mean"]) delete properties[key];
  for (const [key, value] of Object.entries(START)) properties[key] = { ...properties[key], default: value };
  return { ...schema, properties };
}
