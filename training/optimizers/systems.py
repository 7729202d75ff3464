"""The damped linear least-squares problem of one Gauss-Newton step, in three forms with the same solution.

``(JᵀJ + μ D) x = Jᵀw`` with a diagonal D > 0 and w = r for the step itself.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from training.optimizers.least_squares import LeastSquares

FLOOR = 1e-12
"""Smallest entry of D relative to its largest: a weight that moves no residual must not move without limit."""


class System(Protocol):
    """A problem linearised at one point.

    Attributes:
        loss: ``Σ r²``.
        gradient: ``Jᵀr``, (n,).
    """

    loss: float
    gradient: Tensor

    def largest(self) -> float:
        """About the largest eigenvalue of ``JᵀJ``."""

    def solve(self, damping: float, metric: Tensor | None, cotangent: Tensor | None = None) -> Tensor | None:
        """x for a cotangent w (m,), None for the residuals; None if the matrix is not positive to rounding.

        ``metric`` is D (n,), None for the identity.
        """

    def curvature(self, direction: Tensor) -> float:
        """``|J d|²``."""


class NormalSystem:
    """n × n normal equations and a Cholesky factorisation; J itself is never kept.

    Args:
        problem: residuals and their normal equations.
        past: P (n, n), curvature of other residuals of the same weights; ``(JᵀJ + P + μ D) x = Jᵀw`` is solved then.

    Attributes:
        total: ``JᵀJ + P``.
    """

    def __init__(self, problem: LeastSquares, past: Tensor | None = None) -> None:
        self.problem = problem
        self.matrix, self.gradient, loss = problem.normal_equations()
        self.total = self.matrix if past is None else self.matrix + past
        self.loss = float(loss)
        self._factor: tuple[float, Tensor] | None = None

    def diagonal(self) -> Tensor:
        """Diagonal of ``JᵀJ``, (n,)."""
        return self.matrix.diagonal()

    def largest(self) -> float:
        return float(self.diagonal().max())

    def solve(self, damping: float, metric: Tensor | None, cotangent: Tensor | None = None) -> Tensor | None:
        factor = self._factorise(damping, metric)
        if factor is None:
            return None
        right = self.gradient if cotangent is None else self.problem.vjp(cotangent)
        return torch.cholesky_solve(right[:, None], factor)[:, 0]

    def curvature(self, direction: Tensor) -> float:
        return float(torch.dot(direction, torch.mv(self.matrix, direction)))

    def _factorise(self, damping: float, metric: Tensor | None) -> Tensor | None:
        if self._factor is not None and self._factor[0] == damping:
            return self._factor[1]
        damped = self.total.clone()
        damped.diagonal().add_(damping if metric is None else damping * metric)
        factor, info = torch.linalg.cholesky_ex(damped)
        if int(info):
            return None
        self._factor = damping, factor
        return factor


class KernelSystem:
    """The m × m kernel ``J D⁻¹ Jᵀ + μ``, for fewer residuals than weights: ``x = D⁻¹ Jᵀ (J D⁻¹ Jᵀ + μ)⁻¹ w``."""

    def __init__(self, problem: LeastSquares) -> None:
        self.residuals, self.jacobian = problem.jacobian()
        self.loss = float(self.residuals.square().sum())
        self.gradient = torch.mv(self.jacobian.T, self.residuals)
        self._kernel: Tensor | None = None
        self._factor: tuple[float, Tensor] | None = None

    def diagonal(self) -> Tensor:
        """Diagonal of ``JᵀJ``, (n,)."""
        return self.jacobian.square().sum(0)

    def largest(self) -> float:
        return float(self.diagonal().max())

    def solve(self, damping: float, metric: Tensor | None, cotangent: Tensor | None = None) -> Tensor | None:
        factor = self._factorise(damping, metric)
        if factor is None:
            return None
        right = self.residuals if cotangent is None else cotangent
        dual = torch.cholesky_solve(right[:, None], factor)[:, 0]
        step = torch.mv(self.jacobian.T, dual)
        return step if metric is None else step / metric

    def curvature(self, direction: Tensor) -> float:
        return float(torch.mv(self.jacobian, direction).square().sum())

    def _factorise(self, damping: float, metric: Tensor | None) -> Tensor | None:
        if self._factor is not None and self._factor[0] == damping:
            return self._factor[1]
        if self._kernel is None:
            scaled = self.jacobian if metric is None else self.jacobian / metric
            self._kernel = torch.mm(scaled, self.jacobian.T)
        damped = self._kernel.clone()
        damped.diagonal().add_(damping)
        factor, info = torch.linalg.cholesky_ex(damped)
        if int(info):
            return None
        self._factor = damping, factor
        return factor


class MatrixFreeSystem:
    """Conjugate gradients on products with J and Jᵀ; any number of weights, memory of a few vectors.

    Args:
        problem: residuals and products.
        iterations: at most; a truncated solution is still a direction of descent.
        tolerance: norm of the remaining equation relative to the right-hand side.
    """

    def __init__(self, problem: LeastSquares, iterations: int, tolerance: float) -> None:
        self.problem = problem
        self.iterations = iterations
        self.tolerance = tolerance
        residuals = problem.residuals()
        self.loss = float(residuals.square().sum())
        self.gradient = problem.vjp(residuals)
        self.products = 0
        """Products with ``JᵀJ`` so far."""

    def largest(self) -> float:
        """The Rayleigh quotient of the gradient: between the smallest and the largest eigenvalue."""
        norm = float(self.gradient.square().sum())
        return self.curvature(self.gradient) / norm if norm > 0 else 0.0

    def solve(self, damping: float, metric: Tensor | None, cotangent: Tensor | None = None) -> Tensor | None:
        right = self.gradient if cotangent is None else self.problem.vjp(cotangent)
        solution, rest = torch.zeros_like(right), right.clone()
        direction = rest.clone()
        square = first = float(torch.dot(rest, rest))
        for _ in range(self.iterations):
            if square <= self.tolerance**2 * first:
                break
            damped = direction if metric is None else direction * metric
            image = torch.add(self.problem.vjp(self.problem.jvp(direction)), damped, alpha=damping)
            self.products += 1
            bend = float(torch.dot(direction, image))
            if not bend > 0:
                return None
            solution.add_(direction, alpha=square / bend)
            rest.sub_(image, alpha=square / bend)
            previous, square = square, float(torch.dot(rest, rest))
            direction.mul_(square / previous).add_(rest)
        return solution

    def curvature(self, direction: Tensor) -> float:
        return float(self.problem.jvp(direction).square().sum())


def positive_metric(diagonal: Tensor) -> Tensor:
    """D for Marquardt's scaling, (n,): the diagonal of ``JᵀJ``, no entry below `FLOOR` of the largest."""
    largest = float(diagonal.max())
    return diagonal.clamp(min=FLOOR * largest) if largest > 0 else torch.ones_like(diagonal)
