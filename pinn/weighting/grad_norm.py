"""Equal gradient norms: a term that pulls the weights hard counts less."""

from __future__ import annotations

from pinn.weighting.balance import TermGradients
from pinn.weighting.ratios import Ratios


class GradNorm(Ratios):
    """``w_k = mean_j n_j / n_k`` with ``n_k = ‖∇θ L_k‖``, averaged over changes from one on.

    A change costs one gradient of every term, about one step, and one gradient vector of memory.

    Args:
        every: optimizer steps between two changes, the first one before the first step.
        momentum: share of the former weight that is kept; 0 takes each measurement as it is.
        largest: bound of a single ratio, for terms that are almost solved.

    Raises:
        ConfigurationError: if a value is impossible.

    Source: Wang, Sankaran, Wang, Perdikaris, "An expert's guide to training PINNs", arXiv:2308.08468, algorithm 1, with
    the mean for the sum of the norms.
    """

    def __init__(self, every: int = 1000, momentum: float = 0.9, largest: float = 1e5) -> None:
        super().__init__(every, momentum, largest)

    def _size(self, term: str, gradients: TermGradients) -> float:
        return self._finite(term, "gradient norm", gradients.gradient_norm(term))
