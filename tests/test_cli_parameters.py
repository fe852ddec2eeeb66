"""The light conversion of parameters gives what typer's own gives, and the same errors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import pytest
import typer

from dgmcore.cli.parameters import lighten

app = typer.Typer(add_completion=False)


@app.command()
def command(
    text: str,
    rest: Annotated[list[str] | None, typer.Argument()] = None,
    n: Annotated[int, typer.Option(min=1, max=9)] = 3,
    seed: int = 0,
    rate: float = 0.5,
    out: Path | None = None,
    flag: bool = False,
    many: Annotated[list[str] | None, typer.Option("--set")] = None,
):
    return text, rest, n, seed, rate, out, flag, many


def _result(args, light):
    made = typer.main.get_command(app)
    if light:
        lighten(made)
    try:
        return made.main(args, standalone_mode=False)
    except typer.TyperException as e:
        return type(e).__name__, e.format_message(), e.exit_code


@pytest.mark.parametrize(
    "line",
    [
        "a", "a b c", "1 2", "a --n 9", "a --n 10", "a --n 0", "a --n x", "a --n 2.0", "a --seed -7", "a --seed 1_000",
        "a --seed 99999999999999999999", "a --rate 1e-3", "a --rate nan", "a --rate x", "a --rate 2", "a --out b/c.npz",
        "a --out .", "a --flag", "a --set x=1 --set y=2", "a --set x", "", "a --nope", "a --flag=3", "-- -x",
    ],
)  # fmt: skip
def test_equal(line):
    assert repr(_result(line.split(), light=True)) == repr(_result(line.split(), light=False))


def test_ordinary_values_need_no_pydantic():
    import subprocess

    code = "import sys; sys.path.insert(0, sys.argv[1]); import test_cli_parameters as t\n"
    code += "print(t._result('a b --n 9 --out x --flag --set k=v'.split(), True), 'pydantic' in sys.modules)"
    said = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent)], capture_output=True, text=True, check=True
    )
    assert said.stdout == "('a', ['b'], 9, 0, 0.5, PosixPath('x'), True, ['k=v']) False\n"
