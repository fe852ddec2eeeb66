// What all views have: values that the address keeps, controls of them, a stage, and what says that work goes on or failed.

import * as api from "./api.js";
import { choice, options, seeds, slider } from "./controls.js";
import { h, problem } from "./dom.js";
import { canvasFor, kindOf } from "./draw.js";
import { share } from "./share.js";

export const can = (model, ...any) => any.some((capability) => model.capabilities.includes(capability));

// The models that share a datum's shape with this one, with a capability: itself first, then those of the same data.
export function like(model, models, capability) {
  const far = (other) => (other.name === model.name ? 0 : other.dataset === model.dataset ? 1 : 2);
  return models.filter((other) => other.available && other.plugin && can(other, capability) &&
    String(other.event_shape) === String(model.event_shape))
    .sort((a, b) => far(a) - far(b) || (capability === "critic" ? a.capabilities.length - b.capabilities.length : 0)); // what only judges first
}

export class View {
  constructor(place, context) {
    Object.assign(this, context, { place, ask: {}, kind: kindOf(context.model.event_shape), options: context.state.options() });
  }

  // Adds to `ask` values of the address, or these where it has none.
  read(defaults) {
    return Object.assign(this.ask, this.state.read(defaults));
  }

  // The question for samples, as the API has it.
  asked() {
    return { model: this.model.name, n: this.ask.n, seed: this.ask.seed, options: this.options };
  }

  // Questions about this model, until the view is left.
  floats(path, body) {
    return api.floats(`api/${path}`, { model: this.model.name, ...body }, this.signal);
  }

  json(path, body) {
    return api.json(`api/${path}`, { model: this.model.name, ...body }, this.signal);
  }

  // --- controls of values of `ask`; a change of one draws the view anew -----------------------------------

  seeds() {
    return seeds(this.ask.seed, (seed) => this.change({ seed }));
  }

  slider(key, more) {
    return slider({ label: key, value: this.ask[key], onchange: (value) => this.change({ [key]: value }), ...more });
  }

  count(most, limit = most) {
    return this.slider("n", { label: "samples", min: 1, max: most, limits: [1, limit], integer: true });
  }

  choice(key, label, all) {
    return choice({ label, value: this.ask[key], options: all, onchange: (value) => this.change({ [key]: value }) });
  }

  // Of models, with their data where those are others.
  modelChoice(key, label, found) {
    return this.choice(key, label, found.map(({ name, dataset }) => [name, dataset === this.model.dataset ? name : `${name} (${dataset})`]));
  }

  optionControls(schema) {
    return options(schema, this.options, () => this.change());
  }

  canvas(label, more) {
    return canvasFor(this.kind, label, more);
  }

  // --- the stage ------------------------------------------------------------------------------------------

  // Shows a stage and controls, and draws: by `draw`, which is done to its end, or by `chain`, which a change breaks off.
  show({ stage, below, controls, as, files, draw, chain, paint = () => this.draw() }) {
    this.sharing = share(as, files);
    this.status = h("div", { class: "status", role: "status" });
    this.stage = h("div", { class: "stage" }, h("progress"), stage, this.status, below);
    this.place.replaceChildren(this.stage, h("div", { class: "controls" }, controls, this.sharing.element));
    this.draw = chain ? this.last(chain) : this.newest(draw);
    addEventListener("themechange", paint, { signal: this.signal });
    return this.change();
  }

  change(values) {
    this.remember(values);
    this.sharing.refresh();
    return this.draw();
  }

  // Puts values into the address, a little later: browsers refuse a page that changes its address all the time.
  remember(values) {
    Object.assign(this.ask, values);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.signal.aborted || this.state.set(this.ask, this.options), 150);
  }

  async run(work, signal = this.signal) {
    const { stage, status } = this;
    const slow = setTimeout(() => stage.classList.add("busy"), 300);
    try {
      await work();
      status.replaceChildren();
      stage.classList.remove("failed");
      stage.dataset.done = Number(stage.dataset.done ?? 0) + 1;
    } catch (error) {
      if (error.name === "AbortError" || signal.aborted) return;
      status.replaceChildren(problem(error, () => this.run(work, signal)));
      stage.classList.add("failed");
    } finally {
      clearTimeout(slow);
      stage.classList.remove("busy");
    }
  }

  // Of many calls runs one at a time, to its end, and then the newest: those that were overtaken never.
  newest(work) {
    let [waiting, running] = [null, false];
    return async (...args) => {
      waiting = args;
      if (running) return;
      running = true;
      while (waiting) {
        const now = waiting;
        waiting = null;
        await this.run(() => work(...now));
      }
      running = false;
    };
  }

  // Of many calls runs the last, when there were none for a moment, and breaks off the one before.
  last(work) {
    let running = new AbortController();
    this.signal.addEventListener("abort", () => running.abort());
    return async () => {
      running.abort();
      running = new AbortController();
      const { signal } = running;
      await new Promise((resolve) => setTimeout(resolve, 100));
      if (!signal.aborted) await this.run(() => work(signal), signal);
    };
  }
}
