"""`dgm new-plugin`: a package with a working toy family, to start from."""

from __future__ import annotations

import keyword
import re
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path, PureWindowsPath
from typing import Annotated

import typer

from dgmcore.errors import DgmError, UsageError
from dgmcore.plugins.core_commands import COMMANDS
from dgmcore.plugins.provided import architectures, commands, plugins

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def command(
    name: Annotated[str, typer.Argument(help="The plugin's name: lower case, dashes.")],
    out: Annotated[Path, typer.Option(help="The folder in which the plugin's folder is made.")] = Path(),
) -> None:
    """Make a plugin package: a toy family that samples, scores and trains, with entry, recipe and tests."""

    print(new_plugin(name, out))


def new_plugin(name: str, out: Path) -> Path:
    """Generates the package `out/name` from the template.

    Raises:
        UsageError: If the name is no distribution name, or is taken.
        DgmError: If the folder exists, or copier is not installed.
    """

    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or len(name) > 60:
        raise UsageError(f"{name!r} can't name a plugin", "use lower case letters, digits and single dashes: my-family")
    taken = _taken(name)
    if taken:
        raise UsageError(f"{name} is taken: it is {taken}", "choose another name")
    target = out.expanduser() / name
    if target.exists():
        raise DgmError(f"{target} exists already", "choose another name, or another folder with --out")
    try:
        import copier
    except ImportError:
        raise DgmError("dgm new-plugin needs copier", "pip install 'dgmcore[authors]'") from None
    template = Path(__file__).parent / "templates" / "plugin"
    copier.run_copy(str(template), target, data={"name": name}, defaults=True, quiet=True)
    return target


def _taken(name: str) -> str | None:
    """Returns what has the name already, in Python or here; None if nothing has."""

    module = name.replace("-", "_")
    if name in ("dgm", "dgmcore"):
        return "the command and what holds it"
    if PureWindowsPath(name).is_reserved():
        return "a device of Windows, where no folder can have that name"
    if keyword.iskeyword(module) or keyword.issoftkeyword(module):
        return "a word of the language"
    uses = {
        "a plugin": {record.name for record in plugins()},
        "an architecture": set(architectures()),
        "a family": {record.family for record in architectures().values()},
        "a command": {*commands(), *COMMANDS},
    }
    for what, names in uses.items():
        if name in names:
            return what
    if module in sys.stdlib_module_names or find_spec(module) is not None:
        return "a module that can be imported"
    return "an installed package" if any(True for _ in metadata.distributions(name=name)) else None
