"""R3: points of large residual stay, the others are drawn anew."""

from __future__ import annotations

from pinn.sampling.sampler import Draw, Kind, PointFunction, Sampler


class R3(Sampler):
    """Retain, resample, release: points with |r| above the mean of all points stay, the others are drawn afresh.

    Points gather where the residual is large and leave, through the falling mean, where it has become small.

    A change costs n evaluations of the residual and nothing else, so it is meant to happen at every step.

    Args:
        n: number of points, kept and fresh ones together.
        every: optimizer steps between two changes.
        first: steps before the first change, ``every`` unless given.
        kind: how fresh points are drawn.

    Raises:
        ConfigurationError: if a value is impossible.

    Source: Daw, Bu, Wang, Perdikaris, Karpatne, "Mitigating propagation failures in PINNs using R3 sampling",
    ICML 2023, algorithm 1.
    """

    def __init__(self, n: int, every: int = 1, first: int | None = None, kind: Kind = "uniform") -> None:
        super().__init__(n, every, first, kind)

    def _change(self, residual: PointFunction, uncertainty: PointFunction | None) -> Draw:
        residuals = self._scores(self.points, residual)
        kept = (residuals > residuals.mean()).nonzero().squeeze(1)
        return self._kept_and_fresh(kept, self._candidates(self.n - len(kept)))
