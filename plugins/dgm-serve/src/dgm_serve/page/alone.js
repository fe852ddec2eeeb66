// The page that `dgm page` writes: it shows what was computed for it, and asks nobody.

import { floatsOf, h } from "./dom.js";
import { canvasFor, plane, wider } from "./draw.js";
import { EDGE, Pad } from "./pad.js";

const data = JSON.parse(document.getElementById("data").textContent);
const image = data.kind === "image";
const source = (png) => `data:image/png;base64,${png}`;
const section = (title, ...children) => h("section", h("h2", title), children);

// What shows pictures, or points over what `below` draws, and a function that shows some.
function stage(alt, window, below = () => {}) {
  const element = image ? h("img.pixels", { alt }) : canvasFor("point", alt);
  return [element, (x) => (image ? (element.src = source(x)) : plane(element, window, (it) => {
    below(it);
    it.points(floatsOf(x));
  }))];
}

// Each part: what is on the page, and what draws it when it is there.
function noise({ side, x, window, cell: [width, height, gap] }) {
  const made = canvasFor(data.kind, "What the noise makes");
  const map = image && h("img.map", { src: source(x), alt: "" });
  const points = image || floatsOf(x);

  // The nearest four of what was computed, each with its share.
  function nearest(at) {
    const place = [at[0] + EDGE, EDGE - at[1]].map((value) => (value / (2 * EDGE)) * (side - 1));
    const [i, j] = place.map((value) => Math.min(side - 2, Math.floor(value)));
    const share = (k, l) => (1 - Math.abs(place[0] - k)) * (1 - Math.abs(place[1] - l));
    return [[i, j], [i + 1, j], [i, j + 1], [i + 1, j + 1]].map(([k, l]) => [k, l, share(k, l)]);
  }

  const pad = new Pad(map, [0, 0], (at) => {
    if (image) {
      [made.width, made.height] = [width, height];
      const context = Object.assign(made.getContext("2d"), { globalCompositeOperation: "lighter" });
      for (const [i, j, share] of nearest(at)) {
        context.globalAlpha = share;
        context.drawImage(map, i * (width + gap), j * (height + gap), width, height, 0, 0, width, height);
      }
    } else {
      const to = [0, 1].map((axis) => nearest(at).reduce((sum, [i, j, share]) => sum + share * points[2 * (j * side + i) + axis], 0));
      plane(made, window, (it) => it.points(points, { fill: "muted" }).mark(...to));
    }
  });
  const lead = "Drag on the pad, or use the arrow keys. Between the pictures that were computed, this page mixes the nearest four.";
  return [section("Noise", h("p.lead", lead), h("div.pair", pad.element, made)), () => pad.move(pad.at)];
}

function samples({ x, window, command, density }) {
  const [element, show] = stage("Samples", window, (it) => density && it.heat(floatsOf(density.values), density.grid));
  return [section("Samples", element, h("pre.command", command)), () => show(x)];
}

function way({ states, window }) {
  const [element, show] = stage("The state of the sampler", window && wider(window, 0.2));
  const last = states.length - 1;
  const state = () => show(states[range.value]);
  const range = h("input", { type: "range", max: last, value: last, ariaLabel: "State", oninput: state });
  return [section("The sampler's way", element, h("div.player", range)), state];
}

const parts = Object.entries({ pad: noise, samples, way }).filter(([name]) => data[name]).map(([name, part]) => part(data[name]));
document.getElementById("place").replaceChildren(...parts.map(([element]) => element));
await Promise.all([...document.images].filter((one) => one.src).map((one) => one.decode()));
for (const [, draw] of parts) draw();
matchMedia("(prefers-color-scheme: dark)").onchange = () => dispatchEvent(new Event("themechange"));
document.body.dataset.done = "1";
