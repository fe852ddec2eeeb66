"""Models that are built from somebody else's entry, and may not take more than their weights account for."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules import module as modules

from ..errors import WeightsError
from ..files.safetensors import TensorInfo

_building = threading.local()


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
    left = {
        "bytes": 4 * max((info.data_offsets[1] for info in header.values()), default=0) + 2**26,
        "tensors": 4 * len(header) + 1000,
        "modules": 20 * len(header) + 2000,
    }

    def take(what: str, amount: int) -> None:
        if getattr(_building, "left", None) is not left:  # another thread's model, or that of a part
            return
        left[what] -= amount
        if left[what] < 0:
            raise WeightsError(
                f"the config of {name} makes a model that is larger than its weights ({what})",
                "correct the config, or get the entry again",
            )

    def tensor(owner: nn.Module, key: str, value: Tensor | None) -> None:
        if value is not None:
            take("bytes", value.numel() * value.element_size())
            take("tensors", 1)

    before, _building.left = getattr(_building, "left", None), left
    hooks = [
        modules.register_module_parameter_registration_hook(tensor),
        modules.register_module_buffer_registration_hook(tensor),
        modules.register_module_module_registration_hook(lambda owner, key, value: take("modules", 1)),
    ]
    try:
        yield
    finally:
        _building.left = before
        for hook in hooks:
            hook.remove()
