// The page: an address in, the gallery or a model's page out.

import { parse } from "./address.js";
import { json } from "./api.js";
import { h, problem } from "./dom.js";
import { showGallery } from "./gallery.js";

const the = (id) => document.getElementById(id);
const main = the("main");
let leave = new AbortController();
let models = null;

async function show() {
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  const { model, view, state } = parse();
  the("crumbs").replaceChildren(model && h("span", { "aria-current": "page" }, model));
  document.title = model ? `${model} · dgm` : "dgm";
  try {
    models ??= await json("models");
    if (signal.aborted) return;
    if (model) await (await import("./model.js")).showModel(main, { name: model, view, state, signal });
    else showGallery(main, { state, models, signal, again: () => ((models = null), show()) });
  } catch (error) {
    if (error.name !== "AbortError") main.replaceChildren(problem(error, show));
  }
}

const { style } = document.documentElement;
const system = matchMedia("(prefers-color-scheme: dark)");
const changed = () => dispatchEvent(new Event("themechange")); // canvases have to be painted anew
style.colorScheme = localStorage.getItem("theme") ?? "";
system.onchange = changed;
the("theme").onclick = () => {
  const dark = (style.colorScheme || (system.matches ? "dark" : "light")) === "dark";
  localStorage.setItem("theme", (style.colorScheme = dark ? "light" : "dark"));
  changed();
};

the("skip").onclick = () => (main.focus(), false);

onkeydown = (event) => {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || target.matches("input:not([type=range]), select")) return;
  if (key === "r") document.querySelector(".seed button:last-child")?.click();
  else if (key === " " && !target.matches("button, a, summary")) document.querySelector("[data-play]")?.click();
  else if (key !== "/") return;
  else if (the("search")) the("search").focus();
  else location.hash = "#/";
  event.preventDefault();
};

onhashchange = show;
show();
