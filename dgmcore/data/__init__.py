"""Data: what a data set is, array files, pictures, and views of them in a model's range and size."""

from __future__ import annotations

from .base import Dataset
from .open import as_tensor, is_path, open_data, open_for
from .view import dequantize

__all__ = ["Dataset", "as_tensor", "dequantize", "is_path", "open_data", "open_for"]
