"""How strongly a Gauss-Newton step is damped: after each step, by how well the linear model foretold the loss."""

from __future__ import annotations

from dataclasses import dataclass, replace

SLOWEST_GROWTH = 2.0
LARGEST_FALL = 1 / 3


@dataclass(frozen=True)
class Damping:
    """``μ`` in ``(JᵀJ + μ D) d = −Jᵀr``, and the factor by which the next failure raises it.

    Source: H. B. Nielsen, "Damping parameter in Marquardt's method", IMM-REP-1999-05.
    """

    value: float
    growth: float = SLOWEST_GROWTH

    def after_success(self, gain: float) -> Damping:
        """``μ max(1/3, 1 − (2ϱ − 1)³)`` for the gain ratio ϱ, the true decrease of the loss over the foretold one."""
        return Damping(self.value * max(LARGEST_FALL, 1 - (2 * min(gain, 1.0) - 1) ** 3))

    def after_failure(self) -> Damping:
        """``μ ν``, and ``ν`` doubled."""
        return Damping(self.value * self.growth, self.growth * 2)

    def within(self, lowest: float, highest: float) -> Damping:
        """The same with μ between the limits."""
        return replace(self, value=min(max(self.value, lowest), highest))


def foretold_decrease(slope: float, curvature: float, share: float = 1.0) -> float:
    """Decrease of ``|r + J η d|²`` from η = 0.

    Args:
        slope: ``gᵀd`` with ``g = Jᵀr``.
        curvature: ``|J d|²``.
        share: η.
    """
    return -share * (2 * slope + share * curvature)
