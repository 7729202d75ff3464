"""The same derivatives by nested automatic differentiation of the plain network: slow, what jets are tested with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pinn.jets.jet import Jet
from pinn.jets.layout import JetLayout


def nested_autograd(function: Callable[[Tensor], Tensor], layout: JetLayout, points: Tensor) -> Jet:
    """All parts of a jet, each by repeated ``torch.autograd.grad``.

    Args:
        function: points (n_points, n_coordinates) to (n_points, width), each row from its own point alone.
        layout: the derivatives wanted.
        points: (n_points, n_coordinates).

    Returns:
        The jet, with a graph to the function's parameters.
    """
    points = points.detach().requires_grad_(True)
    values = function(points)
    columns = [_derivatives(values[:, n], layout, points) for n in range(values.shape[1])]
    return Jet(layout, torch.stack(columns, dim=2))


def _derivatives(value: Tensor, layout: JetLayout, points: Tensor) -> Tensor:
    """(n_parts, n_points) of one output."""
    known: dict[tuple[str, ...], Tensor] = {(): value}

    def derivative(factors: tuple[str, ...]) -> Tensor:
        if factors not in known:
            inner = derivative(factors[:-1])
            gradient = _gradient(inner, points)
            for name, column in zip(layout.coordinates, gradient.unbind(1), strict=True):
                known[(*factors[:-1], name)] = column
        return known[factors]

    parts = [derivative(layout.derivative(index)) for index in layout.multi_indices]
    if layout.laplacian:
        parts.append(torch.stack([derivative((name, name)) for name in layout.laplacian]).sum(dim=0))
    return torch.stack(parts)


def _gradient(values: Tensor, points: Tensor) -> Tensor:
    if not values.requires_grad:
        # a derivative that is the same everywhere
        return torch.zeros_like(points)
    return torch.autograd.grad(values.sum(), points, create_graph=True, allow_unused=True, materialize_grads=True)[0]
