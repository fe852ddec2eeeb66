// Elements, in one call: h("button", { class: "quiet", onclick: go }, "Go").

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && name !== "list" && name !== "form") element[name] = value;
    else element.setAttribute(name === "class" ? "class" : name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

// Says something to those who can't see it.
export function say(text) {
  document.getElementById("said").textContent = text;
}

// 1234567 as 1.2M, for people.
export function count(n) {
  if (n === null || n === undefined) return "";
  for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e3]]) {
    if (n >= size) return (n / size).toPrecision(n / size >= 100 ? 3 : 2) + unit;
  }
  return String(n);
}

export function bytes(n) {
  return n === null || n === undefined ? "" : count(n).replace(/([GMk]?)$/, " $1B");
}

export function number(x) {
  if (x === null || x === undefined) return "none";
  return Number.isInteger(x) ? String(x) : Number(x.toPrecision(4)).toString();
}
