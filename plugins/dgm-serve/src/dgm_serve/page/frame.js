// The frame of a view: a stage, controls, and what says that work is going on, or has failed.

import { h } from "./dom.js";

// An error: what went wrong, what to do, and once more.
export function problem(error, again) {
  if (!(error instanceof Error) || error.hint === undefined) console.error(error);
  return h("div", { class: "problem", role: "alert" }, h("strong", {}, error.message), h("span", {}, error.hint ?? ""),
    again && h("button", { type: "button", onclick: again }, "try again"));
}

// A stage with the picture, controls beside it, and what says that work is going on, or has failed.
export function layout(place, { stage, controls, below }) {
  const status = h("div", { class: "status", role: "status" });
  const frame = h("div", { class: "stage" }, stage, status, below);
  place.replaceChildren(frame, h("div", { class: "controls" }, controls));
  return {
    async run(work, signal) {
      const slow = setTimeout(() => frame.classList.add("busy"), 150);
      try {
        await work();
        status.replaceChildren();
        frame.classList.remove("failed");
        frame.dataset.done = Number(frame.dataset.done ?? 0) + 1;
      } catch (error) {
        if (error.name === "AbortError" || signal?.aborted) return;
        status.replaceChildren(problem(error, () => this.run(work, signal)));
        frame.classList.add("failed");
      } finally {
        clearTimeout(slow);
        frame.classList.remove("busy");
      }
    },
  };
}

// The models that share a datum's shape with this one, with a capability: itself first, then those of the same data.
export function like(model, models, capability) {
  const far = (other) => (other.name === model.name ? 0 : other.dataset === model.dataset ? 1 : 2);
  return models.filter((other) => other.available && other.plugin && other.capabilities.includes(capability) &&
    String(other.event_shape) === String(model.event_shape)).sort((a, b) => far(a) - far(b));
}

// Models to choose from, with their data where those are others.
export const named = (found, model) =>
  found.map(({ name, dataset }) => [name, dataset === model.dataset ? name : `${name} (${dataset})`]);
