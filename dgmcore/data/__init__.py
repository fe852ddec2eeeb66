"""Data sets: the toy densities, idx and array files, images in folders and zips."""

from __future__ import annotations

from .base import Dataset
from .open import as_tensor, is_path, open_data, open_for
from .view import dequantize

__all__ = ["Dataset", "as_tensor", "dequantize", "is_path", "open_data", "open_for"]
