"""Shapes of errors."""

import math

import pytest
import torch

from mlff.distill.losses import Absolute, Huber, Squared

X = torch.linspace(-1, 1, 201, dtype=torch.float64)


def test_huber_is_a_parabola_within_delta_and_a_line_of_slope_one_beyond():
    delta = 0.1
    value = Huber(delta)(X)
    inside = X.abs() <= delta
    torch.testing.assert_close(value[inside], X[inside] ** 2 / (2 * delta), rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(value[~inside], X[~inside].abs() - delta / 2, rtol=1e-12, atol=1e-15)


def test_squared_and_absolute():
    assert torch.equal(Squared()(X), X * X)
    assert torch.equal(Absolute()(X), X.abs())


@pytest.mark.parametrize("delta", [0.0, -1.0, math.nan, math.inf])
def test_a_wrong_delta_is_named(delta):
    with pytest.raises(ValueError, match="must be positive"):
        Huber(delta)
