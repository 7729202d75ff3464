"""Covariance of many fits from their normal equations: parameters first, linear terms behind them."""

from __future__ import annotations

import torch
from torch import Tensor

from training.optimizers.batched_steps import Bounds
from training.optimizers.batched_sums import NormalEquations

LARGEST_CONDITION = 1e14
"""Of the matrix scaled to a unit diagonal; beyond it rounding decides what the inverse is."""


def covariances(equations: NormalEquations, parameters: Tensor, bounds: Bounds) -> tuple[Tensor, Tensor]:
    """``A⁻¹`` for the parameters and, with ``G = S⁻¹Rᵀ``, ``S⁻¹ + G A⁻¹ Gᵀ`` and ``−G A⁻¹`` for the linear terms: the
    inverse of the joint Gauss-Newton matrix.

    A parameter that is held at a bound has no error bar: its rows are not numbers, and the others' are conditional on
    it.

    Args:
        equations: at the minimum, of n fits.
        parameters: (n, p).
        bounds: (n, p) each.

    Returns:
        (n, p + k, p + k), not a number in all of a singular fit; and which fits are singular, (n,).
    """
    held = bounds.held(parameters, equations.gradient)
    inner, regular = _inverse(equations.matrix, held)
    linear, also = _inverse(equations.linear, torch.zeros_like(equations.coefficients, dtype=torch.bool))
    back = torch.bmm(linear, equations.mixed.transpose(1, 2))
    cross = -torch.bmm(inner, back.transpose(1, 2))
    outer = linear - torch.bmm(back, cross)
    whole = torch.cat([torch.cat([inner, cross], dim=2), torch.cat([cross.transpose(1, 2), outer], dim=2)], dim=1)
    regular = regular & also
    p = parameters.shape[1]
    unknown = torch.zeros(whole.shape[:2], dtype=torch.bool, device=whole.device)
    unknown[:, :p] = held
    unknown |= ~regular[:, None]
    return torch.where(unknown[:, :, None] | unknown[:, None, :], torch.nan, whole), ~regular


def _inverse(matrix: Tensor, held: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse over what is not held, zero in the rest, and whether it is more than rounding."""
    n, p = held.shape
    if p == 0:
        return matrix, torch.ones(n, dtype=torch.bool, device=matrix.device)
    crossed = held[:, :, None] | held[:, None, :]
    identity = torch.eye(p, dtype=matrix.dtype, device=matrix.device)
    diagonal = matrix.diagonal(dim1=1, dim2=2)
    usable = torch.isfinite(matrix).all(2).all(1) & ((diagonal > 0) | held).all(1)
    scale = torch.where(held | ~usable[:, None], 1.0, diagonal).sqrt()
    scaled = torch.where(crossed | ~usable[:, None, None], identity, matrix / scale[:, :, None] / scale[:, None, :])
    values, vectors = torch.linalg.eigh(scaled)
    usable &= values[:, 0] * LARGEST_CONDITION > values[:, -1]
    inverse = torch.bmm(vectors / values.clamp(min=1 / LARGEST_CONDITION)[:, None, :], vectors.transpose(1, 2))
    return torch.where(crossed, 0.0, inverse / scale[:, :, None] / scale[:, None, :]), usable
