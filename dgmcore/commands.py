"""The commands of `dgm`, as data: their names are taken, and help lists them without importing any."""

from __future__ import annotations

__all__ = ["COMMANDS"]

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
