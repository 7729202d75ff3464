"""Points of which each coordinate is evenly spread."""

from __future__ import annotations

from pinn.sampling.space_filling import SpaceFilling


class LatinHypercube(SpaceFilling):
    """Each of n slices of equal width of every coordinate of a box holds one point; on other domains the geometry says.

    Args:
        n: number of points.
        every: optimizer steps after which all points are drawn anew; None keeps the first ones.
        first: steps before the first such change, ``every`` unless given.

    Raises:
        ConfigurationError: if a value is impossible.

    Source: McKay, Beckman, Conover, "A comparison of three methods for selecting values of input variables",
    Technometrics 21 (1979) 239.
    """

    def __init__(self, n: int, every: int | None = None, first: int | None = None) -> None:
        super().__init__(n, every, first, kind="latin_hypercube")
