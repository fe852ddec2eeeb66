"""Samples and scores: drawn, streamed, shared among processes, written to files, shown as pictures."""

from __future__ import annotations

from .draw import sample, sample_to, stream
from .scores import score
from .settings import default_batch_size, model_range

__all__ = ["default_batch_size", "model_range", "sample", "sample_to", "score", "stream"]
