"""Plugins: what is installed, and what it provides; `architectures()`, `datasets()`, ... for each kind of thing."""

from .imports import import_string
from .provided import __getattr__ as __getattr__
from .provided import architecture, call, distribution_of, name_of, plugins

__all__ = ["architecture", "call", "distribution_of", "import_string", "name_of", "plugins"]
