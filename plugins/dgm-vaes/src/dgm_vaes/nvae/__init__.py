"""NVAE: a deep hierarchical variational auto-encoder."""

from .model import NVAE

__all__ = ["NVAE"]
