"""Independent, uniformly distributed points."""

from __future__ import annotations

from pinn.sampling.space_filling import SpaceFilling


class Uniform(SpaceFilling):
    """Independent points of constant density.

    Args:
        n: number of points.
        every: optimizer steps after which all points are drawn anew; None keeps the first ones.
        first: steps before the first such change, ``every`` unless given.

    Raises:
        ConfigurationError: if a value is impossible.
    """

    def __init__(self, n: int, every: int | None = None, first: int | None = None) -> None:
        super().__init__(n, every, first, kind="uniform")
