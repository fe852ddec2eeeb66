"""The order of the data: a pure function of the seed, the phase and the number of the batch."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from dgmcore.data.view import View, dequantize
from dgmcore.errors import DataError
from dgmcore.noise import Noise
from dgmcore.sampling.stream_noise import StreamNoise, derive_seed

__all__ = ["Stream", "augment"]

_Made = tuple[Tensor, np.ndarray | None]  # a batch, and the numbers of its data unless they are endless


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

    Attributes:
        size: Data in this process's share of a batch.
        per_epoch: Batches in an epoch; what is left of the data is in none of them.
        endless: Whether data are drawn anew instead, as toys are.
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
    ):
        if batch_size < 1 or batch_size % world:
            raise DataError(f"{world} processes can't share batches of {batch_size}", "choose a multiple as batch_size")
        self.data, self.seed, self.scope = data, seed, scope
        self.rank, self.world, self.device = rank, world, torch.device(device)
        self.batch_size, self.size = batch_size, batch_size // world
        self.endless = data.draw(StreamNoise(0, 1)) is not None
        self.per_epoch = len(data) // batch_size
        if not self.endless and not self.per_epoch:
            raise DataError(f"{data.name} has {len(data)} data, fewer than a batch of {batch_size}", "set batch_size")
        self._epoch, self._order = -1, np.empty(0, np.int64)
        self._last: np.ndarray | None = None  # the numbers of the last batch's data
        self._number = 0  # of the last batch
        self._pool = ThreadPoolExecutor(1) if self.device.type == "cuda" else None
        self._ahead: tuple[int, Future[_Made]] | None = None

    def batch(self, k: int) -> Tensor:
        """Returns batch number `k` on the device, float32 `(size, *event_shape)`."""

        self._number = k
        if self._pool is None:
            x, self._last = self._make(k)
            return x
        # the next batch is made while the GPU works on this one
        if self._ahead is None or self._ahead[0] != k:
            self._ahead = k, self._pool.submit(self._make, k)
        x, self._last = self._ahead[1].result()
        self._ahead = k + 1, self._pool.submit(self._make, k + 1)
        return x.pin_memory().to(self.device, non_blocking=True)

    def labels(self) -> Tensor:
        """Returns the labels of the last batch, int64 `(size,)`."""

        if self._last is not None:
            labels = self.data.labels(self._last)
        else:
            labels = self.data.drawn_labels(self._fresh(self._number)) if self.endless else None
            labels = None if labels is None else labels[self._mine]
        if labels is None:
            raise DataError(f"{self.data.name} has no labels", "choose data with labels for this phase")
        return labels.to(self.device)

    def convert(self, k: int, batch_size: int) -> int:
        """Returns the number of the batch that follows `k` batches of another size in their epoch.

        Endless data are numbered on, so that none is drawn twice.
        """

        if self.endless or batch_size == self.batch_size:
            return k
        epoch, done = divmod(k, max(1, len(self.data) // batch_size))
        return epoch * self.per_epoch + min(-(-done * batch_size // self.batch_size), self.per_epoch)

    @property
    def _mine(self) -> slice:
        return slice(self.rank, None, self.world)  # of a batch that does not depend on the number of processes

    def _fresh(self, k: int) -> StreamNoise:
        """The noise of which endless data make batch number `k`."""
        return StreamNoise(self.seed, self.batch_size, scope=f"{self.scope}/data/{k}")

    def _make(self, k: int) -> _Made:
        noise = StreamNoise(self.seed, self.size, scope=f"{self.scope}/augment/{k}/{self.rank}")
        if self.endless:
            whole = self.data.draw(self._fresh(k))
            assert whole is not None
            return augment(self.data, whole[self._mine], noise), None
        epoch, place = divmod(k, self.per_epoch)
        if epoch != self._epoch:
            key = derive_seed(self.seed, f"{self.scope}/order/{epoch}")
            self._epoch = epoch
            self._order = np.random.Generator(np.random.Philox(key=key)).permutation(len(self.data))
        index = self._order[place * self.batch_size : (place + 1) * self.batch_size][self._mine]
        return augment(self.data, self.data.take(index), noise), index

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def augment(data: View, x: Tensor, noise: Noise) -> Tensor:
    """Returns a batch `x` of data as training sees it: flipped at random, dequantised."""
    if data.spec.flip:
        mirrored = noise.child("flip").uniform() < 0.5
        x = torch.where(mirrored.view(-1, *[1] * (x.ndim - 1)), x.flip(-1), x)
    if data.spec.dequantize and data.range is not None and data.levels is not None:
        x = dequantize(x, noise.child("dequantize"), data.range, data.levels)
    return x
