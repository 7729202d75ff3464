"""Equal traces of the neural tangent kernel: every term learns at the same rate."""

from __future__ import annotations

from pinn.weighting.balance import TermGradients
from pinn.weighting.ratios import Ratios


class NTK(Ratios):
    """``w_k = mean_j t_j / t_k`` with ``t_k = mean_i ‖∇θ r_i‖²``, averaged over changes from one on.

    Unlike a gradient norm, t_k does not shrink with the residual: a term that is solved is not pushed up.

    A change costs ``points`` gradients of every term, or one Jacobian of that many rows.

    Args:
        every: optimizer steps between two changes, the first one before the first step.
        points: of each term at which gradients are taken; 256 to 512 give t_k to a few per cent.
        momentum: share of the former weight that is kept; 0 takes each measurement as it is.
        largest: bound of a single ratio.

    Raises:
        ConfigurationError: if a value is impossible.

    Source: Wang, Yu, Perdikaris, "When and why PINNs fail to train: a neural tangent kernel perspective", Journal of
    Computational Physics 449 (2022) 110768, with the means of jaxpi (arXiv:2308.08468) for the traces.
    """

    def __init__(self, every: int = 1000, points: int = 256, momentum: float = 0.9, largest: float = 1e5) -> None:
        super().__init__(every, momentum, largest)
        self._require("points", points, points >= 1, "at least one, better 256 to 512")
        self.points = points

    def _size(self, term: str, gradients: TermGradients) -> float:
        return self._finite(term, "squared gradient", gradients.squared_gradient(term, self.points))
