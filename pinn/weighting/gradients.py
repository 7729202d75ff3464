"""Answers to a balance by plain automatic differentiation, from nothing but the residuals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor


class AutogradGradients:
    """Gradient norms and squared gradients of loss terms: a `TermGradients`, and the oracle of faster ones.

    Memory is that of the graph of ``chunk`` points. `squared_gradient` runs one backward pass per point.

    Args:
        residuals: for each term a function from rows (m,) int64 of its points to r (m,), with graph.
        sizes: number of points of each term.
        parameters: what is differentiated by; those a term does not depend on count as zero.
        chunk: points evaluated at a time.
    """

    def __init__(
        self,
        residuals: Mapping[str, Callable[[Tensor], Tensor]],
        sizes: Mapping[str, int],
        parameters: Sequence[Tensor],
        chunk: int = 5000,
    ) -> None:
        self.residuals, self.sizes = residuals, sizes
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.chunk = chunk

    def gradient_norm(self, term: str) -> float:
        """``‖∇θ mean_i r_i²‖`` over all points, accumulated in chunks."""
        total = [torch.zeros_like(parameter) for parameter in self.parameters]
        for rows in torch.arange(self.sizes[term]).split(self.chunk):
            loss = self.residuals[term](rows).square().sum() / self.sizes[term]
            for part, gradient in zip(total, self._gradient(loss), strict=True):
                part += gradient
        return float(torch.nn.utils.get_total_norm(total))

    def squared_gradient(self, term: str, points: int) -> float:
        """``mean_i ‖∇θ r_i‖²`` over points evenly spread through the rows."""
        rows = spread_rows(self.sizes[term], points)
        total = 0.0
        for chunk in rows.split(self.chunk):
            for residual in self.residuals[term](chunk):
                total += sum(float(gradient.square().sum()) for gradient in self._gradient(residual, keep=True))
        return total / len(rows)

    def residual(self, term: str) -> Tensor:
        """(n,) r at all points."""
        with torch.no_grad():
            chunks = torch.arange(self.sizes[term]).split(self.chunk)
            return torch.cat([self.residuals[term](rows) for rows in chunks])

    def _gradient(self, value: Tensor, keep: bool = False) -> tuple[Tensor, ...]:
        return torch.autograd.grad(value, self.parameters, retain_graph=keep, allow_unused=True, materialize_grads=True)


def spread_rows(n: int, limit: int) -> Tensor:
    """At most ``limit`` rows (m,) int64 out of n, evenly spread; all of them where there are no more."""
    m = min(n, limit)
    return torch.arange(m) * n // m
