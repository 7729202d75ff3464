"""Elementwise activations of jets as one operation with a hand-written backward.

The function itself comes from torch, vectorised; Faà di Bruno's polynomials in its derivatives run in numba on the CPU
in float32 and float64, and in plain torch elsewhere. Both directions compute ``f', …, f^(order+1)`` anew from values
that the forward pass has anyway, so that nothing but the layer's input and output is kept. Differentiable once.

>>> activate(tanh, jet)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pinn.jets import elementary, numba_cpu
from pinn.jets.jet import Jet
from pinn.jets.kernels import composition_table, fast, threads_for
from pinn.jets.layout import JetLayout
from training.errors import ConfigurationError

Bases = Callable[[Tensor, Tensor], tuple[Tensor, ...]]


@dataclass(frozen=True)
class Activation:
    """An activation function.

    Attributes:
        name: in configurations.
        value: the function in torch.
        derivatives: the function and its derivatives, see `pinn.jets.elementary`.
        family: which recurrence of `numba_cpu` gives the derivatives.
        bases: writes the values into its second argument and returns what the recurrence needs besides input and value.
    """

    name: str
    value: Callable[[Tensor], Tensor]
    derivatives: elementary.Derivatives
    family: int
    bases: Bases

    def __call__(self, values: Tensor) -> Tensor:
        return self.value(values)


def _tanh_bases(x: Tensor, value: Tensor) -> tuple[Tensor, ...]:
    torch.tanh(x, out=value)
    return ()


def _sine_bases(x: Tensor, value: Tensor) -> tuple[Tensor, ...]:
    torch.sin(x, out=value)
    return (torch.cos(x),)


def _silu_bases(x: Tensor, value: Tensor) -> tuple[Tensor, ...]:
    s = torch.sigmoid(x)
    torch.mul(x, s, out=value)
    return (s,)


def _gelu_bases(x: Tensor, value: Tensor) -> tuple[Tensor, ...]:
    distribution, bell = elementary.normal_distribution(x, 1)
    torch.mul(x, distribution, out=value)
    return distribution, bell


TANH = Activation("tanh", torch.tanh, elementary.hyperbolic_tangent, numba_cpu.TANH, _tanh_bases)
SINE = Activation("sin", torch.sin, elementary.sine, numba_cpu.SINE, _sine_bases)
SILU = Activation("silu", torch.nn.functional.silu, elementary.silu, numba_cpu.SILU, _silu_bases)
GELU = Activation("gelu", torch.nn.functional.gelu, elementary.gelu, numba_cpu.GELU, _gelu_bases)
ACTIVATIONS = {"tanh": TANH, "sin": SINE, "silu": SILU, "swish": SILU, "gelu": GELU}


def activation(name: str) -> Activation:
    """The activation of a name.

    Raises:
        ConfigurationError: if there is none; names the nearest.
    """
    if name not in ACTIVATIONS:
        raise ConfigurationError(f"Unknown activation {name!r}; choose one of {', '.join(ACTIVATIONS)}.")
    return ACTIVATIONS[name]


def activate(function: Activation, jet: Jet) -> Jet:
    """``f(jet)`` elementwise.

    Args:
        function: the activation.
        jet: (n_parts, n_points, width) parts.
    """
    if jet.layout.n_parts == 1:
        return jet.with_parts(function.value(jet.parts))
    if not fast(jet.parts):
        return jet.apply(function.derivatives)
    return jet.with_parts(_Activate.apply(jet.parts, function, jet.layout))


class _Activate(torch.autograd.Function):
    """Parts in, parts out."""

    @staticmethod
    def forward(ctx: Any, parts: Tensor, function: Activation, layout: JetLayout) -> Tensor:
        parts = parts.contiguous()
        out = torch.empty_like(parts)
        bases = function.bases(parts[0], out[0])
        ctx.save_for_backward(parts, out, *bases)
        ctx.function, ctx.layout = function, layout
        h, value = _rows(parts), _rows(out)
        first, second = paired(bases, value[0])
        table = composition_table(layout, parts.dtype)
        numba_cpu.activate(threads_for(out.numel()), function.family, h, first, second, *table, layout.order, value)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        parts, out, *bases = ctx.saved_tensors
        d_parts = torch.empty_like(parts)
        value = _rows(out)[0]
        first, second = paired(tuple(bases), value)
        table = composition_table(ctx.layout, parts.dtype)
        numba_cpu.activate_backward(
            threads_for(out.numel()), ctx.function.family, _rows(parts), value, first, second, *table,
            ctx.layout.order, _rows(grads[0].contiguous()), _rows(d_parts),
        )  # fmt: skip
        return d_parts, None, None


def _rows(parts: Tensor) -> np.ndarray:
    return parts.detach().view(parts.shape[0], -1).numpy()


def paired(bases: tuple[Tensor, ...], unused: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bases as two rows, whatever their number."""
    rows = [base.numpy().reshape(-1) for base in bases]
    first, second = (*rows, unused, unused)[:2]
    return first, second
