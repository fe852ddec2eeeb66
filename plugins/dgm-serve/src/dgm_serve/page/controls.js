// Controls that know their value, their bounds and their label. Each calls `onchange` with the new value.

import { h, number } from "./dom.js";

let ids = 0;
const fresh = () => `c${++ids}`;

// A slider with a number beside it, which may go further than the slider, up to `limits`.
export function slider({ label, value, min, max, step, limits = [min, max], integer = false, hint, onchange }) {
  const id = fresh();
  const snap = (v) => (integer ? Math.round(v) : Number(v.toPrecision(6)));
  const bounded = (v) => Math.min(limits[1], Math.max(limits[0], snap(v)));
  const range = h("input", { type: "range", id, min, max, step: step ?? (integer ? 1 : "any"), value });
  const box = h("input", { type: "text", inputMode: "decimal", value: number(value), "aria-label": `${label}, exactly` });
  if (step === undefined && !integer) range.step = (max - min) / 100;
  const give = (v) => {
    value = bounded(v);
    range.value = value;
    box.value = number(value);
    onchange(value);
  };
  range.addEventListener("input", () => give(Number(range.value)));
  box.addEventListener("change", () => {
    const typed = Number.parseFloat(box.value.replace(",", "."));
    if (Number.isFinite(typed)) give(typed);
    else box.value = number(value);
  });
  return h("div", { class: "control" }, h("label", { htmlFor: id, title: hint }, label), box, range);
}

export function choice({ label, value, options, onchange }) {
  const id = fresh();
  const select = h("select", { id, onchange: () => onchange(select.value) },
    options.map(([key, text]) => h("option", { value: key, selected: key === value }, text ?? key)));
  return h("div", { class: "control" }, h("label", { htmlFor: id }, label), select);
}

export function toggle({ label, value, onchange }) {
  const id = fresh();
  const box = h("input", { type: "checkbox", id, checked: value, onchange: () => onchange(box.checked) });
  return h("div", { class: "control check" }, box, h("label", { htmlFor: id }, label));
}

// The seed: a number, one back, one on, and any.
export function seeds(value, onchange) {
  const id = fresh();
  const give = (seed) => {
    value = Math.max(0, Math.min(2 ** 53 - 1, Math.floor(seed) || 0));
    box.value = value;
    onchange(value);
  };
  const box = h("input", { type: "text", inputMode: "numeric", id, value, onchange: () => give(Number(box.value)) });
  const button = (text, name, seed) => h("button", { type: "button", "aria-label": name, title: name, onclick: () => give(seed()) }, text);
  return h("div", { class: "control seed" }, h("label", { htmlFor: id }, "seed"), box,
    h("div", { class: "buttons" },
      button("−", "Previous seed", () => value - 1), button("+", "Next seed", () => value + 1),
      button("random", "Random seed (r)", () => Math.floor(Math.random() * 10000))));
}

// The options of a model, made from their JSON Schema. `values` holds what differs from the defaults.
export function options(schema, values, onchange) {
  const give = (name, value, otherwise) => {
    if (JSON.stringify(value) === JSON.stringify(otherwise)) delete values[name];
    else values[name] = value;
    onchange(values);
  };
  return Object.entries(schema.properties ?? {}).map(([name, option]) =>
    optionControl(name, option, values[name] ?? option.default, (value) => give(name, value, option.default))).filter(Boolean);
}

function optionControl(name, option, value, onchange) {
  const kinds = option.anyOf ?? [option];
  const kind = kinds.find((k) => k.enum || ["number", "integer", "boolean"].includes(k.type));
  const label = name.replaceAll("_", " ");
  if (!kind) return null;
  if (kind.enum) return choice({ label, value, options: kind.enum.map((text) => [text]), onchange });
  if (kind.type === "boolean") return toggle({ label, value, onchange });
  const optional = kinds.some((k) => k.type === "null");
  if (optional && value === null) return unset(label, () => kind, (v) => onchange(v));
  return slider({ label, value, integer: kind.type === "integer", ...reach(kind, value), onchange });
}

// An option that is not set: a button that sets it, after which it is a slider.
function unset(label, kind, onchange) {
  const place = h("div", { class: "control" }, h("span", { class: "label" }, label));
  const set = () => {
    const { min, max, ...rest } = reach(kind(), undefined);
    const value = kind().type === "integer" ? Math.max(1, Math.round(min)) : (min + max) / 2;
    const made = slider({ label, value, min, max, integer: kind().type === "integer", ...rest, onchange });
    place.replaceWith(made);
    made.querySelector("input[type=range]").focus();
    onchange(value);
  };
  place.append(h("button", { type: "button", class: "quiet", onclick: set }, "not set"));
  return place;
}

// Where a slider goes: to the bounds if they are near, else to a few times the default.
function reach(kind, value) {
  const low = kind.minimum ?? (kind.exclusiveMinimum === undefined ? -1e6 : kind.exclusiveMinimum + 1e-6);
  const high = kind.maximum ?? 1e6;
  const limits = [low, high];
  if (high - low <= 100) return { min: low, max: high, limits };
  const size = Math.abs(value ?? 1) || 1;
  const max = Math.min(high, kind.type === "integer" ? Math.max(20, 5 * size) : 2.5 * size);
  const min = low < -1e5 ? (value < 0 ? -max : 0) : Math.max(low, Math.min(low + 1, 0));
  return { min: kind.type === "integer" ? Math.max(low, 0) : Math.max(low, min), max, limits };
}

export function button(text, onclick, attributes = {}) {
  return h("button", { type: "button", onclick, ...attributes }, text);
}
