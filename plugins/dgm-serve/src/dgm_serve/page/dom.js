// Elements, and numbers as text.

// An element in one call: h("button.quiet", { onclick: go }, "Go"). What is null or false is left out.
export function h(name, ...content) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElement(tag);
  element.classList.add(...classes);
  const attributes = content[0]?.constructor === Object ? content.shift() : {};
  for (const [key, value] of Object.entries(attributes)) {
    if ((value ?? false) === false) continue;
    if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...content.flat(Infinity).filter(Boolean));
  return element;
}

export const button = (text, onclick, more) => h("button", { type: "button", onclick, ...more }, text);

export const note = (...text) => h("p.note", text);

export const facts = (all) => h("p.facts", all.map((fact) => h("span", fact)));

// Pictures in a row, each with what is said below it: [element, caption].
export const figures = (name, ...all) =>
  h(`div.${name}`, all.map(([element, ...caption]) => h("figure", element, h("figcaption", caption))));

// What went wrong, what to do, and once more.
export const problem = ({ message, hint }, again) =>
  h("div.problem", { role: "alert" }, h("strong", message), h("span", hint), again && button("try again", again));

// Says something to those who can't see it.
export function say(text) {
  document.getElementById("said").textContent = text;
}

export const clamp = (value, low, high) => Math.max(low, Math.min(high, value));

export const number = (x) => (Number.isInteger(x) ? String(x) : String(Number(x.toPrecision(4))));

export const floatsOf = (base64) => new Float32Array(Uint8Array.fromBase64(base64).buffer);
