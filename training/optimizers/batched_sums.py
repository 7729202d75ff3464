"""From predictions and derivatives of many fits to their normal equations, linear terms projected out.

A prediction is ``f(p) Lc`` (multiplied), ``f(p) + Lc`` (added) or ``f(p)``. For given p the coefficients c are linear
least squares; what is left of χ² depends on p alone (variable projection). Its Gauss-Newton matrix is the Schur
complement of the joint one, ``A = J̃ᵀWJ̃ − R S⁻¹ Rᵀ`` with ``S = MᵀWM``, ``R = J̃ᵀWM``, J̃ the derivatives of the whole
prediction and M its columns in c; the gradient ``J̃ᵀW(prediction − data)`` is exact.

Source: G. H. Golub, V. Pereyra, SIAM J. Numer. Anal. 10 (1973) 413; L. Kaufman, BIT 15 (1975) 49.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from training.errors import InputError

Effect = Literal["multiplied", "added"]


@dataclass(frozen=True)
class LinearTerms:
    """Terms that enter a prediction linearly.

    Attributes:
        basis: L, (m, k), the same for all fits; float64.
        effect: whether ``Lc`` multiplies the model or is added to it.
    """

    basis: Tensor
    effect: Effect = "multiplied"

    def __post_init__(self) -> None:
        if self.effect not in get_args(Effect):
            raise InputError(f"A linear term is {' or '.join(get_args(Effect))}; got {self.effect!r}.")
        if self.basis.ndim != 2 or not self.basis.shape[1]:
            raise InputError(f"A linear basis has the shape (m, k); got {tuple(self.basis.shape)}.")

    @property
    def count(self) -> int:
        return self.basis.shape[1]

    def to(self, device: torch.device) -> LinearTerms:
        return LinearTerms(self.basis.to(device), self.effect)


@dataclass
class NormalEquations:
    """Sums over the pixels of n fits, float64; p parameters and k linear terms.

    Attributes:
        chi2: (n,) ``Σ w (prediction − data)²``.
        gradient: (n, p) half the gradient of χ².
        matrix: (n, p, p) A, half its Gauss-Newton curvature.
        coefficients: (n, k) c.
        linear: (n, k, k) S.
        mixed: (n, p, k) R.
    """

    chi2: Tensor
    gradient: Tensor
    matrix: Tensor
    coefficients: Tensor
    linear: Tensor
    mixed: Tensor

    @classmethod
    def empty(cls, n: int, p: int, k: int, device: torch.device) -> NormalEquations:
        """Without any equation yet: χ² is infinite, so whatever comes is better."""

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=device)

        chi2 = torch.full((n,), torch.inf, dtype=torch.float64, device=device)
        return cls(chi2, zeros(n, p), zeros(n, p, p), zeros(n, k), zeros(n, k, k), zeros(n, p, k))

    def parts(self) -> tuple[Tensor, ...]:
        return self.chi2, self.gradient, self.matrix, self.coefficients, self.linear, self.mixed

    def take(self, rows: Tensor) -> NormalEquations:
        """Some rows, copied."""
        return NormalEquations(*(part[rows] for part in self.parts()))

    def put(self, rows: Tensor, other: NormalEquations) -> None:
        """Write rows."""
        for mine, its in zip(self.parts(), other.parts(), strict=True):
            mine[rows] = its

    def replace(self, where: Tensor, other: NormalEquations) -> None:
        """Write the rows where a mask (n,) is true, from tables of the same length."""
        for mine, its in zip(self.parts(), other.parts(), strict=True):
            mine.copy_(torch.where(where.view(-1, *(1,) * (mine.ndim - 1)), its, mine))


def normal_equations(jet: Tensor, data: Tensor, weights: Tensor, terms: LinearTerms | None) -> NormalEquations:
    """The sums in plain torch.

    Args:
        jet: (n, 1 + p, m) model and its derivatives.
        data: (n, m).
        weights: (n, m) ``1/σ²``, 0 where masked.
        terms: linear terms, or None.
    """
    jet = jet.double()
    model, derivatives = jet[:, 0], jet[:, 1:]
    if terms is None:
        rest = model - data
        weighted = derivatives * weights[:, None, :]
        n, p = derivatives.shape[:2]
        none = jet.new_zeros(n, 0)
        return NormalEquations(
            (weights * rest * rest).sum(1), torch.einsum("npm,nm->np", weighted, rest),
            torch.bmm(weighted, derivatives.transpose(1, 2)), none, jet.new_zeros(n, 0, 0), jet.new_zeros(n, p, 0),
        )  # fmt: skip
    coefficients, linear = solve_linear(model, data, weights, terms)
    lifted = coefficients @ terms.basis.T
    if terms.effect == "multiplied":
        rest = model * lifted - data
        derivatives = derivatives * lifted[:, None, :]
        mixing = weights * model
    else:
        rest = model + lifted - data
        mixing = weights
    weighted = derivatives * weights[:, None, :]
    mixed = (derivatives * mixing[:, None, :]) @ terms.basis
    matrix = torch.bmm(weighted, derivatives.transpose(1, 2))
    gradient = torch.einsum("npm,nm->np", weighted, rest)
    factor, info = torch.linalg.cholesky_ex(linear)
    half = torch.linalg.solve_triangular(factor, mixed.transpose(1, 2), upper=False)
    matrix -= torch.bmm(half.transpose(1, 2), half)
    chi2 = (weights * rest * rest).sum(1)
    chi2 = torch.where(info == 0, chi2, torch.nan)
    return NormalEquations(chi2, gradient, matrix, coefficients, linear, mixed)


def solve_linear(model: Tensor, data: Tensor, weights: Tensor, terms: LinearTerms) -> tuple[Tensor, Tensor]:
    """The best coefficients (n, k) for models (n, m), and S (n, k, k); not numbers where S has no Cholesky factor."""
    basis = terms.basis
    k = terms.count
    products = (basis[:, :, None] * basis[:, None, :]).reshape(-1, k * k)
    if terms.effect == "multiplied":
        linear = ((weights * model * model) @ products).view(-1, k, k)
        right = (weights * model * data) @ basis
    else:
        linear = (weights @ products).view(-1, k, k)
        right = (weights * (data - model)) @ basis
    factor, info = torch.linalg.cholesky_ex(linear)
    found = torch.cholesky_solve(right[:, :, None], factor)[:, :, 0]
    return torch.where((info == 0)[:, None], found, torch.nan), linear
