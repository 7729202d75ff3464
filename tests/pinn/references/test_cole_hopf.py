"""Burgers' exact solution against arbitrary precision, its equation, and a different method."""

import math

import mpmath
import numpy as np
import pytest
import torch

from pinn.references.bases import FourierBasis
from pinn.references.cole_hopf import ColeHopf
from pinn.references.etdrk4 import Segment, integrate

NU = 0.01 / math.pi


def with_forty_digits(x: float, t: float, nu: float) -> float:
    """The formula with mpmath, by the trapezoidal rule over a range and with nodes of its own."""
    with mpmath.workdps(40):
        pi, x, nu = mpmath.pi, mpmath.mpf(x), mpmath.mpf(nu)
        width = mpmath.sqrt(4 * nu * mpmath.mpf(t))
        above = below = mpmath.mpf(0)
        for index in range(-280, 281):
            z = mpmath.mpf(index) / 20
            y = x - width * z
            weight = mpmath.exp(-(1 + mpmath.cos(pi * y)) / (2 * pi * nu) - z * z)
            above += mpmath.sin(pi * y) * weight
            below += weight
        return float(-above / below)


@pytest.mark.parametrize("nu", [NU, 0.1])
def test_equals_forty_digit_arithmetic(nu):
    places = [(0.001, 0.7), (-0.004, 1.0), (0.3, 0.25), (0.95, 0.9), (-0.5, 0.01)]
    found = ColeHopf(nu).values(torch.tensor(places, dtype=torch.float64))["u"]
    expected = torch.tensor([with_forty_digits(x, t, nu) for x, t in places], dtype=torch.float64)
    # the floor it states
    assert ColeHopf(nu).floor == 1e-14
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)


def test_starts_with_the_sine_and_vanishes_at_the_ends():
    x = torch.linspace(-1, 1, 101).double()
    start = ColeHopf(NU).values(torch.stack([x, 0 * x], 1))["u"]
    torch.testing.assert_close(start, -torch.sin(torch.pi * x), rtol=0, atol=1e-15)
    t = torch.linspace(0, 1, 21).double()
    for end in (-1.0, 0.0, 1.0):
        assert ColeHopf(NU).values(torch.stack([0 * t + end, t], 1))["u"].abs().max() < 1e-14


def test_the_spacing_of_the_nodes_does_not_matter():
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(300, 2, generator=generator).double() * torch.tensor([2.0, 1.0]) - torch.tensor([1.0, 0.0])
    finer = ColeHopf(NU, spacing=0.005).values(points)["u"]
    torch.testing.assert_close(ColeHopf(NU).values(points)["u"], finer, rtol=0, atol=1e-14)


def test_neither_overflows_nor_underflows_for_a_small_viscosity():
    x = torch.tensor([-0.5, -0.01, 0.01, 0.5]).double()
    u = ColeHopf(1e-5).values(torch.stack([x, 0 * x + 0.9], 1))["u"]
    # the inviscid solution on both sides of the shock: u = −sin π(x − ut), up to O(ν)
    torch.testing.assert_close(u + torch.sin(torch.pi * (x - 0.9 * u)), 0 * x, rtol=0, atol=1e-3)
    torch.testing.assert_close(u, -u.flip(0), rtol=0, atol=1e-13)


def test_satisfies_its_equation():
    generator = torch.Generator().manual_seed(1)
    x = (2 * torch.rand(200, generator=generator).double() - 1).requires_grad_()
    t = torch.rand(200, generator=generator).double().requires_grad_()
    u = ColeHopf(NU).velocity(x, t)
    ux, ut = torch.autograd.grad(u.sum(), (x, t), create_graph=True)
    (uxx,) = torch.autograd.grad(ux.sum(), x)
    residual = ut + u * ux - NU * uxx
    # in the shock u_t and u u_x reach 150 each, so 1e-14 of them
    assert residual.abs().max() < 1e-10


def test_agrees_with_a_spectral_solution():
    nu = 0.05
    basis = FourierBasis(-1.0, 1.0, 96)
    times, c = integrate(
        -nu * basis.kappa**2,
        lambda c: -0.5j * basis.kappa * basis.coefficients(basis.values(c) ** 2),
        basis.coefficients(-np.sin(np.pi * basis.grid)),
        [Segment(1.0, 1e-3, 250)],
    )
    x = np.linspace(-1, 1, 41)
    for time, coefficients in zip(times[1:], c[1:], strict=True):
        spectral = torch.from_numpy((basis.functions(x) @ coefficients).real)
        points = torch.stack([torch.from_numpy(x), torch.full((41,), time, dtype=torch.float64)], 1)
        # fourth order in steps of 1e-3
        torch.testing.assert_close(ColeHopf(nu).values(points)["u"], spectral, rtol=0, atol=1e-9)
