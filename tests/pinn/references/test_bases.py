"""Expansions in space: exact for what they can represent, and free of aliasing."""

import numpy as np
import pytest

from pinn.references.bases import (
    EvenChebyshevBasis,
    FourierBasis,
    chebyshev_differentiation,
    chebyshev_interpolation,
)


def test_chebyshev_points_differentiate_and_interpolate_polynomials_exactly():
    nodes, matrix = chebyshev_differentiation(12)
    p = np.polynomial.Polynomial(np.random.default_rng(0).normal(size=13))
    # rounding of the matrix is some n² ε of the values
    np.testing.assert_allclose(matrix @ p(nodes), p.deriv()(nodes), rtol=0, atol=1e-12)
    x = np.concatenate([np.linspace(-1, 1, 7), nodes[2:4]])
    np.testing.assert_allclose(chebyshev_interpolation(nodes, x) @ p(nodes), p(x), rtol=0, atol=1e-14)


@pytest.mark.parametrize("real", [True, False])
@pytest.mark.parametrize("degree", [2, 3])
def test_products_of_waves_are_exact_where_they_are_kept(real, degree):
    basis = FourierBasis(-1.0, 3.0, modes=9, real=real, degree=degree)
    rng = np.random.default_rng(1)
    c = rng.normal(size=len(basis.k)) + 1j * rng.normal(size=len(basis.k))
    c[0] = c[0].real
    # the convolution of all coefficients, by definition
    full = np.zeros(19, dtype=complex)
    full[basis.k + 9] = c
    if real:
        full[9 - basis.k[1:]] = c[1:].conj()
    power = full
    for _ in range(degree - 1):
        power = np.convolve(power, full)
    middle = len(power) // 2
    expected = power[middle + basis.k]
    np.testing.assert_allclose(basis.coefficients(basis.values(c) ** degree), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("real", [True, False])
def test_functions_agree_with_the_values_on_the_grid(real):
    basis = FourierBasis(-1.0, 3.0, modes=9, real=real)
    values = np.exp(np.sin(np.pi * basis.grid / 2)) + (0 if real else 1j * np.cos(np.pi * basis.grid / 2))
    c = basis.coefficients(values)
    here = basis.functions(basis.grid) @ c
    # exp(sin) has coefficients below 1e-9 beyond nine waves
    np.testing.assert_allclose(here.real if real else here, values, rtol=0, atol=1e-8)


def test_even_chebyshev_functions_solve_the_eigenvalue_problem():
    basis = EvenChebyshevBasis(48)
    # the even functions that vanish at ±1 are cos((k + ½)πx), with eigenvalues −((k + ½)π)²
    exact = -(((np.arange(8) + 0.5) * np.pi) ** 2)
    np.testing.assert_allclose(basis.eigenvalues[:8], exact, rtol=1e-10)
    x = np.array([-1.0, -0.99, -0.3, 0.0, 0.3, 0.77, 1.0])
    w = basis.functions(x) @ basis.coefficients(np.cos(0.5 * np.pi * basis.grid) * np.exp(-(basis.grid**2)))
    np.testing.assert_allclose(w, np.cos(0.5 * np.pi * x) * np.exp(-(x**2)), rtol=0, atol=1e-12)


def test_an_odd_number_of_intervals_is_refused():
    with pytest.raises(ValueError, match="even number"):
        EvenChebyshevBasis(7)
