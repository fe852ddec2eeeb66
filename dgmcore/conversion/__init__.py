"""Other people's checkpoints, read without running code from them, and made into entries."""

from __future__ import annotations

from .converters import Converted, convert, convert_part, options_of
from .foreign import read_checkpoint, tensors_of

__all__ = ["Converted", "convert", "convert_part", "options_of", "read_checkpoint", "tensors_of"]
