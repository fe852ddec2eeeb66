"""The group of commands, over typer: static help, commands imported when they run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from ..errors import PluginError
from ..plugins.core_commands import COMMANDS
from ..plugins.current import checked_once
from ..plugins.imports import import_string
from ..plugins.provided import PACKAGES, missing, provided
from ..version import __version__
from .parameters import lighten

__all__ = ["command_of", "run"]

HELP = "One registry and one command for every family of deep generative models."


def run(args: Sequence[str]) -> int:
    """Runs the command line; raises what goes wrong."""

    app = typer.Typer(cls=_Group, name="dgm", help=HELP, add_completion=True, pretty_exceptions_enable=False)
    app.callback(invoke_without_command=True)(_root)
    group = typer.main.get_command(app)
    lighten(group)
    try:
        with checked_once():
            result = group.main(args=[*args], prog_name="dgm", standalone_mode=False)
    except typer.TyperException as e:
        e.command = group.running  # some errors don't know their command
        raise
    return result if isinstance(result, int) and not isinstance(result, bool) else 0


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

    running = "dgm"

    def list_commands(self, ctx: Any) -> list[str]:
        return [*COMMANDS, *sorted(provided().commands)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Returns a stand-in with the help; the command itself comes from `resolve_command`."""
        if cmd_name in COMMANDS:
            return TyperCommand(cmd_name, help=COMMANDS[cmd_name][1])
        record = provided().commands.get(cmd_name)
        return TyperCommand(cmd_name, help=record.help) if record else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        self.suggest_commands = False  # our errors do
        if args and args[0] in PACKAGES and args[0] not in provided().commands:
            raise missing(args[0])
        name, command, rest = super().resolve_command(ctx, args)
        self.running = f"dgm {name}"
        return name, command if command is None else command_of(command.name), rest


def command_of(name: str) -> Any:
    """Imports a command and returns it."""

    if name in COMMANDS:
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        app.command(name, help=None)(import_string(COMMANDS[name][0]))
    else:
        record = provided().commands[name]
        try:
            app = import_string(record.import_)
        except (Exception, SystemExit) as e:
            what = f"plugin {record.plugin}: command {name} can't be imported: {type(e).__name__}: {e}"
            raise PluginError(what, "see `dgm plugins`") from e
    command = typer.main.get_command(app)
    command.name = name
    lighten(command)
    return command
