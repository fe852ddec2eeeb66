// A sampler's way to its samples: to scrub, to play, and in the plane as paths of points.

import { events } from "../api.js";
import { choice } from "../controls.js";
import { can } from "../frame.js";
import { canvasFile, sampleWords } from "../share.js";
import { Player } from "./player.js";

export const title = "Trajectory";
export const lead = "The sampler goes through many states. Drag the slider to see each.";
export const fits = (model) => can(model, "trajectory");

export function show(view) {
  const { model, kind } = view;
  view.read({ n: kind === "point" ? 500 : model.event_shape.at(-1) > 100 ? 1 : 16, seed: 0, paths: "lines" });
  const player = new Player(view, "The state of the sampler");
  const { command, python } = sampleWords(() => view.asked());
  return view.show({
    stage: player.canvas,
    below: player.bar,
    controls: [
      view.seeds(),
      view.count(kind === "point" ? 2000 : 64),
      kind === "point" && choice({ label: "show", value: view.ask.paths, options: [["lines", "points and paths"], ["points", "points"]], onchange: (paths) => {
        view.remember({ paths });
        player.show();
      } }),
      view.optionControls(model.options_schema),
    ],
    as: { command: () => `${command()} --trajectory ${model.name}.gif`, python },
    files: { PNG: canvasFile(`${model.name}-state`, player.canvas) },
    paint: () => player.show(),
    chain: (signal) => player.load(events("api/trajectory", signal, view.asked())),
  });
}
