"""Ways to spoil images, each by a strength of its own: what the self-supervised features learn to tell apart."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dgmcore.noise import Noise

__all__ = ["KINDS", "blend", "blur", "colour", "corrupt", "jitter", "patch", "pixelate", "shifted", "warp"]

#: The kinds, in the order of their numbers; 0 leaves the image as it is.
KINDS = ("none", "blur", "noise", "blend", "patch", "pixelate", "warp", "colour")


def corrupt(x: Tensor, noise: Noise) -> tuple[Tensor, Tensor, Tensor]:
    """Spoils each image of a batch in one random way.

    Arguments:
        x: Images `(n, c, h, w)` in [-1, 1].
        noise: Noise for `n` samples.

    Returns:
        The images, the kind of each (`KINDS`), int64 `(n,)`, and the strength of each in (0, 1], `(n,)`.
    """

    kind = noise.integers(len(KINDS)).to(x.device)
    strength = 0.1 + 0.9 * noise.uniform()
    out = x.clone()
    for number, function in enumerate((None, blur, _noise, blend, patch, pixelate, warp, colour)):
        mine = (kind == number).nonzero()[:, 0]
        draw = _Draws(noise, mine, KINDS[number])
        if function is not None and len(mine):
            others = x.roll(1, 0)[mine]  # a batch is in random order
            out[mine] = function(x[mine], strength[mine], others=others, draw=draw)
    return out, kind, strength


class _Draws:
    """Noise of some of a batch's samples; what is drawn does not depend on which they are."""

    def __init__(self, noise: Noise, index: Tensor, name: str):
        self.noise, self.index, self.name = noise.child(name), index, name

    def uniform(self, *shape: int) -> Tensor:
        return self.noise.uniform(*shape)[self.index.to("cpu")].to(self.index.device)

    def normal(self, *shape: int) -> Tensor:
        return self.noise.normal(*shape)[self.index]


def _column(strength: Tensor) -> Tensor:
    return strength.view(-1, 1, 1, 1)


def blur(x: Tensor, strength: Tensor, **_: Any) -> Tensor:
    """Gaussian blur with a standard deviation of up to 3 pixels."""

    n, c, h, w = x.shape
    radius = 7
    at = torch.arange(-radius, radius + 1, device=x.device)
    kernel = torch.exp(-0.5 * (at / (3 * strength).clamp(min=0.2)[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(c, 0)  # one for each image and channel
    x = F.pad(x.reshape(1, n * c, h, w), (radius,) * 4, mode="reflect")
    x = F.conv2d(x, kernel[:, None, None, :], groups=n * c)
    return F.conv2d(x, kernel[:, None, :, None], groups=n * c).view(n, c, h, w)


def _noise(x: Tensor, strength: Tensor, *, draw: _Draws, **_: Any) -> Tensor:
    """White noise with a standard deviation of up to 0.6."""
    return (x + 0.6 * _column(strength) * draw.normal(*x.shape[1:])).clamp(-1, 1)


def blend(x: Tensor, strength: Tensor, *, others: Tensor, **_: Any) -> Tensor:
    """Another image shines through, up to an even mixture."""
    return torch.lerp(x, others, 0.5 * _column(strength))


def patch(x: Tensor, strength: Tensor, *, others: Tensor, draw: _Draws, **_: Any) -> Tensor:
    """A rectangle of up to half the image's area comes from another image."""

    h, w = x.shape[-2:]
    side = (0.5 * strength).sqrt()
    corner = draw.uniform(2) * (1 - side)[:, None]
    rows, columns = torch.arange(h, device=x.device) / h, torch.arange(w, device=x.device) / w
    down = (rows >= corner[:, :1]) & (rows < corner[:, :1] + side[:, None])
    across = (columns >= corner[:, 1:]) & (columns < corner[:, 1:] + side[:, None])
    return torch.where((down[:, :, None] & across[:, None, :])[:, None], others, x)


def pixelate(x: Tensor, strength: Tensor, **_: Any) -> Tensor:
    """Blocks of 2, 4 or 8 pixels, and between them a mixture."""

    level = 3 * strength
    coarse = [x] + [F.interpolate(F.avg_pool2d(x, 2**k), scale_factor=2**k) for k in (1, 2, 3)]
    floor = level.floor().clamp(max=2).long()
    stack, index = torch.stack(coarse), torch.arange(len(x), device=x.device)
    return torch.lerp(stack[floor, index], stack[floor + 1, index], _column(level - floor))


def warp(x: Tensor, strength: Tensor, *, draw: _Draws, **_: Any) -> Tensor:
    """A smooth random displacement, of up to a tenth of the image (one standard deviation)."""

    h, w = x.shape[-2:]
    field = draw.normal(2, 6, 6) * 0.2 * _column(strength)
    field = F.interpolate(field, size=(h, w), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    lines = torch.meshgrid(
        torch.linspace(-1, 1, h, device=x.device), torch.linspace(-1, 1, w, device=x.device), indexing="ij"
    )
    grid = torch.stack([lines[1], lines[0]], -1)
    return F.grid_sample(x, grid + field, padding_mode="reflection", align_corners=True)


def colour(x: Tensor, strength: Tensor, *, draw: _Draws, **_: Any) -> Tensor:
    """Each channel gets a contrast and a brightness of its own."""

    gain = 1 + 0.5 * _column(strength) * (2 * draw.uniform(x.shape[1], 1, 1) - 1)
    shift = 0.5 * _column(strength) * (2 * draw.uniform(x.shape[1], 1, 1) - 1)
    return (gain * x + shift).clamp(-1, 1)


def jitter(x: Tensor, noise: Noise, most: int = 4) -> Tensor:
    """Mirrors and moves images at random: what does not change what is seen."""

    mirrored = noise.uniform().to(x.device) < 0.5
    x = torch.where(mirrored.view(-1, 1, 1, 1), x.flip(-1), x)
    return shifted(x, noise.integers(2 * most + 1, 2).to(x.device), most)


def shifted(x: Tensor, offset: Tensor, most: int) -> Tensor:
    """Moves each image of `x`, `(n, c, h, w)`, by its own offset.

    Arguments:
        offset: Rows and columns, int64 `(n, 2)` in [0, 2 most]; `most` leaves the image where it is.
        most: The largest distance; what comes in from outside repeats the edge.
    """

    n, c, h, w = x.shape
    padded = F.pad(x, (most,) * 4, mode="replicate")
    rows = (offset[:, 0, None] + torch.arange(h, device=x.device))[:, None, :, None]
    columns = (offset[:, 1, None] + torch.arange(w, device=x.device))[:, None, None, :]
    image = torch.arange(n, device=x.device)[:, None, None, None]
    channel = torch.arange(c, device=x.device)[None, :, None, None]
    return padded[image, channel, rows, columns]
