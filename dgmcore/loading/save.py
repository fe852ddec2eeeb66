"""Writing a model as a registry entry, for those who name the function: :meth:`dgmcore.Model.save` does it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..files.tensors import write_tensors
from ..model import Model

__all__ = ["save", "write_tensors"]


def save(model: Model, folder: str | os.PathLike[str], **entry: Any) -> Path:
    """Writes a model's weights and entry into `folder`, and returns that; see :meth:`dgmcore.Model.save`."""
    return model.save(folder, **entry)
