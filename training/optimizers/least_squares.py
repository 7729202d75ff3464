"""What a Gauss-Newton step asks of a problem: residuals r(x) and products with their Jacobian J = ∂r/∂x."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor


class LeastSquares(Protocol):
    """Residuals at the current weights of a network; the optimizer moves the weights and asks again.

    The residuals are scaled so that the loss is ``Σ r²``: a mean over N points with weight w has ``sqrt(w / N)`` in r.
    The weights are those with ``requires_grad``, one after another in the order of ``module.parameters()``; n of them,
    m residuals. The points stay the same until the optimizer's `objective_changed` is called.
    """

    @property
    def n_residuals(self) -> int:
        """m, known without computing the residuals."""

    def loss(self) -> Tensor:
        """``Σ r²``, a scalar without gradient."""

    def residuals(self) -> Tensor:
        """r, (m,), without gradient."""

    def normal_equations(self) -> tuple[Tensor, Tensor, Tensor]:
        """``JᵀJ`` (n, n), ``Jᵀr`` (n,) and the loss, added up over chunks of points."""

    def jacobian(self) -> tuple[Tensor, Tensor]:
        """r (m,) and J (m, n)."""

    def jvp(self, direction: Tensor) -> Tensor:
        """``J v`` (m,) for v (n,)."""

    def vjp(self, cotangent: Tensor) -> Tensor:
        """``Jᵀ w`` (n,) for w (m,)."""


class FunctionResiduals:
    """The residuals of a pure function of parameter tensors, differentiated by torch.func.

    For small problems, fits and tests; the Jacobian takes one batched backward pass over all residuals.

    Args:
        function: residuals (m,) from tensors shaped like the parameters.
        parameters: the tensors that the optimizer moves, in its order.
    """

    def __init__(self, function: Callable[[Sequence[Tensor]], Tensor], parameters: Sequence[Tensor]) -> None:
        self.function = function
        self.parameters = list(parameters)
        self._n_residuals: int | None = None

    @property
    def n_residuals(self) -> int:
        if self._n_residuals is None:
            self._n_residuals = self.residuals().numel()
        return self._n_residuals

    def loss(self) -> Tensor:
        return self.residuals().square().sum()

    def residuals(self) -> Tensor:
        with torch.no_grad():
            return self.function(self._point())

    def normal_equations(self) -> tuple[Tensor, Tensor, Tensor]:
        residuals, jacobian = self.jacobian()
        return jacobian.T @ jacobian, jacobian.T @ residuals, residuals.square().sum()

    def jacobian(self) -> tuple[Tensor, Tensor]:
        point = self._point()
        parts = torch.func.jacrev(lambda *values: self.function(values), argnums=tuple(range(len(point))))(*point)
        residuals = self.residuals()
        return residuals, torch.cat([part.reshape(residuals.numel(), -1) for part in parts], dim=1)

    def jvp(self, direction: Tensor) -> Tensor:
        point = self._point()
        pieces = direction.split([value.numel() for value in point])
        tangents = tuple(piece.view_as(value) for piece, value in zip(pieces, point, strict=True))
        result: Tensor = torch.func.jvp(lambda *values: self.function(values), tuple(point), tangents)[1]
        return result

    def vjp(self, cotangent: Tensor) -> Tensor:
        pull = torch.func.vjp(lambda *values: self.function(values), *self._point())[1]
        return torch.cat([part.reshape(-1) for part in pull(cotangent)])

    def _point(self) -> list[Tensor]:
        return [parameter.detach() for parameter in self.parameters]
