// "Copy as" and "Download": what is on the page, as a command, as Python, as an address, as files.

import { button, h, say } from "./dom.js";

// `files` has functions that return a Blob, by the endings of their names. `hear` takes what an answer says of itself.
export function sharing(name, files) {
  let words = {};
  const code = h("pre.command", { tabIndex: 0, ariaLabel: "The same on the command line" });
  const copies = ["command", "Python", "address"].map((kind) => press(kind, () => copy(words[kind] ?? location.href)));
  const downloads = Object.entries(files).map(([ending, make]) => press(ending, async () => save(`${name}.${ending}`, await make())));
  const row = (label, buttons) => h("div.share", h("span.label", label), buttons);

  function hear({ command, python }) {
    words = { command, Python: python };
    code.textContent = command ?? "";
    [copies[0].hidden, copies[1].hidden] = [!command, !python];
  }

  hear({});
  return { hear, element: h("section.sharing", { ariaLabel: "Copy and download" }, code, row("copy as", copies), row("download", downloads)) };
}

// A button that says for a moment what came of it.
function press(label, work) {
  return button(label, async ({ target }) => {
    target.disabled = true;
    target.textContent = await work().catch(({ message, hint = "" }) => `${message}: ${hint}`);
    say(`${label}: ${target.textContent}`);
    setTimeout(() => Object.assign(target, { disabled: false, textContent: label }), 1500);
  });
}

function save(download, content) {
  const href = URL.createObjectURL(content);
  h("a", { href, download }).click();
  setTimeout(() => URL.revokeObjectURL(href), 1000);
  return "saved";
}

async function copy(text) {
  if (!navigator.clipboard) prompt("Copy this:", text); // there is none over plain http from another machine
  else await navigator.clipboard.writeText(text);
  return "copied";
}
