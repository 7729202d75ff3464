"""The loss of a stage as a sum of squares, for Gauss-Newton steps; see `training.optimizers.least_squares`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from pinn.jacobian import Linearization, linearize, normal_equations
from pinn.solve.objective import Objective


class Residuals:
    """``r = sqrt(w ω λ / n) r_k`` over all terms and points of an objective, chunk by chunk in its order.

    The sum of the squares is the objective's loss. Products with J keep the linearisation of every chunk, which takes
    the memory of a forward pass of all points, until a weight changes.

    Args:
        objective: of the stage, its points frozen for the step.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self._at: tuple[int, ...] = ()
        self._linear: list[Linearization] = []

    @property
    def n_residuals(self) -> int:
        """m."""
        weights = self.objective.weights.terms
        return sum(size for term, size in self.objective.sizes.items() if weights[term])

    def loss(self) -> Tensor:
        """``Σ r²``."""
        return self.objective.values()["loss"]

    def residuals(self) -> Tensor:
        """r, (m,)."""
        with torch.no_grad():
            return torch.cat([torch.cat(list(part().values())) for part in self._parts()])

    @torch.enable_grad()
    def normal_equations(self) -> tuple[Tensor, Tensor, Tensor]:
        """``JᵀJ``, ``Jᵀr`` and the loss; one chunk's Jacobian is kept at a time."""
        return normal_equations(self._parts(), self.objective.parameters)

    @torch.enable_grad()
    def jacobian(self) -> tuple[Tensor, Tensor]:
        """r (m,) and J (m, n)."""
        n = sum(parameter.numel() for parameter in self.objective.parameters)
        matrix = self.objective.parameters[0].new_empty(self.n_residuals, n)
        residuals, start = [], 0
        for part in self._parts():
            linear = linearize(part, self.objective.parameters)
            stop = start + len(linear.residuals)
            linear.jacobian(out=matrix[start:stop])
            residuals.append(linear.residuals)
            start = stop
        return torch.cat(residuals), matrix

    def jvp(self, direction: Tensor) -> Tensor:
        """``J v``."""
        return torch.cat([linear.jvp(direction) for linear in self._linearised()])

    def vjp(self, cotangent: Tensor) -> Tensor:
        """``Jᵀ w``."""
        linearised = self._linearised()
        shares = cotangent.split([len(linear.residuals) for linear in linearised])
        pulled = [linear.vjp(share) for linear, share in zip(linearised, shares, strict=True)]
        return torch.stack(pulled).sum(0)

    @torch.enable_grad()
    def _linearised(self) -> list[Linearization]:
        at = tuple(parameter._version for parameter in self.objective.parameters)
        if at != self._at:
            self._linear = [linearize(part, self.objective.parameters) for part in self._parts()]
            self._at = at
        return self._linear

    def _parts(self) -> Iterator[Callable[[], dict[str, Tensor]]]:
        for chunks in self.objective.packs:
            for chunk in chunks:
                if any(self.objective.weights.terms[term] for term in chunk.group.terms):
                    yield partial(self.objective.scaled_residuals, chunk)
