"""Elementary functions with their derivatives, in plain torch: what a jet needs to pass through them.

Each function here takes values and an order and returns the list ``[f(x), f'(x), …, f^(order)(x)]``. `FUNCTIONS` names
them by the torch function they belong to, which is how ``torch.sin(jet)`` finds its derivatives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

Derivatives = Callable[[Tensor, int], list[Tensor]]

Polynomial = tuple[float, ...]
"""Coefficients in ascending powers."""


def sine(x: Tensor, order: int) -> list[Tensor]:
    s, c = torch.sin(x), torch.cos(x)
    return [(s, c, -s, -c)[k % 4] for k in range(order + 1)]


def cosine(x: Tensor, order: int) -> list[Tensor]:
    s, c = torch.sin(x), torch.cos(x)
    return [(c, -s, -c, s)[k % 4] for k in range(order + 1)]


def exponential(x: Tensor, order: int) -> list[Tensor]:
    return [torch.exp(x)] * (order + 1)


def hyperbolic_sine(x: Tensor, order: int) -> list[Tensor]:
    pair = torch.sinh(x), torch.cosh(x)
    return [pair[k % 2] for k in range(order + 1)]


def hyperbolic_cosine(x: Tensor, order: int) -> list[Tensor]:
    pair = torch.cosh(x), torch.sinh(x)
    return [pair[k % 2] for k in range(order + 1)]


def power(x: Tensor, exponent: float, order: int) -> list[Tensor]:
    """``x^p``; derivatives that vanish identically are zero everywhere, also at ``x = 0``."""
    result = []
    factor = 1.0
    for k in range(order + 1):
        result.append(factor * x ** (exponent - k) if factor else torch.zeros_like(x))
        factor *= exponent - k
    return result


def square_root(x: Tensor, order: int) -> list[Tensor]:
    return power(x, 0.5, order)


def reciprocal(x: Tensor, order: int) -> list[Tensor]:
    return power(x, -1.0, order)


def square(x: Tensor, order: int) -> list[Tensor]:
    return power(x, 2.0, order)


def logarithm(x: Tensor, order: int) -> list[Tensor]:
    return [torch.log(x), *power(x, -1.0, order - 1)] if order else [torch.log(x)]


def absolute(x: Tensor, order: int) -> list[Tensor]:
    """The kink at zero is left out: there the first derivative is zero."""
    return [torch.abs(x), torch.sign(x), *[torch.zeros_like(x)] * (order - 1)][: order + 1]


def hyperbolic_tangent(x: Tensor, order: int) -> list[Tensor]:
    y = torch.tanh(x)
    return [y, *(evaluate(p, y) for p in tanh_polynomials(order)[1:])]


def tangent(x: Tensor, order: int) -> list[Tensor]:
    y = torch.tan(x)
    return [y, *(evaluate(p, y) for p in _repeated((0.0, 1.0), (1.0, 0.0, 1.0), order)[1:])]


def logistic(x: Tensor, order: int) -> list[Tensor]:
    s = torch.sigmoid(x)
    return [s, *(evaluate(p, s) for p in logistic_polynomials(order)[1:])]


def softplus(x: Tensor, order: int) -> list[Tensor]:
    value = torch.nn.functional.softplus(x, threshold=40)
    return [value, *logistic(x, order - 1)] if order else [value]


def silu(x: Tensor, order: int) -> list[Tensor]:
    """``x s(x)`` with the logistic function ``s``; derivatives ``x s^(k) + k s^(k−1)``."""
    return _times_x(x, logistic(x, order))


def error_function(x: Tensor, order: int) -> list[Tensor]:
    # erf(x) = 2 Φ(√2 x) − 1
    bell = 2 / math.sqrt(math.pi) * torch.exp(-x * x)
    scale = math.sqrt(2)
    hermite = [scale**k * evaluate(p, scale * x) for k, p in enumerate(bell_polynomials(order - 1))]
    return [torch.erf(x), *(bell * h for h in hermite)] if order else [torch.erf(x)]


def normal_distribution(x: Tensor, order: int) -> list[Tensor]:
    """``Φ(x)``; ``Φ' = φ`` and ``φ^(k) = He_k(−x) φ``."""
    bell = torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    value = 0.5 * torch.erfc(-x / math.sqrt(2))
    return [value, *(bell * evaluate(p, x) for p in bell_polynomials(order - 1))] if order else [value]


