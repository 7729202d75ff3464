"""The integrator: exact without nonlinearity, of fourth order with it."""

import numpy as np
import pytest

from pinn.references.etdrk4 import Segment, integrate


def test_the_linear_part_is_exact_however_stiff_it_is():
    linear = np.array([0.0, -1.0, -1e6, 2j, -3 + 50j])
    times, c = integrate(linear, np.zeros_like, np.ones(5, dtype=complex), [Segment(1.0, 0.25, 2)])
    assert times.tolist() == [0.0, 0.5, 1.0]
    np.testing.assert_allclose(c[-1], np.exp(linear), rtol=1e-13, atol=1e-300)


@pytest.mark.parametrize("rate", [-2.0, -2.0 + 30.0j])
def test_the_error_falls_with_the_fourth_power_of_the_step(rate):
    # c' = λ c + c², whose solution is λ/((λ/c₀ + 1) exp(−λt) − 1)
    linear = np.array([rate])
    exact = rate / ((rate / 0.5 + 1) * np.exp(-rate) - 1)
    start = np.array([0.5]) if np.isrealobj(linear) else np.array([0.5 + 0j])
    errors = [abs(integrate(linear, np.square, start, [Segment(1.0, 1 / n, n)])[1][-1, 0] - exact) for n in (64, 128)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(4.0, abs=0.1)


def test_segments_follow_each_other():
    linear, half = np.array([-1.0]), np.array([0.5])
    pieces = [Segment(0.5, 0.125, 4), Segment(1.5, 0.25, 1)]
    times, c = integrate(linear, np.zeros_like, half, pieces)
    np.testing.assert_allclose(times, [0, 0.5, 0.75, 1.0, 1.25, 1.5], rtol=0, atol=1e-15)
    np.testing.assert_allclose(c[:, 0], 0.5 * np.exp(-times), rtol=1e-14)


def test_a_step_that_does_not_fit_is_named():
    with pytest.raises(ValueError, match="whole number"):
        integrate(np.zeros(1), np.zeros_like, np.ones(1), [Segment(1.0, 0.3, 1)])


def test_an_overflow_is_an_error():
    with pytest.raises(FloatingPointError, match="overflows before time"), np.errstate(all="ignore"):
        integrate(np.zeros(1), lambda c: 1e3 * c**3, np.ones(1), [Segment(1.0, 0.1, 1)])
