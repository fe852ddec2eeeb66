// What all views have: values that the address keeps, controls of them, a stage, and what says that work goes on or failed.

import * as api from "./api.js";
import { control, form, set } from "./controls.js";
import { h, problem } from "./dom.js";
import { canvasFor, sideBySide } from "./draw.js";
import { sharing } from "./share.js";

export class View {
  // `context` has the view's id and the JSON Schema of its controls, its model, the address's state, and a signal when
  // the view is left. The values are in `ask`.
  constructor(place, context) {
    const { fields, model } = context;
    Object.assign(this, context, { place, kind: model.kind, large: model.event_shape.at(-1) > 100, ask: {} });
    this.read(Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, field.default])));
  }

  // Adds to `ask` values of the address, or these where it has none.
  read(defaults) {
    return Object.assign(this.ask, this.state.read(defaults));
  }

  // The options that are not as by default.
  get options() {
    return Object.fromEntries(this.state.changed(this.ask).filter(([key]) => key.startsWith("o.")).map(([key, value]) => [key.slice(2), value]));
  }

  // The question for samples, as the API has it.
  asked() {
    return { model: this.model.name, n: this.ask.n, seed: this.ask.seed, options: this.options };
  }

  // Questions about this model, until the view is left; an answer says how to get the same elsewhere.
  async floats(path, body, signal = this.signal) {
    return this.hear(await api.floats(path, { model: this.model.name, ...body }, signal));
  }

  async json(path, body) {
    return this.hear(await api.json(path, { model: this.model.name, ...body }, this.signal));
  }

  hear(answer) {
    if (answer.command || answer.python) this.sharing?.hear(answer);
    return answer;
  }

  // The controls of the view; those of a group are folded where they are many and as by default.
  controls() {
    const made = ([name, field]) => control(name, field, this.ask[name]);
    const groups = Map.groupBy(Object.entries(this.fields).filter(([, { enum: all }]) => all?.length !== 1), ([, { group }]) => group);
    return [...groups].map(([group, fields]) => {
      const changed = fields.some(([name, field]) => this.ask[name] !== field.default);
      return group ? h("details", { open: changed || fields.length < 5 }, h("summary", group), fields.map(made)) : fields.map(made);
    });
  }

  // Sets a control, as if the user had.
  set(name, value) {
    set(this.place.querySelector(`[type=number][name=${name}]`), value ?? "");
  }

  canvas(label, more) {
    return canvasFor(this.kind, label, more);
  }

  // Shows a stage and controls, and draws. A change of a control draws anew, if it has no function of its own in `on`.
  // With `hasty`, `draw` is broken off by the next.
  show({ stage, below, controls = this.controls(), files, draw, hasty, on = {} }) {
    const change = (name, value) => {
      this.remember({ [name]: value });
      if (on[name]) on[name](value);
      else this.draw();
    };
    this.status = h("div.status", { role: "status" });
    this.stage = h("div.stage", h("progress"), stage, this.status, below);
    const canvases = this.stage.querySelectorAll("canvas:not(.pad, .map)");
    this.sharing = sharing(`${this.model.name}-${this.id}`, { png: () => sideBySide([...canvases]), ...files });
    this.place.replaceChildren(this.stage, form(change, controls, this.sharing.element));
    this.draw = this.newest(draw, hasty);
    return this.draw();
  }

  // Puts values into the address, a little later: browsers refuse a page that changes its address all the time.
  remember(values) {
    Object.assign(this.ask, values);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.signal.aborted || this.state.set(this.ask), 150);
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
      if (error.hint === undefined) console.error(error);
      status.replaceChildren(problem(error, () => this.run(work, signal)));
      stage.classList.add("failed");
    } finally {
      clearTimeout(slow);
      stage.classList.remove("busy");
    }
  }

  // Of many calls runs one at a time, to its end unless `hasty`, and then the newest: those that were overtaken never.
  newest(work, hasty) {
    let [waiting, busy, running] = [null, false, null];
    return async (...args) => {
      waiting = args;
      if (hasty) running?.abort();
      if (busy) return;
      busy = true;
      while (waiting) {
        if (hasty) await new Promise((resolve) => setTimeout(resolve, 100));
        const now = waiting;
        waiting = null;
        running = new AbortController();
        const signal = AbortSignal.any([this.signal, running.signal]);
        await this.run(() => work(...now, signal), signal);
      }
      busy = false;
    };
  }
}
