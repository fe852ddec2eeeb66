// All models as cards, with the filters of `dgm list`.

import { link } from "./address.js";
import { events } from "./api.js";
import { button, facts, h, problem, say } from "./dom.js";

// What a model has of each.
const FILTERS = { family: (model) => [model.family], can: (model) => model.capabilities, data: (model) => [model.dataset] };

export function showGallery(main, { state, models, signal, again }) {
  const asked = state.read({ q: "", family: "", can: "", data: "" });
  const cards = models.map((model) => card(model, signal, again));
  const found = h("p.note", { role: "status" });
  const nothing = h("div.empty", h("p", "No model is like that."), button("show all", clear));
  const selects = Object.entries(FILTERS).map(([name, of]) => {
    const values = [...new Set(models.flatMap(of))].filter(Boolean).sort();
    return h("select", { name, ariaLabel: name }, h("option", { value: "" }, `any ${name === "can" ? "capability" : name}`),
      values.map((value) => h("option", { value, selected: value === asked[name] }, value)));
  });
  const search = h("input", { type: "search", name: "q", id: "search", placeholder: "Search", ariaLabel: "Search models  ( / )", value: asked.q });
  const form = h("form.filters", { role: "search", oninput: filter, onsubmit: first }, search, selects, found);

  function filter() {
    const values = Object.fromEntries(new FormData(form));
    const words = values.q.toLowerCase().split(/\s+/);
    models.forEach((model, i) => {
      cards[i].hidden = !(words.every((word) => model.words.includes(word)) &&
        Object.entries(FILTERS).every(([key, of]) => !values[key] || of(model).includes(values[key])));
    });
    const shown = cards.filter((one) => !one.hidden).length;
    found.textContent = `${shown} model${shown === 1 ? "" : "s"}`;
    nothing.hidden = shown > 0;
    state.set(values);
  }

  function clear() {
    for (const field of form.elements) field.value = "";
    filter();
  }

  // Opens the model of that name, or the first that is shown.
  function first(event) {
    event.preventDefault();
    const named = cards[models.findIndex(({ name }) => name === search.value.trim().toLowerCase())];
    (named ?? cards.find((one) => !one.hidden))?.querySelector("a").click();
  }

  main.replaceChildren(h("h1.sr", "Models"), form, h("ul.cards", cards), nothing);
  filter();
}

function card(model, signal, again) {
  const { name, summary, picture, available } = model;
  const shown = picture ? h("img", { src: `api/pictures/${name}`, alt: "", loading: "lazy", width: 240, height: 240 }) : h("div.nopicture", "no picture");
  return h(available ? "li.card" : "li.card.away",
    h("a", { href: link(name), ariaLabel: `${name}: ${summary}` }, shown, h("h2", name)), h("p.summary", summary),
    facts(model.facts),
    !available && away(model, signal, again));
}

// What keeps a model from running: weights to pull, with a button, or a word why not.
function away(model, signal, again) {
  if (!model.plugin) return h("p.here", "no plugin for it is installed");
  if (model.weights !== "to pull") return h("p.here", "its weights are missing here");
  const start = button(`pull ${model.size}`, pull);
  const place = h("div.here", start);

  async function pull() {
    const bar = h("progress", { max: 1, ariaLabel: `Pulling ${model.name}` });
    start.disabled = true;
    place.replaceChildren(start, bar);
    try {
      for await (const { name, data } of events("pull", signal, { model: model.name })) {
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
