"""Points of a scrambled Sobol sequence."""

from __future__ import annotations

from pinn.sampling.space_filling import SpaceFilling


class Sobol(SpaceFilling):
    """A low-discrepancy sequence, scrambled with a seed drawn from the generator, so that every draw is another one.

    Args:
        n: number of points; powers of two are balanced best.
        every: optimizer steps after which the sequence is scrambled anew; None keeps the first points.
        first: steps before the first such change, ``every`` unless given.

    Raises:
        ConfigurationError: if a value is impossible.

    Source: Owen, "Scrambling Sobol' and Niederreiter–Xing points", Journal of Complexity 14 (1998) 466.
    """

    def __init__(self, n: int, every: int | None = None, first: int | None = None) -> None:
        super().__init__(n, every, first, kind="sobol")
