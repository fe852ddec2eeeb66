"""What of the shipped models can be written as ONNX, and how far the graphs are from the models.

    python benchmarks/onnx_table.py [NAME ...] [--minutes 5]

tries every part of every model whose weights are here, each in a process of its own with a limit of time, as
`dgm export NAME --part PART` does: traced, run by onnxruntime on other data and another number of them, and compared.
Prints a row for each: the largest difference, for each unit of the largest output, or the two lines that refuse it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import dgmcore

WAYS = {"sampler": "pushforward", "score": "critic", "log-prob": "density", "encode": "encoder", "features": "features"}


def tried(name: str, part: str, seconds: float) -> str:
    """Returns what came out of one export."""
    with tempfile.TemporaryDirectory() as folder:
        call = [sys.executable, "-m", "dgmcore", "export", name, "--part", part, "--json"]
        try:
            done = subprocess.run(
                [*call, "--out", str(Path(folder) / "x.onnx")], capture_output=True, text=True, timeout=seconds
            )
        except subprocess.TimeoutExpired:
            return f"took more than {seconds / 60:g} minutes"
    if done.returncode == 0:
        said = json.loads(done.stdout)
        return f"{said['difference']:.1e}{' (float64)' if said['precision'] == 'float64' else ''}"
    return " / ".join(done.stderr.strip().splitlines()[-2:])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all whose weights are here")
    parser.add_argument("--part", choices=WAYS, help="default: all that the model can")
    parser.add_argument("--minutes", type=float, default=5.0, help="for each (default 5)")
    args = parser.parse_args()
    models = [m for m in dgmcore.list_models() if m["available"] and (not args.names or m["name"] in args.names)]
    print("| model | part | difference for each unit | seconds |\n| --- | --- | --- | ---: |")
    written = set()
    for model in models:
        for part, capability in WAYS.items():
            if capability in model["capabilities"] and args.part in (None, part):
                start = time.monotonic()
                found = tried(model["name"], part, 60 * args.minutes)
                written |= {model["name"]} if found[:1].isdigit() else set()
                print(f"| `{model['name']}` | {part} | {found} | {time.monotonic() - start:.0f} |", flush=True)
    print(f"\n{len(written)} of {len(models)} models are written in some part")
    return 0


if __name__ == "__main__":
    sys.exit(main())
