"""Damped Gauss-Newton steps of many small problems inside bounds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from training.optimizers.damping import foretold_decrease
from training.optimizers.systems import FLOOR

ROUNDS = 8
"""Of the search for the parameters that stop at a bound."""

RIDGE = 1e-13
"""Relative to the diagonal: what makes a singular matrix solvable without moving a regular one's solution."""


@dataclass(frozen=True)
class Bounds:
    """Lowest and highest value of every parameter, (n, p); infinite where there is none."""

    lower: Tensor
    upper: Tensor

    def held(self, parameters: Tensor, gradient: Tensor) -> Tensor:
        """(n, p): at a bound that χ² would like to cross."""
        low = (parameters <= self.lower) & (gradient > 0)
        high = (parameters >= self.upper) & (gradient < 0)
        return low | high | (self.lower == self.upper)

    def rows(self, rows: Tensor) -> Bounds:
        return Bounds(self.lower[rows], self.upper[rows])


def bounded_steps(
    matrix: Tensor, gradient: Tensor, damping: Tensor, metric: Tensor, parameters: Tensor, bounds: Bounds
) -> tuple[Tensor, Tensor]:
    """Steps to the minimum of ``2gᵀd + dᵀ(A + μ D)d`` inside the bounds, for each row.

    Which parameters stop at a bound is found by the primal-dual active set method: those that the present solution
    would carry beyond, and those that are held and want to stay. It ends after two or three rounds; a row that has not
    ended after `ROUNDS` takes its last solution, cut off at the bounds; the test of the true χ² judges it like any.

    Args:
        matrix, gradient: A (n, p, p) and g (n, p).
        damping: μ, (n,).
        metric: D, (n, p), positive.
        parameters: (n, p), inside the bounds.
        bounds: of each row.

    Returns:
        d, (n, p), and the decrease of χ² that the linear model foretells, (n,); the step is 0 and the decrease not a
        number where the equations could not be solved.

    Source: M. Hintermüller, K. Ito, K. Kunisch, SIAM J. Optim. 13 (2002) 865.
    """
    damped = matrix + torch.diag_embed(damping[:, None] * metric)
    diagonal = damped.diagonal(dim1=1, dim2=2)
    diagonal = torch.where(diagonal > 0, diagonal, 1.0)
    down, up = bounds.lower - parameters, bounds.upper - parameters
    never = bounds.lower == bounds.upper
    fixed = never | bounds.held(parameters, gradient)
    at = torch.zeros_like(parameters)
    for _ in range(ROUNDS):
        steps, solved = solve_free(damped, gradient, fixed, at)
        pressed = steps - (gradient + torch.bmm(damped, steps[:, :, None])[:, :, 0]) / diagonal
        # a free parameter has no slope left but rounding
        pressed = torch.where(fixed, pressed, steps)
        low, high = pressed < down, pressed > up
        wanted = low | high | never
        if bool(((wanted == fixed) | ~solved[:, None]).all()):
            break
        fixed = wanted
        at = torch.where(low, down, torch.where(high, up, 0.0))
    steps = torch.where(solved[:, None], torch.clamp(steps, down, up), 0.0)
    slope = (gradient * steps).sum(1)
    curvature = (steps * torch.bmm(matrix, steps[:, :, None])[:, :, 0]).sum(1)
    foretold: Tensor = foretold_decrease(slope, curvature)  # type: ignore[arg-type, assignment]
    return steps, torch.where(solved, foretold, torch.nan)


def solve_free(matrix: Tensor, gradient: Tensor, fixed: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """d with ``A d = −g`` for the free parameters, and the given values for the fixed ones.

    Args:
        matrix, gradient: (n, p, p) and (n, p).
        fixed: (n, p) bool.
        at: (n, p), 0 where free.

    Returns:
        d (n, p), and whether each row's matrix was positive definite to rounding, (n,).
    """
    right = -gradient - torch.bmm(matrix, at[:, :, None])[:, :, 0]
    right = torch.where(fixed, 0.0, right)
    crossed = fixed[:, :, None] | fixed[:, None, :]
    reduced = torch.where(crossed, 0.0, matrix)
    # scaled to a unit diagonal: parameters of any size, from 1e-9 to 1e9, make a matrix that can be factorised
    scale = reduced.diagonal(dim1=1, dim2=2).clamp(min=0).sqrt()
    scale = torch.where(fixed | (scale == 0), 1.0, scale)
    reduced = reduced / scale[:, :, None] / scale[:, None, :]
    reduced = reduced + torch.diag_embed(fixed.to(matrix.dtype))
    factor, info = torch.linalg.cholesky_ex(reduced)
    found = torch.cholesky_solve((right / scale)[:, :, None], factor)[:, :, 0] / scale
    finite = torch.isfinite(found).all(1)
    return torch.where(fixed, at, found), (info == 0) & finite


def decrements(matrix: Tensor, gradient: Tensor, held: Tensor) -> Tensor:
    """How far below its present value the quadratic model of χ² has its minimum, (n,): the squared distance to it in
    standard errors.

    Directions in which χ² is flat add nothing, because the gradient has no part in them; a ridge of rounding size keeps
    their matrices solvable. Not a number where even so there is no Cholesky factor.

    Args:
        matrix, gradient: (n, p, p) and (n, p).
        held: (n, p), parameters that stay.
    """
    diagonal = matrix.diagonal(dim1=1, dim2=2)
    ridge = torch.where(diagonal > 0, RIDGE * diagonal, 1.0)
    steps, solved = solve_free(matrix + torch.diag_embed(ridge), gradient, held, torch.zeros_like(gradient))
    return torch.where(solved, -(gradient * steps).sum(1), torch.nan)


def raised_metric(metric: Tensor, matrix: Tensor) -> Tensor:
    """Marquardt's D (n, p): the largest diagonal of A so far, no entry below `FLOOR` of the row's largest.

    Args:
        metric: D before; 0 at the start.
        matrix: A, (n, p, p).
    """
    largest = torch.maximum(metric, matrix.diagonal(dim1=1, dim2=2))
    floor = FLOOR * largest.max(dim=1, keepdim=True).values
    return torch.where(floor > 0, torch.maximum(largest, floor), 1.0)
