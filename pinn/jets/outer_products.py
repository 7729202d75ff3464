"""The Jacobian's block of one weight matrix: for every point a sum of outer products."""

from __future__ import annotations

import torch
from torch import Tensor

from pinn.jets import numba_outer
from pinn.jets.kernels import fast, threads_for


def add_outer(cotangent: Tensor, inputs: Tensor, rows: int, jacobian: Tensor, columns: slice, add: bool) -> None:
    """``J[n, o·I + i] = Σ_p Σ_k z̄[p, n·rows + k, o] h[p, n·rows + k, i]`` in a range of columns.

    Args:
        cotangent: (n_parts, n_points·rows, O) ``z̄``.
        inputs: (n_parts, n_points·rows, I) ``h``.
        rows: points per residual.
        jacobian: (n_points, n_parameters), contiguous.
        columns: O·I of them.
        add: to what is there, in place of writing over it.
    """
    if fast(cotangent):
        arrays = cotangent.contiguous().numpy(), inputs.contiguous().numpy()
        numba_outer.outer(threads_for(jacobian.numel()), *arrays, rows, add, jacobian.numpy(), columns.start)
        return
    product = torch.einsum("pno,pni->noi", cotangent, inputs)
    if rows > 1:
        product = product.unflatten(0, (-1, rows)).sum(dim=1)
    block = jacobian[:, columns]
    product = product.reshape(block.shape)
    block.copy_(block + product if add else product)
