"""Points in the open unit cube, from which every geometry makes its own."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

import torch
from torch import Tensor

from pinn.names import hint
from training.errors import ConfigurationError, InputError

KINDS = ("uniform", "sobol", "latin_hypercube")

_SMALLEST = 2.0**-53
_SOBOL_CELL = 2.0**-30
"""Torch's Sobol points are multiples of this; half of it moves them into the open cube."""

_MOST_ROUNDS = 60

Place = Callable[[Tensor], tuple[Tensor, ...]]
"""Unit points (m, k) to columns of results, each with m rows; the last is a mask (m,) of the rows to keep."""


class UnitPoints:
    """A sequence of points in the open cube (0, 1)^k.

    Args:
        dimensions: k; may be 0, where every point is the empty one.
        generator: the only source of randomness.
        kind: ``uniform`` (independent), ``sobol`` (scrambled, low discrepancy; one sequence over all draws) or
            ``latin_hypercube`` (each draw of m has exactly one point in each of m slices of every coordinate).

    Raises:
        ConfigurationError: if the kind is not known.
    """

    def __init__(self, dimensions: int, generator: torch.Generator, kind: str = "uniform") -> None:
        if kind not in KINDS:
            raise ConfigurationError(f"Points cannot be drawn by {kind!r}; {hint(kind, KINDS)}")
        if not isinstance(generator, torch.Generator):
            raise InputError(f"Points are drawn from a torch.Generator; got {type(generator).__name__}.")
        self.dimensions = dimensions
        self.generator = generator
        self.kind = kind
        self._engine: torch.quasirandom.SobolEngine | None = None
        if kind == "sobol" and dimensions:
            seed = int(torch.randint(2**31 - 1, (1,), generator=generator, device=generator.device))
            self._engine = torch.quasirandom.SobolEngine(dimensions, scramble=True, seed=seed)

    def draw(self, n: int) -> Tensor:
        """The next n points, (n, k) float64 on the CPU."""
        if self._engine is not None and n:
            return (self._engine.draw(n, dtype=torch.float64) + _SOBOL_CELL / 2).clamp(_SMALLEST, 1 - _SMALLEST)
        shape = (n, self.dimensions)
        device = self.generator.device
        points = torch.rand(shape, generator=self.generator, dtype=torch.float64, device=device)
        if self.kind == "latin_hypercube":
            for column in range(self.dimensions):
                slices = torch.randperm(n, generator=self.generator, device=device)
                points[:, column] = (points[:, column] + slices) / n
        return points.clamp(_SMALLEST, 1 - _SMALLEST).cpu()


def draw_exactly(
    n: int, dimensions: int, generator: torch.Generator, kind: str, place: Place, acceptance: float = 1.0
) -> tuple[Tensor, ...]:
    """Exactly n accepted points: candidates from the unit cube are placed, and those outside are rejected.

    The first n accepted of one Sobol sequence keep their order; a Latin hypercube keeps its slices where nothing is
    rejected.

    Args:
        n: number of points.
        dimensions: of the unit cube.
        place: maps candidates to columns and a mask.
        acceptance: expected share of accepted candidates, used for the size of the first draw only.

    Returns:
        The columns of ``place`` without the mask, each with n rows.

    Raises:
        InputError: if n is negative, or almost nothing is ever accepted.
    """
    if n < 0 or int(n) != n:
        raise InputError(f"The number of points is a whole number, zero or more; got {n}.")
    sequence = UnitPoints(dimensions, generator, kind)
    kept: list[tuple[Tensor, ...]] = []
    found = drawn = 0
    for _ in range(_MOST_ROUNDS):
        lacking = n - found
        candidates = lacking if acceptance >= 1 else min(ceil(1.1 * lacking / acceptance) + 16, 2_000_000)
        *columns, mask = place(sequence.draw(candidates))
        kept.append(tuple(column[mask] for column in columns))
        found += int(mask.sum())
        drawn += candidates
        if found >= n:
            return tuple(torch.cat(column)[:n] for column in zip(*kept, strict=True))
        acceptance = min((found + 1) / (drawn + 1), 0.999)
    raise InputError(
        f"Only {found} of {drawn} candidates lie in the geometry, {n} points are asked for; "
        "its shape is too thin for its bounding box: split it into parts that fill their boxes better."
    )
