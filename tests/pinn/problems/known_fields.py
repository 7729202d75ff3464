"""Fields whose derivatives come from known functions: what an equation is given to see whether they satisfy it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pinn.fields import Field
from pinn.references.bases import chebyshev_differentiation
from pinn.references.reference import Exact, Reference

PATCH = 16
"""Chebyshev intervals of a patch in each direction."""


class AutogradField(Field):
    """A field given by a torch formula of the coordinates, with derivatives by nested autograd."""

    __slots__ = ("_columns", "_space")

    def __init__(self, name, value, columns, space):
        super().__init__(name, tuple(columns), value)
        self._columns = columns
        self._space = space

    def _derivative(self, derivative):
        value = self.value
        for coordinate in derivative:
            column = self._columns[coordinate]
            found = None
            # a derivative that is a constant has no graph, and no slope
            if value.requires_grad:
                found = torch.autograd.grad(value.sum(), column, create_graph=True, allow_unused=True)[0]
            value = torch.zeros_like(column) if found is None else found
        return value

    @property
    def laplacian(self):
        return sum(self._derivative((name, name)) for name in self._space)


class PatchField(Field):
    """A field known at the Chebyshev points of a rectangle; values and derivatives are those at its middle."""

    __slots__ = ("_table", "_widths")

    def __init__(self, name, coordinates, table, widths):
        middle = PATCH // 2
        super().__init__(name, coordinates, table[middle, middle].reshape(1))
        self._table = table
        self._widths = widths

    def _derivative(self, derivative):
        _, matrix = chebyshev_differentiation(PATCH)
        rows = [
            np.linalg.matrix_power(matrix / self._widths[name], derivative.count(name))[PATCH // 2]
            for name in self._coordinates
        ]
        return torch.from_numpy(rows[0]) @ self._table @ torch.from_numpy(rows[1]).reshape(-1, 1)

    @property
    def laplacian(self):
        raise NotImplementedError("A patch has no Laplacian.")


def exact_fields(problem, points: Tensor) -> tuple[dict[str, Field], dict[str, Tensor]]:
    """The fields of an exact reference at points, and the coordinates."""
    assert isinstance(problem.reference, Exact)
    columns = {name: column.clone().requires_grad_() for name, column in problem.reference.columns(points).items()}
    fields = {
        name: AutogradField(name, function(*columns.values()), columns, problem.space)
        for name, function in problem.reference.functions.items()
    }
    return fields, columns


def patch_fields(reference: Reference, middle: Tensor, widths: dict[str, float]) -> dict[str, Field]:
    """The fields of a reference in two coordinates on a patch about a point, of given half widths."""
    nodes, _ = chebyshev_differentiation(PATCH)
    axes = [place + width * torch.from_numpy(nodes) for place, width in zip(middle, widths.values(), strict=True)]
    values = reference.values(torch.cartesian_prod(*axes))
    shape = (PATCH + 1, PATCH + 1)
    return {name: PatchField(name, tuple(widths), table.reshape(shape), widths) for name, table in values.items()}


def true_parameters(problem) -> dict[str, Tensor]:
    """The values that the problem's unknown numbers have in its reference."""
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in problem.truth.items()}
