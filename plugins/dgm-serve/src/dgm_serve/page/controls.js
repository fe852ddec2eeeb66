// Controls that know their value, their bounds and their label. Each calls `onchange` with the new value.

import { button, clamp, h, number } from "./dom.js";

let ids = 0;

function control(name, label, input, ...more) {
  input.id = `c${++ids}`;
  return h("div", { class: `control ${name}` }, h("label", { htmlFor: input.id }, label), input, more);
}

// A slider with a number beside it, which may go further than the slider, up to `limits`.
export function slider({ label, value, min, max, integer = false, step = integer ? 1 : (max - min) / 100, limits = [min, max], onchange }) {
  const range = h("input", { type: "range", min, max, step, value, oninput: () => give(Number(range.value)) });
  const typed = () => give(Number.parseFloat(box.value.replace(",", ".")));
  const box = h("input", { type: "text", inputMode: "decimal", value: number(value), "aria-label": `${label}, exactly`, onchange: typed });
  function give(wanted) {
    const known = Number.isFinite(wanted);
    if (known) value = clamp(integer ? Math.round(wanted) : Number(wanted.toPrecision(6)), ...limits);
    [range.value, box.value] = [value, number(value)];
    if (known) onchange(value);
  }
  return control("", label, range, box);
}

// One of [key, text]; without a text the key is shown.
export function choice({ label, value, options, onchange }) {
  const select = h("select", { onchange: () => onchange(select.value) },
    options.map(([key, text = key]) => h("option", { value: key, selected: key === value }, text)));
  return control("", label, select);
}

// The seed: a number, one back, one on, and any.
export function seeds(value, onchange) {
  const give = (seed) => {
    value = box.value = clamp(Math.floor(seed) || 0, 0, Number.MAX_SAFE_INTEGER);
    onchange(value);
  };
  const box = h("input", { type: "text", inputMode: "numeric", value, onchange: () => give(Number(box.value)) });
  const to = (text, title, seed) => button(text, () => give(seed()), { title, "aria-label": title });
  return control("seed", "seed", box, h("div", { class: "buttons" }, to("−", "Previous seed", () => value - 1),
    to("+", "Next seed", () => value + 1), to("random", "Random seed (r)", () => Math.random() * 10000)));
}

// The options of a model, made from their JSON Schema. `values` holds what differs from the defaults.
export function options(schema, values, onchange) {
  return Object.entries(schema.properties ?? {}).map(([name, option]) =>
    optionControl(name.replaceAll("_", " "), option.anyOf ?? [option], values[name] ?? option.default, (value) => {
      if (JSON.stringify(value) === JSON.stringify(option.default)) delete values[name];
      else values[name] = value;
      onchange();
    }));
}

function optionControl(label, kinds, value, onchange) {
  const kind = kinds.find(({ enum: names, type }) => names || ["number", "integer", "boolean"].includes(type));
  if (!kind) return null;
  if (kind.enum) return choice({ label, value, options: kind.enum.map((name) => [name]), onchange });
  if (kind.type === "boolean") {
    const box = h("input", { type: "checkbox", checked: value, onchange: () => onchange(box.checked) });
    return control("check", label, box);
  }
  const integer = kind.type === "integer";
  const made = (start) => slider({ label, value: start, integer, ...reach(kind, value), onchange });
  if (value !== null && value !== undefined) return made(value);
  // It is not set: a button sets it, after which it is a slider.
  const set = () => {
    const { min, max } = reach(kind);
    const start = integer ? Math.max(1, min) : (min + max) / 2;
    const control = made(start);
    unset.replaceWith(control);
    control.querySelector("input").focus();
    onchange(start);
  };
  const unset = h("div", { class: "control" }, h("span", { class: "label" }, label), button("not set", set, { class: "quiet" }));
  return unset;
}

// Where a slider goes: to the bounds if they are near, else to a few times the value.
function reach({ type, minimum, maximum = 1e6, exclusiveMinimum = -1e6 }, value) {
  const low = minimum ?? exclusiveMinimum + 1e-6;
  const limits = [low, maximum];
  if (maximum - low <= 100) return { min: low, max: maximum, limits };
  const size = Math.abs(value ?? 1) || 1;
  const max = Math.min(maximum, type === "integer" ? Math.max(20, 5 * size) : 2.5 * size);
  return { min: Math.max(low, value < 0 && type !== "integer" ? -max : 0), max, limits };
}
