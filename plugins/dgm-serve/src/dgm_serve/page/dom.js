// Elements, and numbers and bytes as text.

// An element in one call: h("button", { class: "quiet", onclick: go }, "Go").
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element) element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(3).filter((child) => child ?? false));
  return element;
}

export const button = (text, onclick, more) => h("button", { type: "button", onclick, ...more }, text);

export const note = (...text) => h("p", { class: "note" }, text);

// Pictures in a row, each with what is said below it: [element, caption].
export const figures = (name, ...all) => h("div", { class: name }, all.map(([element, caption]) => h("figure", {}, element, h("figcaption", {}, caption))));

// An error: what went wrong, what to do, and once more.
export function problem(error, again) {
  if (error.hint === undefined) console.error(error);
  return h("div", { class: "problem", role: "alert" }, h("strong", {}, error.message), h("span", {}, error.hint), again && button("try again", again));
}

// Says something to those who can't see it.
export function say(text) {
  document.getElementById("said").textContent = text;
}

export const listed = (...parts) => parts.filter(Boolean).join(", ");

export const clamp = (value, low, high) => Math.max(low, Math.min(high, value));

// 1234567 as 1.2M, for people.
export function count(n) {
  const [unit, size] = [["G", 1e9], ["M", 1e6], ["k", 1e3]].find(([, size]) => n >= size) ?? ["", 1];
  return size === 1 ? String(n ?? "") : (n / size).toPrecision(n / size >= 100 ? 3 : 2) + unit;
}

export const bytes = (n) => count(n).replace(/(\d)([GMk]?)$/, "$1 $2B");

export function number(x) {
  if (x === null || x === undefined) return "none";
  return String(Number.isInteger(x) ? x : Number(x.toPrecision(4)));
}

// --- bytes in base64

export const toBase64 = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
export const fromBase64 = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
export const floatsOf = (text) => new Float32Array(fromBase64(text).buffer);
