// A model's page: what it is, and a tab for each view that its capabilities allow.

import { link } from "./address.js";
import { json } from "./api.js";
import { bytes, count, h, number } from "./dom.js";
import { compare } from "./views/compare.js";
import { density } from "./views/density.js";
import { given } from "./views/given.js";
import { noise } from "./views/noise.js";
import { reconstruct } from "./views/reconstruct.js";
import { samples } from "./views/samples.js";
import { tilt } from "./views/tilt.js";
import { train } from "./views/train.js";
import { trajectory } from "./views/trajectory.js";

// Each: { id, title, fits(model, models), show(place, context) }.
const VIEWS = [samples, noise, trajectory, density, tilt, reconstruct, given, compare, train];

export async function showModel(main, { name, view, state, models, signal }) {
  main.replaceChildren(h("p", { class: "waiting" }, "opening ", name, " …"));
  const model = await json(`api/models/${encodeURIComponent(name)}`, undefined, signal);
  const views = model.plugin && model.available ? VIEWS.filter((one) => one.fits(model, models)) : [];
  const chosen = views.find((one) => one.id === view) ?? (view === "about" ? about : views[0] ?? about);
  const tabs = [...views, about].map((one) =>
    h("a", { href: link(name, one.id), "aria-current": one === chosen ? "page" : undefined }, typeof one.title === "function" ? one.title(model) : one.title));
  const place = h("div", { class: `view view-${chosen.id}` });
  main.replaceChildren(header(model), h("nav", { class: "tabs", "aria-label": "What to do with it" }, tabs), place);
  place.before(h("p", { class: "lead" }, chosen.lead ?? ""));
  tabs.find((tab) => tab.hasAttribute("aria-current"))?.scrollIntoView({ block: "nearest", inline: "nearest" });
  await chosen.show(place, { model, models, state, signal });
}

function header(model) {
  const facts = [
    model.family,
    `${model.dataset}, ${model.event_shape.join("×")}`,
    model.parameters && `${count(model.parameters)} weights`,
    model.bytes && bytes(model.bytes),
    model.likelihood && `likelihood: ${model.likelihood.replace("_", " ")}`,
    model.license,
  ];
  return h("header", { class: "title" }, h("h1", {}, model.name), h("p", { class: "summary" }, model.summary),
    h("p", { class: "facts" }, facts.filter(Boolean).map((fact) => h("span", {}, fact))));
}

// --- about ----------------------------------------------------------------------------------------------

const about = {
  id: "about",
  title: "About",
  show(place, { model }) {
    const row = (name, value) => value && [h("dt", {}, name), h("dd", {}, value)];
    const metrics = model.metrics.map((metric) =>
      h("tr", {}, h("td", {}, metric.name), h("td", { class: "number" }, number(metric.value)), h("td", {}, metric.unit ?? ""),
        h("td", {}, [metric.features, metric.against, metric.n && `n ${metric.n}`].filter(Boolean).join(", "))));
    const papers = model.papers.map((paper) =>
      h("li", {}, h("a", { href: paper.url, rel: "noreferrer", target: "_blank" }, paper.title),
        ` ${[paper.authors, paper.year].filter(Boolean).join(", ")}`));
    place.replaceChildren(h("div", { class: "prose" },
      !model.plugin && h("p", { class: "problem" }, h("strong", {}, `no plugin here provides ${model.architecture}`),
        h("span", {}, model.package ? `pip install ${model.package}` : "")),
      model.plugin && !model.available && h("p", { class: "problem" }, h("strong", {}, "its weights are not here"),
        h("span", {}, `dgm pull ${model.name}, or the button in the gallery`)),
      h("dl", {}, row("can", model.capabilities.join(", ")), row("architecture", `${model.architecture}, plugin ${model.plugin}`),
        row("parts", Object.entries(model.parts).map(([k, v]) => `${k}: ${typeof v === "string" ? v : v.architecture}`).join(", ")),
        row("config", h("code", {}, JSON.stringify(model.config))), row("folder", h("code", {}, model.folder)),
        row("training", model.training && [model.training.recipe, model.training.steps && `${model.training.steps} steps`, model.training.hardware].filter(Boolean).join(", "))),
      metrics.length > 0 && [h("h2", {}, "Measured"), h("table", {}, h("tbody", {}, metrics))],
      papers.length > 0 && [h("h2", {}, "Papers"), h("ul", {}, papers)]));
  },
};
