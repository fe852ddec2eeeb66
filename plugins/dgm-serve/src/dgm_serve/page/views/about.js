// What is known of a model.

import { h, listed, number } from "../dom.js";

export const title = "About";

export function show({ place, model }) {
  const { plugin, training } = model;
  const facts = {
    can: listed(...model.capabilities),
    architecture: listed(model.architecture, plugin && `plugin ${plugin}`),
    parts: listed(...Object.entries(model.parts).map(([key, part]) => `${key}: ${part.architecture ?? part}`)),
    config: h("code", {}, JSON.stringify(model.config)),
    folder: h("code", {}, model.folder),
    training: training && listed(training.recipe, training.steps && `${training.steps} steps`, training.hardware),
  };
  const metrics = model.metrics.map(({ name, value, unit, features, against, n }) => h("tr", {}, h("td", {}, name),
    h("td", { class: "number" }, number(value)), h("td", {}, unit), h("td", {}, listed(features, against, n && `n ${n}`))));
  const papers = model.papers.map(({ url, title, authors, year }) =>
    h("li", {}, h("a", { href: url, rel: "noreferrer", target: "_blank" }, title), ` ${listed(authors, year)}`));
  const problem = (what, hint) => h("p", { class: "problem" }, h("strong", {}, what), h("span", {}, hint));
  place.replaceChildren(h("div", { class: "prose" },
    !plugin && problem(`no plugin here provides ${model.architecture}`, model.package && `pip install ${model.package}`),
    plugin && !model.available && problem("its weights are not here", `dgm pull ${model.name}, or the button in the gallery`),
    h("dl", {}, Object.entries(facts).map(([name, value]) => value && [h("dt", {}, name), h("dd", {}, value)])),
    metrics.length > 0 && [h("h2", {}, "Measured"), h("table", {}, h("tbody", {}, metrics))],
    papers.length > 0 && [h("h2", {}, "Papers"), h("ul", {}, papers)]));
}
