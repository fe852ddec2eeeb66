// What is known of a model.

import { h, problem } from "../dom.js";

export function show({ place, model: { about } }) {
  const row = (cells) => h("tr", cells.map((cell) => h("td", cell)));
  const paper = ({ url, title, by }) => h("li", h("a", { href: url, rel: "noreferrer", target: "_blank" }, title), ` ${by}`);
  place.replaceChildren(h("div.prose", about.problem && problem(about.problem),
    h("dl", Object.entries(about.facts).map(([name, fact]) => [h("dt", name), h("dd", fact)])),
    about.measured.length > 0 && [h("h2", "Measured"), h("table", h("tbody", about.measured.map(row)))],
    about.papers.length > 0 && [h("h2", "Papers"), h("ul", about.papers.map(paper))]));
}
