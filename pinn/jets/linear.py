"""A linear layer on a jet: all parts in one matrix product, the bias on the value alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pinn.jets.capture import LinearRecord, recording
from pinn.jets.jet import Jet


def linear(jet: Jet, weight: Tensor, bias: Tensor | None = None) -> Jet:
    """``W h + b``; derivatives know nothing of ``b``.

    Under autocast the matrix products run in the lower precision, the results are in the precision of the jet.

    Args:
        jet: of width ``inputs``.
        weight: (outputs, inputs).
        bias: (outputs,).
    """
    records = recording()
    if records is None:
        return jet.with_parts(_Linear.apply(jet.parts, weight, bias))
    outputs = _Linear.apply(jet.parts, weight.detach(), None if bias is None else bias.detach())
    if not outputs.requires_grad:
        outputs.requires_grad_(True)
    records.append(LinearRecord(weight, bias, jet.parts.detach(), outputs))
    return jet.with_parts(outputs)


class _Linear(torch.autograd.Function):
    """Parts (n_parts, n_points, inputs) to (n_parts, n_points, outputs)."""

    @staticmethod
    def forward(ctx: Any, parts: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(parts, weight)
        ctx.precision = lower_precision(parts)
        flat = parts.reshape(-1, parts.shape[2])
        outputs = matrix_product(flat, weight.t(), ctx.precision).view(*parts.shape[:2], weight.shape[0])
        if bias is not None:
            outputs[0] += bias
        return outputs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        parts, weight = ctx.saved_tensors
        grad = grads[0].reshape(-1, weight.shape[0])
        d_parts = d_weight = d_bias = None
        if ctx.needs_input_grad[0]:
            d_parts = matrix_product(grad, weight, ctx.precision).view(parts.shape)
        if ctx.needs_input_grad[1]:
            d_weight = matrix_product(grad.t(), parts.reshape(-1, weight.shape[1]), ctx.precision)
        if ctx.needs_input_grad[2]:
            d_bias = grads[0][0].sum(dim=0)
        return d_parts, d_weight, d_bias


def lower_precision(parts: Tensor) -> torch.dtype | None:
    """What autocast asks for, if it is on."""
    device = parts.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None


def matrix_product(left: Tensor, right: Tensor, precision: torch.dtype | None) -> Tensor:
    """``left @ right``, multiplied in a lower precision unless that is None, in the precision of ``left``."""
    if precision is None:
        return torch.mm(left, right)
    with torch.autocast(left.device.type, enabled=False):
        return torch.mm(left.to(precision), right.to(precision)).to(left.dtype)


def multiply_into(out: Tensor, left: Tensor, right: Tensor, precision: torch.dtype | None) -> Tensor:
    """`matrix_product` written to a tensor, which is returned."""
    if precision is None:
        return torch.mm(left, right, out=out)
    return out.copy_(matrix_product(left, right, precision))
