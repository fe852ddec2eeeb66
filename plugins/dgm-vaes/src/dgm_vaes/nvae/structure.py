"""What follows from a config of NVAE: the channels, groups and latents of each size, and the cells between them."""

from __future__ import annotations

from typing import Any

from dgmcore.errors import RegistryError

from .layers import Cell, Style

__all__ = ["Structure"]


class Structure:
    """The numbers of one hierarchy, checked.

    Levels count the sizes of features from the finest: first those of the blocks, then those of the scales.

    Arguments:
        config: Of :class:`~dgm_vaes.nvae.NVAE`.

    Attributes:
        style: How its convolutions and cells are made.
        widths: The channels of each level.
        groups: The number of groups of each scale, from the finest.
        latents: The channels of a group's latent for each scale.
        coarsest: Height and width of the coarsest features.
        group_scales: The scale of each group, the coarsest first.
        temperatures: The prior's temperature of each group, the coarsest first.
        outputs: The channels of the pixels' parameters.
        pixels: The channels of the pixels' noise; 0 for none.

    Raises:
        RegistryError: If the numbers don't fit each other.
    """

    def __init__(self, config: Any):
        self.config = c = config
        self.style = Style(c.norm, c.weight_norm, c.squeeze_excite, c.residual_scale)
        self.groups = self._per_scale(c.groups, "groups")
        self.latents = self._per_scale(c.latents, "latents")
        self.coarsest = self._coarsest()
        self.widths = self._widths()
        self.group_scales = [s for s in reversed(range(c.scales)) for _ in range(self.groups[s])]
        self.temperatures = self._temperatures()
        image = c.event_shape[0]
        self.outputs = {
            "gaussian": 2 * image,
            "bernoulli": image,
            "logistics": c.mixtures * (1 + image * (3 if image == 3 else 2)),
        }[c.decoder]
        self.pixels = {"gaussian": image, "bernoulli": 0, "logistics": 1 + image}[c.decoder]

    def level(self, scale: int) -> int:
        """The level of a scale."""

        return self.config.blocks + scale

    def latent_shape(self, scale: int) -> tuple[int, int, int]:
        """The shape of a group's latent."""

        height, width = (n << (self.config.scales - 1 - scale) for n in self.coarsest)
        return self.latents[scale], height, width

    # --- cells -----------------------------------------------------------------------------------

    def cells(self, n: int, level: int, expand: int = 0) -> list[Cell]:
        """Returns `n` cells that keep the size."""

        width = self.widths[level]
        return [Cell(width, width, 0, expand, self.style) for _ in range(n)]

    def down(self, level: int) -> Cell:
        """Returns a cell to the next coarser level."""

        return Cell(self.widths[level], self.widths[level + 1], -1, 0, self.style)

    def up(self, level: int, expand: int) -> Cell:
        """Returns a cell to the next finer level."""

        return Cell(self.widths[level], self.widths[level - 1], 1, expand, self.style)

    # --- checks ----------------------------------------------------------------------------------

    def _per_scale(self, value: int | tuple[int, ...], name: str) -> tuple[int, ...]:
        scales = self.config.scales
        values = (value,) * scales if isinstance(value, int) else value
        if len(values) != scales or min(values) < 1:
            raise RegistryError(
                f"config of NVAE: {name} has {len(values)} values for {scales} scales",
                f"give one positive number, or {scales}, the finest scale's first",
            )
        return values

    def _coarsest(self) -> tuple[int, int]:
        c = self.config
        _, height, width = c.event_shape
        shrink = c.patch * 2 ** (c.blocks + c.scales - 1)
        if (height + 2 * c.pad) % shrink or (width + 2 * c.pad) % shrink:
            raise RegistryError(
                f"config of NVAE: {height}x{width} images with pad {c.pad} can't be halved as often as it asks",
                f"use fewer scales, or a pad that makes the size a multiple of {shrink}",
            )
        return (height + 2 * c.pad) // shrink, (width + 2 * c.pad) // shrink

    def _widths(self) -> tuple[int, ...]:
        c = self.config
        levels = c.blocks + c.scales
        widths = c.widths or tuple(c.channels * 2**i for i in range(levels))
        if len(widths) != levels:
            raise RegistryError(
                f"config of NVAE: widths has {len(widths)} values for {levels} sizes",
                "give one number for each of blocks and scales, the finest first",
            )
        return widths

    def _temperatures(self) -> list[float]:
        c = self.config
        temperatures = c.temperatures or (1.0,) * c.scales
        if len(temperatures) != c.scales:
            raise RegistryError(
                f"config of NVAE: temperatures has {len(temperatures)} values for {c.scales} scales",
                "give one for each scale, the finest first",
            )
        return [temperatures[s] for s in self.group_scales]
