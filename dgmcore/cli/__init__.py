"""The command line: a table of commands, each in a module of its own that is imported when it runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

__all__ = ["COMMANDS", "main"]

#: Each command: the function that runs it, and its line in the help.
COMMANDS: dict[str, tuple[str, str]] = {
    "list": ("dgmcore.cli.list:command", "List the models."),
    "info": ("dgmcore.cli.info:command", "Show everything known about a model."),
    "pull": ("dgmcore.cli.pull:command", "Fetch weights from the Hub."),
    "sample": ("dgmcore.cli.sample:command", "Draw samples from a model."),
    "score": ("dgmcore.cli.score:command", "Score data: log-likelihoods, or a critic's judgement."),
    "reconstruct": ("dgmcore.cli.reconstruct:command", "Encode and decode data."),
    "interpolate": ("dgmcore.cli.interpolate:command", "Walk between samples or data in latent space."),
    "eval": ("dgmcore.cli.eval:command", "Measure a model: FID, KID, bits/dim, mode coverage, ..."),
    "train": ("dgmcore.cli.train:command", "Train a model by a recipe."),
    "convert": ("dgmcore.cli.convert:command", "Make an entry of somebody else's checkpoint."),
    "push": ("dgmcore.cli.push:command", "Publish a model on the Hub."),
    "plugins": ("dgmcore.cli.plugins:command", "List the plugins, and what is wrong with them."),
    "new-plugin": ("dgmcore.cli.new_plugin:command", "Start a plugin of your own."),
    "check-plugin": ("dgmcore.cli.check_plugin:command", "Check a plugin's models against their promises."),
    "doctor": ("dgmcore.cli.doctor:command", "Check this installation and say what is wrong with it."),
}


def main(args: Sequence[str] | None = None) -> int:
    """Runs `dgm` and returns its exit code: 0 done, 1 failed, 2 wrong usage."""

    argv = list(sys.argv[1:] if args is None else args)
    debug = False
    head = argv[: argv.index("--")] if "--" in argv else argv
    if "--debug" in head:  # anywhere, since that is where people add it
        debug = True
        argv.remove("--debug")
    try:
        from . import app

        code = app.run(argv)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        if debug:
            raise
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has left: `dgm list | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as e:
        if debug:
            raise
        from .failures import report

        return report(e)
