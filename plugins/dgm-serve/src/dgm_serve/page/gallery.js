// All models as cards, with the filters of `dgm list`.

import { link } from "./address.js";
import { events } from "./api.js";
import { bytes, count, h, say } from "./dom.js";

const FILTERS = [
  ["family", "family", (m) => [m.family]],
  ["can", "can", (m) => m.capabilities],
  ["data", "data", (m) => [m.dataset]],
];

export function showGallery(main, { state, models, signal, again }) {
  const cards = models.map((model) => ({ model, element: card(model, signal, again) }));
  const grid = h("ul", { class: "cards" }, cards.map(({ element }) => element));
  const found = h("p", { class: "found", role: "status" });
  const nothing = h("div", { class: "empty", hidden: true }, h("p", {}, "No model is like that."),
    h("button", { type: "button", onclick: () => clear() }, "show all"));

  const search = h("input", { type: "search", id: "search", placeholder: "Search", "aria-label": "Search models  ( / )", value: state.text("q") });
  const selects = FILTERS.map(([key, label, of]) => {
    const values = [...new Set(models.flatMap(of))].filter(Boolean).sort();
    return [key, of, h("select", { "aria-label": label },
      h("option", { value: "" }, `any ${label === "can" ? "capability" : label}`),
      values.map((value) => h("option", { value, selected: value === state.text(key) }, value)))];
  });

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { model, element } of cards) {
      const text = [model.name, model.summary, model.family, model.dataset, ...model.tags, ...model.capabilities].join(" ").toLowerCase();
      const fits = words.every((word) => text.includes(word)) &&
        selects.every(([, of, select]) => !select.value || of(model).includes(select.value));
      element.hidden = !fits;
      shown += fits;
    }
    found.textContent = `${shown} model${shown === 1 ? "" : "s"}`;
    nothing.hidden = shown > 0;
    state.set({ q: search.value, ...Object.fromEntries(selects.map(([key, , select]) => [key, select.value])) });
  }

  function clear() {
    search.value = "";
    for (const [, , select] of selects) select.value = "";
    filter();
  }

  search.addEventListener("input", filter);
  search.addEventListener("keydown", (event) => event.key === "Enter" && grid.querySelector("li:not([hidden]) a")?.click());
  for (const [, , select] of selects) select.addEventListener("change", filter);
  main.replaceChildren(
    h("h1", { class: "sr" }, "Models"),
    h("div", { class: "filters", role: "search" }, search, selects.map(([, , select]) => select), found),
    grid, nothing);
  filter();
}

function card(model, signal, again) {
  const shape = model.event_shape.join("×");
  const facts = [model.family ?? "no plugin", `${model.dataset} ${shape}`, `${count(model.parameters)} weights`, model.license];
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
  const bar = h("progress", { max: 1, hidden: true, "aria-label": `Pulling ${model.name}` });
  const button = h("button", { type: "button", onclick: pull }, model.bytes ? `pull ${bytes(model.bytes)}` : "pull");
  const line = h("p", { class: "here" }, button, bar);

  async function pull() {
    button.disabled = true;
    bar.hidden = false;
    bar.removeAttribute("value");
    try {
      for await (const { name, data } of events("api/pull", { model: model.name }, signal)) {
        if (name === "progress" && data.total) bar.value = Math.min(1, data.bytes / data.total);
      }
      say(`${model.name} is here`);
      again();
    } catch (error) {
      if (error.name === "AbortError") return;
      bar.hidden = true;
      button.disabled = false;
      line.querySelector(".problem")?.remove();
      line.append(h("span", { class: "problem", role: "alert" }, h("strong", {}, error.message), h("span", {}, error.hint)));
    }
  }
  return line;
}
