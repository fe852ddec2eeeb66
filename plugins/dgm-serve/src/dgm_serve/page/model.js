// A model's page: what it is, and a tab for each view that its capabilities allow.

import { link } from "./address.js";
import { json } from "./api.js";
import { bytes, count, h } from "./dom.js";
import { View } from "./frame.js";
import * as about from "./views/about.js";
import * as compare from "./views/compare.js";
import * as density from "./views/density.js";
import * as given from "./views/given.js";
import * as noise from "./views/noise.js";
import * as reconstruct from "./views/reconstruct.js";
import * as samples from "./views/samples.js";
import * as tilt from "./views/tilt.js";
import * as train from "./views/train.js";
import * as trajectory from "./views/trajectory.js";

// Each has a title, perhaps a lead, fits(model, models), and show(view).
const VIEWS = { samples, noise, trajectory, density, tilt, reconstruct, given, compare, train };

export async function showModel(main, { name, view, state, models, signal }) {
  const waiting = (text) => h("p", { class: "waiting" }, text);
  main.replaceChildren(waiting(`opening ${name} …`));
  const model = await json(`api/models/${encodeURIComponent(name)}`, undefined, signal);
  const able = model.plugin && model.available ? Object.entries(VIEWS).filter(([, one]) => one.fits(model, models)) : [];
  const views = Object.fromEntries([...able, ["about", about]]);
  const chosen = views[view] ? view : Object.keys(views)[0];
  const tabs = Object.entries(views).map(([id, { title, lead }]) =>
    h("a", { href: link(name, id), title: lead, "aria-current": id === chosen && "page" }, typeof title === "string" ? title : title(model)));
  const place = h("div", { class: `view view-${chosen}` }, waiting("loading the model …"));
  main.replaceChildren(header(model), h("nav", { class: "tabs", "aria-label": "What to do with it" }, tabs),
    h("p", { class: "lead" }, views[chosen].lead), place);
  main.querySelector("[aria-current]").scrollIntoView({ block: "nearest", inline: "nearest" });
  await views[chosen].show(new View(place, { model, models, state, signal }));
}

function header(model) {
  const facts = [
    model.family,
    `${model.dataset}, ${model.event_shape.join("×")}`,
    model.parameters && `${count(model.parameters)} weights`,
    bytes(model.bytes),
    model.likelihood && `likelihood: ${model.likelihood.replace("_", " ")}`,
    model.license,
  ];
  return h("header", { class: "title" }, h("h1", {}, model.name), h("p", { class: "summary" }, model.summary),
    h("p", { class: "facts" }, facts.filter(Boolean).map((fact) => h("span", {}, fact))));
}
