"""`dgm list`."""

from __future__ import annotations


def command() -> None:
    """List the models."""
    from ..registry import list_models

    for model in list_models():
        print(model["name"])
