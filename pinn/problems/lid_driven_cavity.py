"""The lid-driven cavity: a fluid in a square box whose lid slides.

The steady Navier–Stokes equations on the unit square,

    ``u u_x + v u_y = −p_x + (u_xx + u_yy)/Re``,  ``u v_x + v v_y = −p_y + (v_xx + v_yy)/Re``,  ``u_x + v_y = 0``

with u = 1 and v = 0 on the lid y = 1, u = v = 0 on the other walls, and p = 0 at the corner (0, 0), which the equations
leave open. Re = 100.

Benchmark of Ghia, Ghia, Shin, J. Comput. Phys. 48 (1982) 387, whose tables are in `pinn.references.ghia`. Reference: a
spectral solution that treats the jumps of the velocity at the ends of the lid, see `pinn.references.cavity`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pinn.conditions import Data, Dirichlet
from pinn.fields import Field
from pinn.geometry import Box
from pinn.problem import Problem
from pinn.problems.lid_end_flow import flow_at_lid_ends
from pinn.references.cavity import CORNER_RADIUS, Cavity
from pinn.references.ghia import REYNOLDS_NUMBERS, centrelines
from training.errors import ConfigurationError


class LidDrivenCavity(Problem):
    """The steady Navier–Stokes equations for u, v and p under a sliding lid.

    All conditions enter the loss. At the ends of the lid the velocity is any value between 0 and 1, depending on the
    direction from which one arrives, and the pressure is infinite. The two most singular terms there are known in
    closed form, so the network has only the rest to learn: ``u = u_s + N``, and likewise v and p.

    Args:
        reynolds: Re, above 0 and up to 400, which the reference resolves.
        closed_form_ends: whether the singular terms are built in; false leaves everything to the network, which rounds
            the ends of the lid off.
    """

    fields = ("u", "v", "p")
    formula = (
        r"u\,u_x + v\,u_y = -p_x + \Delta u / \mathrm{Re}"
        "\n"
        r"u\,v_x + v\,v_y = -p_y + \Delta v / \mathrm{Re}"
        "\n"
        r"u_x + v_y = 0"
    )

    def __init__(self, reynolds: float = 100.0, closed_form_ends: bool = True) -> None:
        if not 0 < reynolds <= 400:
            raise ConfigurationError(f"reynolds lies above 0 and up to 400; got {reynolds:g}.")
        self.title = f"Lid-driven cavity, Re = {reynolds:g}"
        self.reynolds = reynolds
        self.domain = Box(x=(0, 1), y=(0, 1))
        self.conditions = [
            Dirichlet("y=1", name="lid", u=1.0, v=0.0),
            Dirichlet(("x=0", "x=1", "y=0"), name="walls", u=0.0, v=0.0),
            Data({"x": 0.0, "y": 0.0}, name="pressure level", p=0.0),
        ]
        self.reference = Cavity(reynolds)
        if closed_form_ends:
            self.lift = self.flow_at_ends

    def flow_at_ends(self, x: Any, y: Any) -> dict[str, Any]:
        """The singular terms at both ends of the lid, their pressure zero at the corner (0, 0); tensors or jets."""
        flow = flow_at_lid_ends(x, y, self.reynolds)
        corner = torch.zeros(1, dtype=torch.float64)
        level = float(flow_at_lid_ends(corner, corner, self.reynolds)["p"])
        return {**flow, "p": flow["p"] - level}

    def equations(self, u: Field, v: Field, p: Field) -> dict[str, Tensor]:
        return {
            "momentum_x": u * u.x + v * u.y + p.x - (u.xx + u.yy) / self.reynolds,
            "momentum_y": u * v.x + v * v.y + p.y - (v.xx + v.yy) / self.reynolds,
            "mass": u.x + v.y,
        }

    def evaluation_points(self) -> Tensor:
        """A grid of 101 × 101 points without small discs about the ends of the lid, where the pressure is infinite."""
        points = torch.cartesian_prod(*[torch.linspace(0, 1, 101).double()] * 2)
        x, y = points.unbind(1)
        return points[torch.hypot(torch.minimum(x, 1 - x), 1 - y) > CORNER_RADIUS]

    def tables(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Published values: for u and v points (n, 2) and values (n,); empty if there are none for this Re."""
        return centrelines(self.reynolds) if self.reynolds in REYNOLDS_NUMBERS else {}
