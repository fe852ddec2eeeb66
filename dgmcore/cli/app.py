"""The group of commands, over typer: static help, commands imported when they run."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from ..plugins.core_commands import COMMANDS
from ..plugins.current import checked_once
from ..plugins.imports import import_string
from ..plugins.provided import imported, missing, plugins, provided
from ..suggestions import PACKAGES
from ..version import __version__
from .parameters import lighten

__all__ = ["command_of", "run"]

HELP = "One registry and one command for every family of deep generative models."

_HELP_NAMES = {"help_option_names": ["-h", "--help"]}

#: Other names of an option that people know from elsewhere.
_ALIASES = {"--out": ("--output", "-o")}


def run(args: Sequence[str]) -> int:
    """Runs the command line; raises what goes wrong."""
    app = typer.Typer(
        cls=_Group,
        name="dgm",
        help=HELP,
        add_completion=True,
        pretty_exceptions_enable=False,
        context_settings=dict(_HELP_NAMES),
    )
    app.callback(invoke_without_command=True)(_root)
    group = typer.main.get_command(app)
    lighten(group)
    with checked_once():
        result = group.main(args=_spelled(args), prog_name="dgm", standalone_mode=False)
    return result if isinstance(result, int) and not isinstance(result, bool) else 0


def _spelled(args: Sequence[str]) -> list[str]:
    """Takes `dgm help`, `dgm help COMMAND` and `dgm version` for the options that they mean."""
    if args[:1] == ["help"]:
        return [*args[1:2], "--help"]
    return ["--version"] if [*args] == ["version"] else [*args]


def _version(value: bool) -> None:
    if value:
        print(f"dgm {__version__}")
        raise typer.Exit


def _root(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


class _Group(TyperGroup):
    """Commands by name from the table and from plugins: help and completion import none of them."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*COMMANDS, *sorted(provided().commands)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Returns a stand-in with the help; the command itself comes from `resolve_command`."""
        if cmd_name in COMMANDS:
            return TyperCommand(cmd_name, help=COMMANDS[cmd_name][1])
        record = provided().commands.get(cmd_name)
        return TyperCommand(cmd_name, help=record.help) if record else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Returns a command of the installed ones; raises for one of which we know the package that brings it."""
        self.suggest_commands = False  # our errors do
        if args and args[0] not in provided().commands and _is_lacking(args[0]):
            raise missing(args[0])
        name, command, rest = super().resolve_command(ctx, args)
        return name, command if command is None else command_of(str(command.name)), rest


def _is_lacking(name: str) -> bool:
    """Whether the distribution that brings a call or command of the core is not here, or does not work."""
    here = {plugin.source.distribution for plugin in plugins() if plugin.status == "ok"}
    return name in PACKAGES and PACKAGES[name] not in here


def command_of(name: str) -> Any:
    """Imports a command and returns it.

    Raises:
        PluginError: If it is a plugin's, and can't be imported.
    """
    if name in COMMANDS:
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        app.command(name, help=None)(import_string(COMMANDS[name][0]))
    else:
        app = imported(provided().commands[name].plugin, f"command {name}", provided().commands[name].import_)
    command: Any = typer.main.get_command(app)
    command.name = name
    if not any("-h" in param.opts for param in command.params):
        command.context_settings = {**command.context_settings, **_HELP_NAMES}
    if shutil.get_terminal_size().columns < 80:
        command.rich_markup_mode = None  # tables with frames would cut words
    _add_aliases(command)
    lighten(command)
    return command


def _add_aliases(command: Any) -> None:
    """Gives options their other names, where the command has no other use for them."""
    taken = {name for param in command.params for name in param.opts}
    for param in command.params:
        for option in set(param.opts) & _ALIASES.keys():
            param.opts += [name for name in _ALIASES[option] if name not in taken]