def gelu(x: Tensor, order: int) -> list[Tensor]:
    """``x Φ(x)`` with the normal distribution ``Φ``."""
    return _times_x(x, normal_distribution(x, order))


FUNCTIONS: dict[Callable[..., Tensor], Derivatives] = {
    torch.sin: sine,
    torch.cos: cosine,
    torch.tan: tangent,
    torch.exp: exponential,
    torch.log: logarithm,
    torch.sqrt: square_root,
    torch.square: square,
    torch.reciprocal: reciprocal,
    torch.tanh: hyperbolic_tangent,
    torch.sinh: hyperbolic_sine,
    torch.cosh: hyperbolic_cosine,
    torch.sigmoid: logistic,
    torch.erf: error_function,
    torch.abs: absolute,
    torch.nn.functional.softplus: softplus,
    torch.nn.functional.silu: silu,
    torch.nn.functional.gelu: gelu,
}


def evaluate(polynomial: Sequence[float], x: Tensor) -> Tensor:
    """By Horner's rule."""
    value = torch.full_like(x, polynomial[-1])
    for coefficient in reversed(polynomial[:-1]):
        value = value * x + coefficient
    return value


@cache
def tanh_polynomials(order: int) -> tuple[Polynomial, ...]:
    """``d^k tanh/dx^k`` as polynomials in ``tanh``, from ``y' = 1 − y²``."""
    return _repeated((0.0, 1.0), (1.0, 0.0, -1.0), order)


@cache
def logistic_polynomials(order: int) -> tuple[Polynomial, ...]:
    """Derivatives of the logistic function as polynomials in it, from ``s' = s − s²``."""
    return _repeated((0.0, 1.0), (0.0, 1.0, -1.0), order)


@cache
def bell_polynomials(order: int) -> tuple[Polynomial, ...]:
    """``φ^(k)/φ`` for ``φ = exp(−x²/2)``, from ``P_{k+1} = P_k' − x P_k``."""
    result: list[Polynomial] = [(1.0,)]
    for _ in range(order):
        last = result[-1]
        slope = _slope(last)
        result.append(_sum(slope, tuple(-c for c in (0.0, *last))))
    return tuple(result[: max(order, 0) + 1])


def _times_x(x: Tensor, inner: list[Tensor]) -> list[Tensor]:
    return [x * inner[0], *(x * inner[k] + k * inner[k - 1] for k in range(1, len(inner)))]


def _repeated(first: Polynomial, rule: Polynomial, order: int) -> tuple[Polynomial, ...]:
    """``P_0 = first`` and ``P_{k+1} = P_k' · rule``, for a function whose derivative is ``rule`` of itself."""
    result = [first]
    for _ in range(order):
        slope = _slope(result[-1])
        product = [0.0] * (len(slope) + len(rule) - 1)
        for i, a in enumerate(slope):
            for j, b in enumerate(rule):
                product[i + j] += a * b
        result.append(tuple(product))
    return tuple(result)


def _slope(polynomial: Polynomial) -> Polynomial:
    return tuple(k * c for k, c in enumerate(polynomial))[1:] or (0.0,)


def _sum(a: Polynomial, b: Polynomial) -> Polynomial:
    length = max(len(a), len(b))
    padded = [(*p, *(0.0,) * (length - len(p))) for p in (a, b)]
    return tuple(x + y for x, y in zip(*padded, strict=True))
