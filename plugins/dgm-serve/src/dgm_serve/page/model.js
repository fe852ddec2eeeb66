// A model's page: what it is, and a tab for each view that its capabilities allow.

import { link } from "./address.js";
import { json } from "./api.js";
import { facts, h } from "./dom.js";
import { View } from "./frame.js";

export async function showModel(main, { name, view, state, signal }) {
  const waiting = (text) => h("p.waiting", text);
  main.replaceChildren(waiting(`opening ${name} …`));
  const model = await json(`models/${encodeURIComponent(name)}`, undefined, signal);
  const { views } = model;
  const chosen = views.find((one) => one.view === view) ?? views[0];
  const { view: id, controls: fields } = chosen;
  const place = h(`div.view.view-${id}`, waiting("loading the model …"));
  main.replaceChildren(
    h("header.title", h("h1", name), h("p.summary", model.summary), facts(model.header)),
    h("nav.tabs", { ariaLabel: "What to do with it" }, views.map((one) =>
      h("a", { href: link(name, one.view), title: one.lead, "aria-current": one === chosen && "page" }, one.title))),
    h("p.lead", chosen.lead), place);
  main.querySelector("[aria-current]").scrollIntoView({ block: "nearest", inline: "nearest" });
  const { show } = await import(`./views/${id}.js`);
  await show(new View(place, { id, fields, model, state, signal }));
}
