"""RAR-G: the candidates of largest residual are added."""

from __future__ import annotations

import torch
from torch import Tensor

from pinn.sampling.growing import Growing
from pinn.sampling.sampler import Kind


class RARG(Growing):
    """Residual-based adaptive refinement, greedy: the ``add`` candidates of largest |r| join the points.

    Greedy additions crowd around one maximum; with few of them at a time, and often, they spread.

    An addition costs ``candidates`` evaluations of the residual and 16 bytes for each beside the points themselves.

    Args:
        n: number of points at the start.
        every: optimizer steps between two additions.
        add: points of one addition; the last one may be smaller.
        maximum: points in the end; from then on nothing changes and no residual is asked for.
        candidates: size of the candidate set, drawn afresh from the domain each time; at least ``add``.
        first: steps before the first addition, ``every`` unless given.
        kind: how candidates and first points are drawn.

    Raises:
        ConfigurationError: if a value is impossible.

    Source: Lu, Meng, Mao, Karniadakis, "DeepXDE", SIAM Review 63 (2021) 208, procedure 2.
    """

    def __init__(
        self,
        n: int,
        every: int,
        add: int,
        maximum: int,
        candidates: int = 100_000,
        first: int | None = None,
        kind: Kind = "uniform",
    ) -> None:
        super().__init__(n, every, add, maximum, candidates, first, kind)

    def _choose(self, residuals: Tensor, n: int) -> Tensor:
        return torch.argsort(residuals, descending=True, stable=True)[:n]
