// Controls: a label, and fields that have the name of a value. Their form says what has changed.

import { button, clamp, h } from "./dom.js";

export function form(change, ...controls) {
  function take({ target: { name, value, type, checked, defaultValue, min, max, step, placeholder } }) {
    if (!name) return;
    if (type === "checkbox") value = checked;
    else if (type !== "select-one") {
      const wanted = value || (placeholder ? null : defaultValue);
      value = wanted && clamp(step === "1" ? Math.round(wanted) : Number(wanted), min, max);
      for (const field of element.elements) if (field.name === name) field.value = field.defaultValue = value ?? "";
    }
    change(name, value);
  }
  // A slider says so while it moves, what is typed when it is done.
  const oninput = (event) => event.target.type === "range" && take(event);
  const element = h("form.controls", { oninput, onchange: take, onsubmit: (event) => event.preventDefault() }, controls);
  return element;
}

// Sets a field, as if the user had.
export function set(field, value) {
  field.value = value;
  field.dispatchEvent(new Event("change", { bubbles: true }));
}

// A control of a value, made from what a JSON Schema says of it.
export function control(name, { title, type, enum: all, texts, slider, minimum: min, maximum: max, default: usual }, value) {
  const row = (kind, ...fields) => {
    fields[0].id = `c-${name}`;
    return h(`div.control${kind}`, h("label", { htmlFor: fields[0].id }, title), fields);
  };
  if (all) return row("", h("select", { name }, all.map((key, i) => h("option", { value: key, selected: key === value }, texts[i]))));
  if (type === "boolean") return row(".check", h("input", { type: "checkbox", name, checked: value }));
  const integer = type === "integer";
  const box = h("input", { type: "number", name, min, max, step: integer ? 1 : "any", value: String(value ?? ""), placeholder: usual === null && "none" });
  if (!slider) return row(".seed", box, seedButtons(box));
  const [first, last, step] = slider;
  box.ariaLabel = `${title}, exactly`; // the number beside a slider, which may go further
  return row("", h("input", { type: "range", name, min: first, max: last, step, value: value ?? first }), box);
}

// Of a seed: one back, one on, and any.
function seedButtons(box) {
  const to = (text, title, seed) => button(text, () => set(box, seed(Number(box.value))), { title, ariaLabel: title });
  return h("div.buttons", to("−", "Previous seed", (seed) => seed - 1), to("+", "Next seed", (seed) => seed + 1),
    to("random", "Random seed (r)", () => Math.random() * 10000));
}
