// "Copy as" and "Download": what is on the page, as a command, as Python, as an address, as files.

import { blob } from "./api.js";
import { button, h, say } from "./dom.js";

// `as` has functions command() and python(); `files` has { label: async () => [name, Blob] }.
export function share({ command, python }, files) {
  const copies = { command, Python: python, address: () => location.href };
  const row = (label, all, work) => h("div", { class: "share" }, h("span", { class: "label" }, label),
    Object.entries(all).map(([name, make]) => make && press(name, () => work(make))));
  const code = command && h("pre", { class: "command", tabIndex: 0, "aria-label": "The same on the command line" });
  const element = h("section", { class: "sharing", "aria-label": "Copy and download" }, code,
    row("copy as", copies, copy), row("download", files, save));
  return { element, refresh: () => code && (code.textContent = command()) };
}

// A button that says for a moment what came of it.
function press(label, work) {
  const control = button(label, async () => {
    control.disabled = true;
    control.textContent = await work().catch((error) => `${error.message}: ${error.hint ?? ""}`);
    say(`${label}: ${control.textContent}`);
    setTimeout(() => Object.assign(control, { disabled: false, textContent: label }), 1500);
  });
  return control;
}

async function save(make) {
  const [download, content] = await make();
  const href = URL.createObjectURL(content);
  h("a", { href, download }).click();
  setTimeout(() => URL.revokeObjectURL(href), 1000);
  return "saved";
}

async function copy(make) {
  try {
    await navigator.clipboard.writeText(make());
    return "copied";
  } catch { // over plain http from another machine there is no clipboard
    const area = h("textarea", { value: make() });
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done ? "copied" : "the browser does not let this page copy";
  }
}

export const canvasFile = (name, canvas) => async () => [`${name}.png`, await new Promise((resolve) => canvas.toBlob(resolve))];

// The samples that are asked for, as the command writes them.
export function sampleFiles(name, asked) {
  const file = (format) => async () => [`${name()}.${format}`, await blob("api/sample", { ...asked(), format })];
  return { PNG: file("png"), npz: file("npz") };
}

// --- words

// JSON as Python has it.
export function python(value) {
  const words = { true: "True", false: "False", null: "None" };
  return JSON.stringify(value).replace(/"(\\.|[^"])*"|true|false|null/g, (found) => words[found] ?? found);
}

// A question for samples, as the API has it, as a command and as Python.
export const sampleWords = (asked) => ({ command: () => sampleCommand(asked()), python: () => samplePython(asked()) });

export function sampleCommand({ model, n, seed, options = {}, tilt, weight }) {
  const shell = (value) => (value !== null && typeof value === "object" ? `'${JSON.stringify(value)}'` : value);
  const set = Object.entries(options).map(([key, value]) => ` --set ${key}=${shell(value)}`).join("");
  return `dgm sample ${model} -n ${n} --seed ${seed}${tilt ? ` --tilt ${tilt}:${weight}` : ""}${set}`;
}

function samplePython({ model, n, seed, options = {}, tilt, weight }) {
  const named = Object.entries(options).map(([key, value]) => `, ${key}=${python(value)}`).join("");
  const [also, made] = tilt
    ? ["from dgmcore.compose import tilt\n", `tilt(dgmcore.load("${model}"), dgmcore.load("${tilt}"), ${weight})`]
    : ["", `dgmcore.load("${model}")`];
  return `import dgmcore\n${also}\nmodel = ${made}\nx = dgmcore.sample(model, ${n}, seed=${seed}${named})\n`;
}
