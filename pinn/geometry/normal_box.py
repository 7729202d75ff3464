"""A box that stands for the whole space: its points crowd where something of finite size lives."""

from __future__ import annotations

import torch
from torch import Tensor

from pinn.geometry.box import Box
from training.errors import ConfigurationError


class NormalBox(Box):
    """A box whose points have a normal density about its centre, cut off at its faces, instead of a uniform one.

    In many dimensions a uniform density puts almost every point into corners where nothing is; so does a Sobol
    sequence, which this density bends as well.

    >>> NormalBox(spread=1.0, x1=(-5, 5), x2=(-5, 5))

    Args:
        spread: standard deviation along every coordinate, before the cut.
        prefix: as for `Box`.
        ranges: lower and upper bound of each coordinate.

    Raises:
        ConfigurationError: if the spread is not positive, or a range is empty or not finite.
    """

    def __init__(self, spread: float, prefix: str = "", **ranges: tuple[float, float]) -> None:
        super().__init__(prefix, **ranges)
        if not 0 < spread < float("inf"):
            raise ConfigurationError(f"spread is a positive length; got {spread}.")
        self.spread = spread
        self._middle = (self._low + self._high) / 2

    def __repr__(self) -> str:
        return super().__repr__().replace("(", f"(spread={self.spread:g}, ", 1)

    def _interior(self, unit: Tensor) -> tuple[Tensor, Tensor]:
        ends = torch.special.ndtr((torch.stack([self._low, self._high]) - self._middle) / self.spread)
        drawn = self._middle + self.spread * torch.special.ndtri(ends[0] + (ends[1] - ends[0]) * unit)
        # rounding may not carry a point onto the boundary
        inner_low = torch.nextafter(self._low, self._high)
        inner_high = torch.nextafter(self._high, self._low)
        return drawn.clamp(inner_low, inner_high), torch.ones(len(unit), dtype=torch.bool)
