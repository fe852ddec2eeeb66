"""The process that trains: reads a recipe and then numbers of steps, and says after each what the model draws now.

Each slice is a run of `dgmcore.train` that goes on from the last one's checkpoint.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

POINTS = 1000  # that the model draws after each slice
GRID = 48  # cells a side of its density


def main() -> None:
    folder = Path(sys.argv[1])
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what training prints is not ours
    recipe, done = json.loads(sys.stdin.readline()), 0
    for line in sys.stdin:
        done += int(line)
        said = _slice(folder, recipe, done)
        out.write(json.dumps(said) + "\n")
        out.flush()


def _slice(folder: Path, recipe: Mapping[str, Any], done: int) -> dict[str, Any]:
    from dgmcore import load, train
    from dgmcore.errors import DgmError

    try:
        changes = {"phases": {"0": {"steps": done}}}
        entry = train(recipe, runs=folder / "runs", resume=True, set=changes)
        said = {"step": done, "loss": _loss(folder / "runs" / recipe["name"] / "log.jsonl")}
        return said | _drawn(load(entry))
    except DgmError as e:
        return {"error": e.what, "hint": e.hint}
    except Exception as e:
        return {"error": f"training failed: {type(e).__name__}: {e}", "hint": "choose another family, or other points"}


def _loss(log: Path) -> float | None:
    """The last loss in the log of a run."""

    for line in reversed(log.read_text(encoding="utf-8").splitlines()):
        values = {k: v for k, v in json.loads(line).items() if k not in ("part", "phase", "step", "seconds")}
        loss = values.get("loss", next((v for k, v in values.items() if "loss" in k), None))
        if loss is not None:
            return float(loss)
    return None


def _drawn(model: Any) -> dict[str, Any]:
    """Points that the model draws, and its density on the square that the page shows, if that is quick."""

    from dgmcore import sample
    from dgmcore.sampling.pictures.density import density_behind
    from dgmcore.sampling.pictures.scatter import Window

    drawn: dict[str, Any] = {}
    if model.can("generator"):
        drawn["points"] = _encoded(sample(model, POINTS, seed=0).numpy())
    density = density_behind(model, Window(-2.0, -2.0, 4.0), seconds=0.4)
    if density is not None:
        drawn |= {"density": _encoded(density), "grid": len(density)}
    return drawn


def _encoded(x: Any) -> str:
    return base64.b64encode(x.astype("<f4").tobytes()).decode()


if __name__ == "__main__":
    main()
