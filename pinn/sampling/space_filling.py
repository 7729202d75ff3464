"""Points that do not look at the residual: drawn once, or anew every so many steps."""

from __future__ import annotations

from pinn.sampling.sampler import Draw, Kind, PointFunction, Sampler


class SpaceFilling(Sampler):
    """Points spread over the domain in the way of its ``kind``; costs no residual."""

    def __init__(self, n: int, every: int | None = None, first: int | None = None, kind: Kind = "uniform") -> None:
        super().__init__(n, every, first, kind)

    def _change(self, residual: PointFunction, uncertainty: PointFunction | None) -> Draw:
        return self._fresh(self._candidates(self.n))
