"""Tables of the lid-driven cavity: velocities on the two centrelines, on a grid of 129 × 129 points.

Source: Ghia, Ghia, Shin, "High-Re solutions for incompressible flow using the Navier–Stokes equations and a multigrid
method", J. Comput. Phys. 48 (1982) 387, tables I and II. At Re = 100 the flow computed in `pinn.references.cavity`
differs from them by up to 0.005 in u and 0.009 in v (relative L2 0.6 % and 3.6 %), which is the error of the tables: no
solution can be closer to them and right. For Re = 400 the value v = −0.23827 at x = 0.9063 breaks with its neighbours
and is left out.
"""

from __future__ import annotations

import torch
from torch import Tensor

from training.errors import ConfigurationError

CELLS = 128

Row = tuple[int, float | None, float | None, float | None]

REYNOLDS_NUMBERS = (100, 400, 1000)

# grid line, and the velocity for each Reynolds number; the walls themselves are left out
_U_ALONG_Y: list[Row] = [
    (125, 0.84123, 0.75837, 0.65928),
    (124, 0.78871, 0.68439, 0.57492),
    (123, 0.73722, 0.61756, 0.51117),
    (122, 0.68717, 0.55892, 0.46604),
    (109, 0.23151, 0.29093, 0.33304),
    (94, 0.00332, 0.16256, 0.18719),
    (79, -0.13641, 0.02135, 0.05702),
    (64, -0.20581, -0.11477, -0.06080),
    (58, -0.21090, -0.17119, -0.10648),
    (36, -0.15662, -0.32726, -0.27805),
    (22, -0.10150, -0.24299, -0.38289),
    (13, -0.06434, -0.14612, -0.29730),
    (9, -0.04775, -0.10338, -0.22220),
    (8, -0.04192, -0.09266, -0.20196),
    (7, -0.03717, -0.08186, -0.18109),
]
_V_ALONG_X: list[Row] = [
    (124, -0.05906, -0.12146, -0.21388),
    (123, -0.07391, -0.15663, -0.27669),
    (122, -0.08864, -0.19254, -0.33714),
    (121, -0.10313, -0.22847, -0.39188),
    (116, -0.16914, None, -0.51550),
    (110, -0.22445, -0.44993, -0.42665),
    (103, -0.24533, -0.38598, -0.31966),
    (64, 0.05454, 0.05186, 0.02526),
    (30, 0.17527, 0.30174, 0.32235),
    (29, 0.17507, 0.30203, 0.33075),
    (20, 0.16077, 0.28124, 0.37095),
    (12, 0.12317, 0.22965, 0.32627),
    (10, 0.10890, 0.20920, 0.30353),
    (9, 0.10091, 0.19713, 0.29012),
    (8, 0.09233, 0.18360, 0.27485),
]


def centrelines(reynolds: float) -> dict[str, tuple[Tensor, Tensor]]:
    """The tables for one Reynolds number.

    Args:
        reynolds: 100, 400 or 1000.

    Returns:
        For u (on x = ½) and v (on y = ½): points (n, 2) as x and y, and values (n,).

    Raises:
        ConfigurationError: if there is no table for it.
    """
    if reynolds not in REYNOLDS_NUMBERS:
        known = ", ".join(map(str, REYNOLDS_NUMBERS))
        raise ConfigurationError(f"There are no tables for Re = {reynolds:g}; there are for {known}.")
    column = 1 + REYNOLDS_NUMBERS.index(int(reynolds))
    return {"u": _table(_U_ALONG_Y, column, along=1), "v": _table(_V_ALONG_X, column, along=0)}


def _table(rows: list[Row], column: int, along: int) -> tuple[Tensor, Tensor]:
    known = [row for row in rows if row[column] is not None]
    points = torch.full((len(known), 2), 0.5, dtype=torch.float64)
    points[:, along] = torch.tensor([row[0] for row in known]).double() / CELLS
    return points, torch.tensor([row[column] for row in known], dtype=torch.float64)
