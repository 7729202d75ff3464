"""Products of jets as one operation with a hand-written backward; differentiable once."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pinn.jets import numba_products, reference
from pinn.jets.kernels import fast, product_table, threads_for
from pinn.jets.layout import JetLayout


def multiply(layout: JetLayout, left: Tensor, right: Tensor) -> Tensor:
    """The parts of ``a·b``: (n_parts, n_points, width).

    Args:
        layout: of both.
        left, right: (n_parts, n_points, width), or one of them of width 1.
    """
    if left.shape != right.shape or left.dtype != right.dtype or layout.n_parts == 1 or not fast(left):
        return reference.multiply(layout, left, right)
    return _Multiply.apply(left, right, layout)


class _Multiply(torch.autograd.Function):
    """Parts of two jets in, parts of their product out."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, layout: JetLayout) -> Tensor:
        left, right = left.contiguous(), right.contiguous()
        ctx.save_for_backward(left, right)
        ctx.layout = layout
        out = torch.empty_like(left)
        table = product_table(layout, left.dtype)
        numba_products.multiply(threads_for(out.numel()), _rows(left), _rows(right), *table, _rows(out))
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        left, right = ctx.saved_tensors
        table = product_table(ctx.layout, left.dtype)
        g = _rows(grads[0].contiguous())
        found: list[Tensor | None] = [None, None]
        for place, other in enumerate((right, left)):
            if ctx.needs_input_grad[place]:
                grad = torch.empty_like(other)
                threads = threads_for(grad.numel())
                numba_products.multiply_backward(threads, _rows(other), g, *table, 1 + place, _rows(grad))
                found[place] = grad
        return found[0], found[1], None


def _rows(parts: Tensor) -> np.ndarray:
    return parts.detach().numpy().reshape(parts.shape[0], -1)
