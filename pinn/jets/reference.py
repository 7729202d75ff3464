"""Products and compositions of jets in plain torch: the oracle of the fast kernels, and what runs where they cannot."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pinn.jets.layout import JetLayout


def compose(layout: JetLayout, parts: Tensor, derivatives: Sequence[Tensor]) -> Tensor:
    """Faà di Bruno: the parts of ``f(h)``.

    Args:
        layout: of ``h``.
        parts: (n_parts, n_points, width) of ``h``.
        derivatives: ``f, f', …`` at ``h``'s value, up to the order of the layout.

    Returns:
        (n_parts, n_points, width).
    """
    h = parts.unbind(0)
    result: list[Tensor | None] = [derivatives[0], *[None] * (layout.n_parts - 1)]
    for term in layout.compositions:
        value = derivatives[len(term.factors)] * h[term.factors[0]]
        for factor in term.factors[1:]:
            value = value * h[factor]
        result[term.target] = _add(result[term.target], value, term.coefficient)
    return torch.stack([part for part in result if part is not None])


def multiply(layout: JetLayout, left: Tensor, right: Tensor) -> Tensor:
    """Leibniz: the parts of ``a·b``.

    Args:
        layout: of both.
        left, right: (n_parts, n_points, width), or one of them of width 1.
    """
    a, b = left.unbind(0), right.unbind(0)
    result: list[Tensor | None] = [None] * layout.n_parts
    for term in layout.products:
        result[term.target] = _add(result[term.target], a[term.left] * b[term.right], term.coefficient)
    return torch.stack([part for part in result if part is not None])


def _add(total: Tensor | None, value: Tensor, coefficient: int) -> Tensor:
    if total is None:
        return value if coefficient == 1 else coefficient * value
    return torch.add(total, value, alpha=coefficient)
