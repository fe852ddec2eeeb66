"""Calls of `dgmcore` and of its commands: what models there are, fetching them, and what plugins do."""
