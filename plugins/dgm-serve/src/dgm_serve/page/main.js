// The page: an address in, the gallery or a model's page out.

import { parse } from "./address.js";
import { json } from "./api.js";
import { h, problem } from "./dom.js";
import { showGallery } from "./gallery.js";

const main = document.getElementById("main");
let leave = new AbortController();
let models = null;

async function show() {
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  const { model, view, state } = parse();
  document.getElementById("crumbs").replaceChildren(model && h("span", { "aria-current": "page" }, model));
  document.title = model ? `${model} · dgm` : "dgm";
  try {
    models ??= await json("api/models");
    if (signal.aborted) return;
    if (model) await (await import("./model.js")).showModel(main, { name: model, view, state, models, signal });
    else showGallery(main, { state, models, signal, again: () => ((models = null), show()) });
  } catch (error) {
    if (error.name !== "AbortError") main.replaceChildren(problem(error, show));
  }
}

// --- dark and light

const { style } = document.documentElement;
const system = matchMedia("(prefers-color-scheme: dark)");
const changed = () => dispatchEvent(new Event("themechange")); // canvases have to be painted anew
style.colorScheme = localStorage.getItem("theme") ?? "";
system.addEventListener("change", changed);
document.getElementById("theme").addEventListener("click", () => {
  const dark = (style.colorScheme || (system.matches ? "dark" : "light")) === "dark";
  localStorage.setItem("theme", (style.colorScheme = dark ? "light" : "dark"));
  changed();
});

// --- the keyboard

document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
  const press = (selector) => document.querySelector(selector)?.click();
  if (event.key === "r") return press(".seed button:last-child");
  if (event.key === "/") {
    const search = document.getElementById("search");
    if (search) search.focus();
    else location.hash = "#/";
  } else if (event.key === " " && !event.target.matches("button, a, summary")) press("[data-play]");
  else return;
  event.preventDefault();
});

addEventListener("hashchange", show);
show();
