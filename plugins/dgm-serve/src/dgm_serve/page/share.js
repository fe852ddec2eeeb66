// "Copy as" and "Download": what is on the page, as a command, as Python, as an address, as files.

import { blob } from "./api.js";
import { h, say } from "./dom.js";

// `as` has functions command() and python(); `files` has { label: async () => [name, Blob] }.
export function share(as, files = {}) {
  const copy = (name, text) => {
    const button = h("button", { type: "button", onclick: async () => {
      const done = await copied(text());
      const before = name;
      button.textContent = done ? "copied" : "can't copy";
      say(done ? `${before} copied` : "the browser does not let this page copy");
      setTimeout(() => (button.textContent = before), 1200);
    } }, name);
    return button;
  };
  const save = ([name, make]) => {
    const button = h("button", { type: "button", onclick: async () => {
      button.disabled = true;
      try {
        download(...await make());
      } catch (error) {
        say(error.message);
        button.title = `${error.message}: ${error.hint ?? ""}`;
      }
      button.disabled = false;
    } }, name);
    return button;
  };
  const rows = [h("div", { class: "share" }, h("span", { class: "label" }, "copy as"),
    as.command && copy("command", as.command), as.python && copy("Python", as.python), copy("address", () => location.href))];
  if (Object.keys(files).length) {
    rows.push(h("div", { class: "share" }, h("span", { class: "label" }, "download"), Object.entries(files).map(save)));
  }
  const code = as.command && h("pre", { class: "command", tabIndex: 0, "aria-label": "The same on the command line" });
  const refresh = () => code && (code.textContent = as.command());
  refresh();
  return { element: h("section", { class: "sharing", "aria-label": "Copy and download" }, code, rows), refresh };
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h("textarea", { value: text });
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

export function download(name, content) {
  const url = URL.createObjectURL(content);
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

export const canvasFile = (name, canvas) => async () =>
  [`${name}.png`, await new Promise((resolve) => canvas().toBlob(resolve, "image/png"))];

export const sampleFile = (name, ask, format) => async () =>
  [`${name()}.${format}`, await blob("api/sample", { ...ask(), format })];

// --- words --------------------------------------------------------------------------------------------

const shell = (value) => (typeof value === "object" ? `'${JSON.stringify(value)}'` : String(value));
const python = (value) => value === true ? "True" : value === false ? "False" : value === null ? "None" : JSON.stringify(value);

// The command and the Python of a question for samples, as the API has it.
export function sampleCommand({ model, n, seed, options = {}, tilt, weight = 1 }, extra = "") {
  const set = Object.entries(options).map(([key, value]) => ` --set ${key}=${value === null ? "null" : shell(value)}`).join("");
  return `dgm sample ${model} -n ${n} --seed ${seed}${tilt ? ` --tilt ${tilt}:${weight}` : ""}${set}${extra}`;
}

export function samplePython({ model, n, seed, options = {}, tilt, weight = 1 }) {
  const named = Object.entries(options).map(([key, value]) => `, ${key}=${python(value)}`).join("");
  const load = tilt
    ? `from dgmcore.compose import tilt\n\nmodel = tilt(dgmcore.load("${model}"), dgmcore.load("${tilt}"), ${weight})`
    : `\nmodel = dgmcore.load("${model}")`;
  return `import dgmcore\n${load}\nx = dgmcore.sample(model, ${n}, seed=${seed}${named})\n`;
}
