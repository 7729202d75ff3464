"""Poisson's equation on an L-shape: at the re-entrant corner the slope is infinite.

``−Δu = 1`` on the square (−1, 1)² without its quarter x > 0, y < 0, with u = 0 on the boundary. Near the corner at the
origin u grows with the distance to the power 2/3.

A standard test of adaptive methods. Reference: an expansion in exact solutions, see `pinn.references.l_shape`.
"""

from __future__ import annotations

from torch import Tensor

from pinn.conditions import Dirichlet
from pinn.fields import Field
from pinn.geometry import Polygon
from pinn.problem import Problem
from pinn.references.l_shape import LShape

CORNERS = [(0, 0), (1, 0), (1, 1), (-1, 1), (-1, -1), (0, -1)]


class PoissonLShape(Problem):
    """``−Δu = 1`` on an L-shape, zero on the boundary.

    Args:
        hard: whether the boundary holds exactly, ``u = d(x, y) N`` with the polygon's distance function d, or enters
            the loss.
    """

    title = "Poisson equation on an L-shape"
    formula = r"-\Delta u = 1"

    def __init__(self, hard: bool = True) -> None:
        self.domain = Polygon(CORNERS)
        self.conditions = [Dirichlet(u=0.0, hard=hard)]
        self.reference = LShape()

    def equations(self, u: Field) -> dict[str, Tensor]:
        return {"poisson": -u.xx - u.yy - 1}
