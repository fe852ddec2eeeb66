"""Runs the benchmarks and shows them side by side: `make bench`, or `python benchmarks/run.py [NAME ...]`.

A benchmark is a module of this folder with a function `run() -> list[dict]`; each row has

    name    what is measured
    ours    our time (or memory)
    theirs  what it is compared with, measured in the same run on the same machine, interleaved
    unit    of both; smaller is better
    ratio   ours / theirs
    limit   optional: the largest ratio that is promised (default 1)
    note    optional: what `theirs` is

A row may have `error` instead of values: why it could not be measured here.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import sys
import time
import traceback
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = modules()
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)} (default: all)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of torch (default: all cores)")
    parser.add_argument("--out", type=Path, default=HERE / "results.md", help="where the table is written")
    args = parser.parse_args()
    for name in set(args.names) - set(names):
        parser.error(f"no benchmark is called {name}: they are {', '.join(names)}")
    os.environ["OMP_NUM_THREADS"] = str(args.threads)  # before torch is imported, here and in child processes

    sys.path.insert(0, str(HERE))
    rows = []
    for name in args.names or names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows += measured(name)
    show(rows)
    if not args.names:
        args.out.write_text(markdown(rows, args.threads))
        print(f"wrote {args.out}", file=sys.stderr)
    return int(any("error" in row or row["ratio"] > row.get("limit", 1) * 1.1 for row in rows))


def modules() -> list[str]:
    """The modules of this folder that define `run`, without importing them."""

    paths = (p for p in sorted(HERE.glob("*.py")) if p.name != Path(__file__).name)
    return [p.stem for p in paths if "\ndef run(" in p.read_text()]


def measured(name: str) -> list[dict]:
    """Runs one benchmark; its failure is a row, so that the others still run."""

    start = time.perf_counter()
    try:
        rows = load(name).run()
    except Exception as e:
        traceback.print_exc()
        rows = [{"name": "failed", "error": f"{type(e).__name__}: {e}"}]
    print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    return [{"group": name, **row} for row in rows]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def verdict(row: dict) -> str:
    if "error" in row:
        return "not measured"
    limit = row.get("limit", 1)
    word = "ok" if row["ratio"] <= limit else "within noise" if row["ratio"] <= 1.1 * limit else "SLOWER"
    return word if limit == 1 else f"{word} (at most {limit:g} times theirs)"


def cells(row: dict) -> list[str]:
    if "error" in row:
        return [row["group"], row["name"], "", "", "", "", row["error"]]
    unit = row.get("unit", "")
    values = [f"{row[k]:.3g} {unit}".strip() for k in ("ours", "theirs")]
    return [row["group"], row["name"], *values, f"{1 / row['ratio']:.2f}", verdict(row), row.get("note", "")]


HEADS = ("", "what", "ours", "theirs", "times as fast", "", "theirs is")


def show(rows: list[dict]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="times as fast as theirs: at least 1")
    for i, head in enumerate(HEADS):
        table.add_column(head, justify="right" if i in (2, 3, 4) else "left", no_wrap=i in (2, 3, 4))
    for row in rows:
        slow = verdict(row).startswith(("SLOWER", "not"))
        table.add_row(*cells(row), style="red" if slow else None)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def markdown(rows: list[dict], threads: int) -> str:
    import torch

    lines = [
        "# Results",
        "",
        f"`make bench`, {time.strftime('%Y-%m-%d')}: {cpu()}, {os.cpu_count()} cores, {threads} threads, "
        f"Python {platform.python_version()}, torch {torch.__version__}. Both sides are measured in the same run, "
        "interleaved; only the ratio means something elsewhere.",
        "",
        "| " + " | ".join(HEADS) + " |",
        "| --- | --- | ---: | ---: | ---: | --- | --- |",
    ]
    return "\n".join([*lines, *("| " + " | ".join(cells(row)) + " |" for row in rows), ""])


def cpu() -> str:
    try:
        info = Path("/proc/cpuinfo").read_text()
        return next(line.split(":", 1)[1].strip() for line in info.splitlines() if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
