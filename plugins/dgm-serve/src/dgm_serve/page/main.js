// The page: an address in, the gallery or a model's page out.

import { parse } from "./address.js";
import { json } from "./api.js";
import { h } from "./dom.js";
import { problem } from "./frame.js";
import { showGallery } from "./gallery.js";

const main = document.getElementById("main");
const crumbs = document.getElementById("crumbs");
let leave = new AbortController();
let models = null;

async function show() {
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  const { model, view, state } = parse();
  crumbs.replaceChildren(model ? h("span", { "aria-current": "page" }, model) : "");
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

// --- dark and light, and the keyboard ------------------------------------------------------------------

const root = document.documentElement;
root.dataset.theme = localStorage.getItem("theme") ?? "";
document.getElementById("theme").addEventListener("click", () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
  dispatchEvent(new Event("themechange"));
});

document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
  const press = (selector) => document.querySelector(selector)?.click();
  if (event.key === "/") {
    const search = document.getElementById("search");
    if (search) search.focus();
    else location.hash = "#/";
    event.preventDefault();
  } else if (event.key === "r") press(".seed button:last-child");
  else if (event.key === " " && !event.target.matches("button, a, summary")) {
    press("[data-play]");
    event.preventDefault();
  }
});

addEventListener("hashchange", show);
show();
