// All models as cards, with the filters of `dgm list`.

import { link } from "./address.js";
import { events } from "./api.js";
import { button, bytes, count, h, problem, say } from "./dom.js";

// By the key in the address: what "any" of it is called, and what a model has of it.
const FILTERS = {
  family: ["family", (model) => [model.family]],
  can: ["capability", (model) => model.capabilities],
  data: ["data", (model) => [model.dataset]],
};

export function showGallery(main, { state, models, signal, again }) {
  const asked = state.read({ q: "", family: "", can: "", data: "" });
  const cards = models.map((model) => card(model, signal, again));
  const found = h("p", { class: "note", role: "status" });
  const nothing = h("div", { class: "empty" }, h("p", {}, "No model is like that."), button("show all", clear));
  const selects = Object.entries(FILTERS).map(([key, [any, of]]) => {
    const values = [...new Set(models.flatMap(of))].filter(Boolean).sort();
    return h("select", { name: key, "aria-label": key }, h("option", { value: "" }, `any ${any}`),
      values.map((value) => h("option", { value, selected: value === asked[key] }, value)));
  });
  const search = h("input", { type: "search", name: "q", id: "search", placeholder: "Search", "aria-label": "Search models  ( / )", value: asked.q });
  const form = h("form", { class: "filters", role: "search", oninput: filter, onsubmit: first }, search, selects, found);

  function filter() {
    const { q, ...chosen } = Object.fromEntries(new FormData(form));
    const words = q.toLowerCase().split(/\s+/);
    models.forEach((model, i) => {
      const text = [model.name, model.summary, model.family, model.dataset, ...model.tags, ...model.capabilities].join(" ").toLowerCase();
      cards[i].hidden = !(words.every((word) => text.includes(word)) &&
        Object.entries(chosen).every(([key, value]) => !value || FILTERS[key][1](model).includes(value)));
    });
    const shown = cards.filter((one) => !one.hidden).length;
    found.textContent = `${shown} model${shown === 1 ? "" : "s"}`;
    nothing.hidden = shown > 0;
    state.set({ q, ...chosen });
  }

  function clear() {
    for (const field of form.elements) field.value = "";
    filter();
  }

  function first(event) {
    event.preventDefault();
    const named = cards[models.findIndex((model) => model.name === search.value.trim().toLowerCase())];
    (named ?? cards.find((one) => !one.hidden))?.querySelector("a").click();
  }

  main.replaceChildren(h("h1", { class: "sr" }, "Models"), form, h("ul", { class: "cards" }, cards), nothing);
  filter();
}

function card(model, signal, again) {
  const facts = [model.family ?? "no plugin", `${model.dataset} ${model.event_shape.join("×")}`, `${count(model.parameters)} weights`, model.license];
  return h("li", { class: model.available ? "card" : "card away" },
    h("a", { href: link(model.name), "aria-label": `${model.name}: ${model.summary}` }, thumbnail(model), h("h2", {}, model.name)),
    h("p", { class: "summary" }, model.summary),
    h("p", { class: "facts" }, facts.filter(Boolean).map((fact) => h("span", {}, fact))),
    !model.available && away(model, signal, again));
}

function thumbnail(model) {
  if (model.picture) return h("img", { src: `api/pictures/${model.name}`, alt: "", loading: "lazy", width: 240, height: 240 });
  const words = { critic: "judges", features: "features", encoder: "codes" };
  const word = words[model.capabilities.find((c) => words[c])] ?? "no picture yet";
  return h("div", { class: "nopicture", "aria-hidden": "true" }, h("span", {}, word));
}

// What keeps a model from running: weights to pull, with a button, or a word why not.
function away(model, signal, again) {
  if (!model.plugin) return h("p", { class: "here" }, "no plugin for it is installed");
  if (model.weights !== "to pull") return h("p", { class: "here" }, "its weights are missing here");
  const start = button(`pull ${bytes(model.bytes)}`, pull);
  const place = h("div", { class: "here" }, start);

  async function pull() {
    const bar = h("progress", { max: 1, "aria-label": `Pulling ${model.name}` });
    start.disabled = true;
    place.replaceChildren(start, bar);
    try {
      for await (const { name, data } of events("api/pull", signal, { model: model.name })) {
        if (name === "progress" && data.total) bar.value = Math.min(1, data.bytes / data.total);
      }
      say(`${model.name} is here`);
      again();
    } catch (error) {
      if (error.name === "AbortError") return;
      start.disabled = false;
      place.replaceChildren(start, problem(error));
    }
  }
  return place;
}
