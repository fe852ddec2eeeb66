// A sampler's way to its samples: to scrub, to play, and in the plane as paths of points.

import { events } from "../api.js";
import { Player } from "./player.js";

export function show(view) {
  const player = new Player(view, "The state of the sampler");
  return view.show({
    stage: player.canvas,
    below: player.bar,
    on: { paths: () => player.show() },
    hasty: true,
    draw: (signal) => player.load(events("trajectory", signal, view.asked())),
  });
}
