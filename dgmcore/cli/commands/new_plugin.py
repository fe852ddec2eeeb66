"""`dgm new-plugin`: a package with a working toy family, to start from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from ...errors import DgmError, UsageError


def command(
    name: Annotated[str, typer.Argument(help="The plugin's name: lower case, dashes.")],
    out: Annotated[Path, typer.Option(help="The folder in which the plugin's folder is made.")] = Path(),
) -> None:
    """Make a plugin package: a toy family that samples, scores and trains, with entry, recipe and tests."""

    print(new_plugin(name, out))


def new_plugin(name: str, out: Path) -> Path:
    """Generates the package `out/name` from the template.

    Raises:
        UsageError: If the name is no distribution name.
        DgmError: If the folder exists, or copier is not installed.
    """

    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or len(name) > 60:
        raise UsageError(f"{name!r} can't name a plugin", "use lower case letters, digits and single dashes: my-family")
    target = out / name
    if target.exists():
        raise DgmError(f"{target} exists already", "choose another name, or another folder with --out")
    try:
        import copier
    except ImportError:
        raise DgmError("dgm new-plugin needs copier", "pip install 'dgmcore[authors]'") from None
    template = Path(__file__).parents[2] / "templates" / "plugin"
    copier.run_copy(str(template), target, data={"name": name}, defaults=True, quiet=True)
    return target
