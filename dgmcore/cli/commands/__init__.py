"""The commands of the core, one module each, imported when it runs."""
