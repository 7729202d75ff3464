"""Rank-two updates of a dense inverse Hessian: BFGS and the self-scaled Broyden family."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

Update = Literal["ssbroyden", "ssbfgs", "bfgs"]
UPDATES: tuple[str, ...] = get_args(Update)

PARALLEL = 1e-12
"""Below this ``a = h b − 1`` the step and ``H y`` are parallel, and all members of the family agree."""


@dataclass(frozen=True)
class Scaling:
    """The two numbers that tell the members of the family apart.

    Attributes:
        tau: divides the old matrix.
        phi: 1 for BFGS, 0 for DFP.
    """

    tau: float
    phi: float


def scaling(update: Update, h: float, b: float, size: int, first: bool) -> Scaling:
    """τ and φ of an update ``H ← (H − zzᵀ/(y·z) + φ (y·z) vvᵀ)/τ + ρ ssᵀ``.

    Args:
        update: member of the family.
        h: ``y·Hy / y·s``, positive.
        b: ``s·H⁻¹s / y·s``, positive.
        size: number of weights.
        first: whether H is still the identity, whose length says nothing.

    Source: J. F. Urbán, P. Stefanou, J. A. Pons, "Unveiling the optimization process of physics informed neural
    networks", J. Comput. Phys. 523 (2025) 113656, after M. Al-Baali's self-scaling methods; E. Kiyani et al.,
    arXiv:2501.16371 (SSBroyden2).
    """
    a = h * b - 1
    theta = 0.0
    if update == "ssbroyden" and a > PARALLEL:
        # h (1 − sqrt(a/(1+a))) without the difference of nearly equal numbers
        r = min(1.0, 1 / (b * (1 + math.sqrt(a / (1 + a)))))
        theta = max((r - 1) / a, min(1 / r, (1 - b) / b))
    sigma = 1 + max(a, 0.0) * theta
    phi = (1 - theta) / sigma
    if first:
        return Scaling(h / sigma, phi)
    if update == "bfgs":
        return Scaling(1.0, phi)
    q = min(1.0, 1 / b)
    root = sigma ** (1 / (1 - size)) if size > 1 else 1.0
    return Scaling(min(q * root, sigma) if theta <= 0 else q * min(root, 1 / theta), phi)


class Workspace:
    """Rows for the vectors of one update, so that their products are one matrix product each.

    Args:
        like: a vector (n,) of the type and device.
    """

    def __init__(self, like: Tensor) -> None:
        rows = like.new_zeros((5, like.numel()))
        self.rows = rows
        self.change, self.gradient, self.step = rows[:3]
        """``y``, ``g₊`` and ``s``; ``z = Hy`` and ``w = Hg₊`` follow."""


def update_in_place(matrix: Tensor, work: Workspace, update: Update, descent: float, first: bool) -> Tensor | None:
    """Apply one update to a symmetric positive matrix and give the next direction.

    Everything new lies in the plane of ``s`` and ``z = Hy``: ``H ← H/τ + [s z] C [s z]ᵀ`` with a 2 × 2 matrix C, so one
    pass reads H for ``Hy`` and ``Hg₊`` and one pass writes it. C is split into its two principal directions, which
    keeps H symmetric to the last bit. Small tensors cost a call each, so all combinations of vectors are one product.

    Args:
        matrix: (n, n), overwritten.
        work: ``step``, ``change`` and ``gradient`` are filled in; the other two rows are overwritten.
        update: member of the family.
        descent: ``−s·H⁻¹s`` as the line search knows it: the step length times the slope times the step length.
        first: whether the matrix is the identity.

    Returns:
        The direction ``−H₊g₊``, (n,); None, with the matrix as it was, if the curvature along the step is not
        positive beyond rounding, or the matrix is not positive along the change.
    """
    torch.mm(work.rows[:2], matrix, out=work.rows[3:])
    (yy, _, ys, yz, _), (_, _, sg, zg, _), (_, _, ss, _, _), (*_, zz, _), _ = torch.mm(work.rows, work.rows.T).tolist()
    limits = torch.finfo(matrix.dtype)
    # squares of steps near the smallest numbers vanish
    visible = min(ss, yy, ys, yz, -descent) > limits.tiny / limits.eps
    if not (visible and ys > limits.eps * math.sqrt(ss * yy)):
        return None
    rho = 1 / ys
    chosen = scaling(update, yz * rho, -descent * rho, matrix.shape[0], first)
    tau, phi = chosen.tau, chosen.phi
    c_ss = phi * yz * rho * rho / tau + rho
    c_sz = -phi * rho / tau
    c_zz = (phi - 1) / (tau * yz)
    newton = [-(c_ss * sg + c_sz * zg), -(c_sz * sg + c_zz * zg), -1 / tau]
    combinations = [*_principal(c_ss, c_sz, c_zz, math.sqrt(ss), math.sqrt(zz)), newton]
    table = torch.tensor(combinations, dtype=matrix.dtype, device=matrix.device)
    left, signed, (direction,) = torch.mm(table, work.rows[2:]).split((2, 2, 1))
    matrix.addmm_(signed.T, left, beta=1 / tau)
    return direction


def _principal(c_ss: float, c_sz: float, c_zz: float, s_length: float, z_length: float) -> list[list[float]]:
    """Two directions as combinations of (s, z, w), scaled to curvature ±1, then both again times their sign.

    The lengths balance the basis, because s and z may differ by many orders of magnitude.
    """
    p, q, r = c_ss * s_length**2, c_sz * s_length * z_length, c_zz * z_length**2
    mean, half = (p + r) / 2, (p - r) / 2
    radius = math.hypot(half, q)
    angle = math.atan2(q, half) / 2
    cosine, sine = math.cos(angle), math.sin(angle)
    directions, signed = [], []
    for value, x, y in ((mean + radius, cosine, sine), (mean - radius, -sine, cosine)):
        scale = math.sqrt(abs(value))
        directions.append([scale * x / s_length, scale * y / z_length, 0.0])
        signed.append([math.copysign(entry, entry * value) for entry in directions[-1]])
    return directions + signed


def is_positive(matrix: Tensor) -> bool:
    """Whether a symmetric matrix has a Cholesky factor; n³/3 operations."""
    return bool(torch.isfinite(matrix).all()) and int(torch.linalg.cholesky_ex(matrix).info) == 0
