"""The damping rule of Gauss-Newton for many problems at once: every problem keeps its own μ.

Row by row the numbers of `training.optimizers.damping`, whose constants and formula of the foretold decrease it shares.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from training.optimizers.damping import LARGEST_FALL, SLOWEST_GROWTH


@dataclass
class BatchedDamping:
    """``μ`` (n,) and the factor (n,) by which the next failure raises it.

    Source: H. B. Nielsen, "Damping parameter in Marquardt's method", IMM-REP-1999-05.
    """

    value: Tensor
    growth: Tensor

    @classmethod
    def starting(cls, value: float, like: Tensor) -> BatchedDamping:
        """The same μ for every row of ``like``."""
        return cls(torch.full_like(like, value), torch.full_like(like, SLOWEST_GROWTH))

    def after(self, accepted: Tensor, gain: Tensor) -> BatchedDamping:
        """``μ max(1/3, 1 − (2ϱ − 1)³)`` where a step was accepted, ``μ ν`` with ν doubled where not.

        Args:
            accepted: (n,) bool.
            gain: (n,) true over foretold decrease; read where accepted.
        """
        factor = (1 - (2 * gain.clamp(max=1.0) - 1) ** 3).clamp(min=LARGEST_FALL)
        value = self.value * torch.where(accepted, factor, self.growth)
        growth = torch.where(accepted, SLOWEST_GROWTH, 2 * self.growth)
        return BatchedDamping(value, growth)

    def within(self, lowest: float, highest: float) -> BatchedDamping:
        """The same with every μ between the limits."""
        return BatchedDamping(self.value.clamp(lowest, highest), self.growth)
