"""What the pages say in commands and numbers: commands are ones that dgm takes, numbers those of the registry."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import dgmcore
from dgmcore import plugins
from dgmcore.cli.app import command_of

ROOT = Path(__file__).parent.parent
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "benchmarks" / "README.md"])
COMMAND = re.compile(r"^(?:\$ |    )((?:dgm |python benchmarks/|torchrun ).*)$", re.MULTILINE)
#: Words that stand for something, what a page makes itself, and what it gets from elsewhere.
OWN = re.compile(
    r"NAME|\bA\b|^\./|published|^my-|^hf:|^rh-|^mine$|^otflow-swissroll$|\.(ya?ml|npz|npy|csv|png)$|^circle$|^my_"
)
#: Models that have a recipe, and no weights yet.
RECIPES = {p.stem for p in (ROOT / "recipes").glob("*.yaml")}


def commands():
    for page in PAGES:
        if page.name != "cli.md":
            for line in COMMAND.findall(page.read_text(encoding="utf-8")):
                parts = [part.strip() for part in line.split("  #")[0].split(" && ")]
                yield from (part for part in parts if not part.startswith("pip "))


@pytest.mark.parametrize("line", sorted(set(commands())))
def test_every_command_is_one(line):
    line = re.split(r"\s{3,}", line)[0]  # what comes then says what it does
    words = [w for w in shlex.split(line) if not w.startswith("[")]
    if words[0] == "torchrun":
        words = ["dgm", *words[words.index("dgmcore") + 1 :]]
    if words[0] == "python":
        assert (ROOT / words[1]).is_file(), words[1]
        return
    if "[" in line:
        return  # a synopsis
    recipe = next((w for w in words if w.startswith("recipes/")), None)
    assert recipe is None or (ROOT / recipe).is_file(), recipe
    if "bars" in words[1:]:
        return  # of docs/examples/bars.py, which has a test of its own
    command = command_of(words[1])
    with command.make_context(words[1], words[2:]) as context:
        name = context.params.get("name")
    if words[1] in ("sample", "score", "eval", "info", "reconstruct", "interpolate") and name and not OWN.search(name):
        assert name in KNOWN or name in RECIPES or name in plugins.architectures(), f"there is no model {name}"
    for metric in context.params.get("metric") or ():
        assert metric in plugins.metrics(), f"there is no metric {metric}"


KNOWN = {model["name"]: model for model in dgmcore.list_models()}


# --- numbers -----------------------------------------------------------------------------------------

SAID = {
    "fid": re.compile(r"\bFID (?:of )?(\d+(?:\.\d+)?)"),
    "bits-per-dim": re.compile(r"(\d+\.\d+) bits(?:/dim| per dim)"),
    "nll": re.compile(r"(?:bound|ELBO|gives) -?(\d+\.\d+)(?: nats)?"),
}


def rows():
    """Lines of tables about one entry each, that state a figure which the entry has a record of."""
    for page in sorted((ROOT / "docs" / "families").glob("*.md")):
        for line in page.read_text(encoding="utf-8").splitlines():
            named = re.match(r"\| `([a-z0-9-]+)` \|", line)
            if not named or named[1] not in KNOWN:
                continue
            for metric, pattern in SAID.items():
                for value in pattern.findall(line)[:1]:
                    yield pytest.param(named[1], metric, value, id=f"{named[1]} {metric} {value}")


@pytest.mark.parametrize(("name", "metric", "value"), list(rows()))
def test_numbers_of_the_tables_are_those_of_the_entries(name, metric, value):
    records = [m["value"] for m in dgmcore.info(name)["metrics"] if m["name"] == metric]
    digits = len(value.partition(".")[2])
    assert records, f"{name} has no record of {metric}: dgm eval {name} --metric {metric} --record"
    assert any(abs(float(value) - v) <= 0.51 * 10**-digits for v in records), f"{value} is none of {records}"


#: Columns of tables whose numbers are those of records; `parameters` is no metric, but what the entry says.
COLUMNS = {
    "NLL, nats": "nll",
    "integral over a grid": "integral",
    "largest inverse error": "inverse-error-max",
    "fidelity": "classical-fidelity",
    "KL, nats": "kl-exact",
    "energy (exact)": "energy",
    "ours": "fid",
    "weights": "parameters",
}
NUMBER = re.compile(r"-?\d[\d,]*(\.\d+)?(e-?\d+)?")


def cells():
    """Numbers in columns of tables with a row for each entry: entry, metric, and the number as it is written."""
    for page in sorted((ROOT / "docs" / "families").glob("*.md")):
        columns: list[str] = []
        for line in page.read_text(encoding="utf-8").splitlines():
            row = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
            named = [cell[1:-1] for cell in row if cell.startswith("`") and cell[1:-1] in KNOWN]
            if len(named) != 1:
                columns = row if row and not set("".join(row)) <= set("- :") else columns if row else []
                continue
            for column, cell in zip(columns, row, strict=False):
                if column in COLUMNS and (number := NUMBER.search(cell)):
                    yield pytest.param(named[0], COLUMNS[column], number[0], id=f"{named[0]} {COLUMNS[column]}")


@pytest.mark.parametrize(("name", "metric", "written"), list(cells()))
def test_columns_of_the_tables_are_those_of_the_entries(name, metric, written):
    model = dgmcore.info(name)
    known = [m["value"] for m in model["metrics"] if m["name"] == metric]
    if metric == "parameters":
        known = [KNOWN[name]["parameters"]]
    mantissa, _, exponent = written.replace(",", "").partition("e")
    rounded = 0.51 * 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    value = float(f"{mantissa}e{exponent or 0}")
    assert any(abs(value - v) <= rounded for v in known), f"{written} is none of {known}"


TIMED = {n: p.read_text() for n in KNOWN if (p := ROOT / "recipes" / f"{n}.yaml").is_file()}


@pytest.mark.parametrize("name", [n for n, text in TIMED.items() if re.search(r"#.* \d+ minutes", text)])
def test_the_minutes_that_a_recipe_speaks_of_are_those_of_its_entry(name):
    said = re.search(r"#.*?(\d+) minutes", TIMED[name])
    hours = dgmcore.info(name)["training"]["hours"]
    assert abs(int(said[1]) - 60 * hours) < 1, f"{60 * hours:.0f} minutes"


def test_some_numbers_are_followed():
    assert len(list(rows())) >= 6 and len(list(cells())) >= 50
    assert any("minutes" in text for text in TIMED.values())
