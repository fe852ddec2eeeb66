"""The commands of the core, as data: their names are taken, and help lists them without importing any."""

#: Each command: the function that runs it, and its line in the help.
COMMANDS: dict[str, tuple[str, str]] = {
    "list": ("dgmcore.cli.commands.list:command", "List the models."),
    "info": ("dgmcore.cli.commands.info:command", "Show everything known about a model."),
    "pull": ("dgmcore.cli.commands.pull:command", "Fetch weights from the Hub."),
    "sample": ("dgmcore.cli.commands.sample:command", "Draw samples from a model."),
    "score": ("dgmcore.cli.commands.score:command", "Score data: log-likelihoods, or a critic's judgement."),
    "convert": ("dgmcore.cli.commands.convert:command", "Make an entry of somebody else's checkpoint."),
    "plugins": ("dgmcore.cli.commands.plugins:command", "List the plugins, and what is wrong with them."),
    "doctor": ("dgmcore.cli.commands.doctor:command", "Check this installation and say what is wrong with it."),
}
