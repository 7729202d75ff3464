"""RAR-D: points are added with a density that follows the residual."""

from __future__ import annotations

from torch import Tensor

from pinn.sampling.density import draw, residual_density
from pinn.sampling.growing import Growing
from pinn.sampling.sampler import Kind


class RARD(Growing):
    """Residual-based adaptive refinement with a distribution.

    ``add`` candidates are chosen without replacement with ``p ∝ |r|^k / mean |r|^k + c`` and join the points.

    An addition costs ``candidates`` evaluations of the residual and 24 bytes for each beside the points themselves.

    Args:
        n: number of points at the start.
        every: optimizer steps between two additions.
        add: points of one addition; the last one may be smaller.
        maximum: points in the end; from then on nothing changes and no residual is asked for.
        candidates: size of the candidate set, drawn afresh from the domain each time; at least ``add``.
        k: power of the residual.
        c: uniform share.
        first: steps before the first addition, ``every`` unless given.
        kind: how candidates and first points are drawn.

    Raises:
        ConfigurationError: if a value is impossible.

    Source: Wu et al., CMAME 403 (2023) 115671, algorithm 3, with its defaults k = 2, c = 0.
    """

    def __init__(
        self,
        n: int,
        every: int,
        add: int,
        maximum: int,
        candidates: int = 100_000,
        k: float = 2.0,
        c: float = 0.0,
        first: int | None = None,
        kind: Kind = "uniform",
    ) -> None:
        super().__init__(n, every, add, maximum, candidates, first, kind)
        self._require("k", k, k >= 0, "zero or a positive power")
        self._require("c", c, c >= 0, "zero or a positive share")
        self.k, self.c = k, c

    def _choose(self, residuals: Tensor, n: int) -> Tensor:
        return draw(residual_density(residuals, self.k, self.c), n, self.generator)[0]
