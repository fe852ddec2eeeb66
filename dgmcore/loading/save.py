"""Writing a model as a registry entry, for those who name the function: :meth:`dgmcore.Model.save` does it."""

from ..files.tensors import write_tensors
from ..model import Model

__all__ = ["save", "write_tensors"]

save = Model.save
