"""What a training was made of, so that another can be told from it: digests of recipe and data, and versions."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from typing import Any

import msgspec
import torch

from dgmcore.data.view import View
from dgmcore.plugins.provided import distribution_of

from ..build import data_sha256
from ..recipe import Recipe

__all__ = ["made_of"]

_MOST = 10_000  # data that are hashed, evenly spaced: of a large set reading all would take minutes


def made_of(recipe: Recipe, data: View) -> dict[str, Any]:
    """Returns the sha256 of the recipe, of the data without what training does to them at random, and versions.

    Endless data have no digest: they are what their name and options say.
    """

    digests = {"recipe_sha256": hashlib.sha256(msgspec.json.encode(recipe, order="deterministic")).hexdigest()}
    found = data_sha256(data, _MOST)
    if found is not None:
        digests |= {"data_sha256": found, "data_hashed": f"{min(_MOST, len(data))} of {len(data)}"}
    packages = ["dgmcore", "dgm-train", *filter(None, [distribution_of(recipe.architecture)])]
    return {**digests, "versions": {**{name: version(name) for name in packages}, "torch": str(torch.__version__)}}
