"""Models that are built from somebody else's entry, and may not take more than their weights account for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor, nn
from torch.nn.modules import module as modules

from ..errors import WeightsError
from ..files.safetensors import TensorInfo

#: The innermost limit of this thread.
_innermost: ContextVar[object] = ContextVar("innermost", default=None)
#: Bytes that a module or a tensor counts beside its numbers: many small ones take their time, too.
_EACH = 2**15


@contextmanager
def memory_limit(header: Mapping[str, TensorInfo], name: str) -> Iterator[None]:
    """In this thread, a model that grows far beyond the tensors of its file is an error while it is built.

    An entry comes from anywhere; a number in its config must not take the memory, or the day. Tensors are counted
    when a module registers them: one that is larger than the machine is never written to before.

    Arguments:
        header: The tensors of the model's own file.
        name: The entry's name, for the error.

    Raises:
        WeightsError: In the block.
    """
    left = 4 * max((info.data_offsets[1] for info in header.values()), default=0) + 2**26 + 24 * _EACH * len(header)
    ours = object()

    def take(owner: nn.Module, key: str, value: Tensor | nn.Module | None) -> None:
        nonlocal left
        if _innermost.get() is not ours:  # another thread's model, or that of a part
            return
        left -= _EACH + (value.numel() * value.element_size() if isinstance(value, Tensor) else 0)
        if left < 0:
            what = f"the config of {name} makes a model that is larger than its weights"
            raise WeightsError(what, "correct the config, or get the entry again")

    token = _innermost.set(ours)
    hooks = [
        modules.register_module_parameter_registration_hook(take),
        modules.register_module_buffer_registration_hook(take),
        modules.register_module_module_registration_hook(take),
    ]
    try:
        yield
    finally:
        _innermost.reset(token)
        for hook in hooks:
            hook.remove()
