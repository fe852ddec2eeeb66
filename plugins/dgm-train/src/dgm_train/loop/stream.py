"""The order of the data: a pure function of the seed, the phase and the number of the batch."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from dgmcore.data.view import View
from dgmcore.errors import DataError
from dgmcore.noise import StreamNoise, derive_seed

__all__ = ["Stream"]


class Stream:
    """Batches without end: each epoch another permutation, of which each process takes its share.

    Batch number `k` is the same whenever it is asked for, so a run that is resumed needs to know `k` only.

    Arguments:
        data: The data.
        batch_size: Data in a batch, over all processes.
        seed: The recipe's seed.
        scope: The phase, so that no two phases see one order.
        rank: This process.
        world: The number of processes, which must divide the batch size.
        device: Where batches go.
    """

    def __init__(
        self,
        data: View,
        batch_size: int,
        *,
        seed: int,
        scope: str,
        rank: int = 0,
        world: int = 1,
        device: torch.device | str = "cpu",
        position: int = 0,
    ):
        if batch_size < 1 or batch_size % world:
            raise DataError(f"{world} processes can't share batches of {batch_size}", "choose a multiple as batch_size")
        self.data, self.seed, self.scope = data, seed, scope
        self.rank, self.world, self.device = rank, world, torch.device(device)
        self.batch_size, self.size = batch_size, batch_size // world
        self.position = position
        self.endless = data.draw(StreamNoise(0, 1)) is not None
        self.per_epoch = len(data) // batch_size
        if not self.endless and not self.per_epoch:
            raise DataError(f"{data.name} has {len(data)} data, fewer than a batch of {batch_size}", "set batch_size")
        self._epoch, self._order = -1, np.empty(0, np.int64)
        self._last: np.ndarray | None = None
        self._pool = ThreadPoolExecutor(1) if self.device.type == "cuda" else None
        self._ahead: Future | None = None

    def next(self) -> Tensor:
        """Returns the next batch on the device, float32 `(size, *event_shape)`."""

        if self._pool is None:
            x, self._last = self._make(self.position)
        else:  # the next batch is made while the GPU works on this one
            ahead = self._ahead or self._pool.submit(self._make, self.position)
            x, self._last = ahead.result()
            x = x.pin_memory().to(self.device, non_blocking=True)
            self._ahead = self._pool.submit(self._make, self.position + 1)
        self.position += 1
        return x

    def labels(self) -> Tensor:
        """Returns the labels of the last batch."""

        labels = None if self._last is None else self.data.labels(self._last)
        if labels is None:
            raise DataError(f"{self.data.name} has no labels", "choose data with labels for this phase")
        return labels.to(self.device)

    def _make(self, position: int) -> tuple[Tensor, np.ndarray | None]:
        mine = slice(self.rank, None, self.world)  # of a batch that does not depend on the number of processes
        noise = StreamNoise(self.seed, self.size, scope=f"{self.scope}/augment/{position}/{self.rank}")
        if self.endless:
            all_ = self.data.draw(StreamNoise(self.seed, self.batch_size, scope=f"{self.scope}/data/{position}"))
            return self.data.augment(all_[mine], noise), None
        epoch, k = divmod(position, self.per_epoch)
        if epoch != self._epoch:
            key = derive_seed(self.seed, f"{self.scope}/order/{epoch}")
            self._epoch = epoch
            self._order = np.random.Generator(np.random.Philox(key=key)).permutation(len(self.data))
        index = self._order[k * self.batch_size : (k + 1) * self.batch_size][mine]
        return self.data.augment(self.data.take(index), noise), index

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
