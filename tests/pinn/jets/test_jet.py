"""Arithmetic and functions of jets equal nested automatic differentiation."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pinn.jets.elementary import FUNCTIONS
from pinn.jets.jet import Jet, concatenate
from pinn.jets.layout import JetLayout
from pinn.jets.oracle import nested_autograd
from training.errors import InputError

LAYOUT = JetLayout("xt", ["xxxx", "xxtt", "t"], laplacian="xt")


def points(n: int = 40) -> torch.Tensor:
    # away from zero, where square roots and logarithms have no derivatives
    return 0.3 + torch.rand(n, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def check(function, layout=LAYOUT, at=None):
    """A function of x and t, of jets and of tensors, gives the same derivatives."""
    at = points() if at is None else at
    jets = Jet.coordinates(layout, at)
    found = function(jets["x"], jets["t"])
    truth = nested_autograd(lambda p: function(p[:, :1], p[:, 1:]), layout, at)
    for name, value, expected in zip(layout.names, found.parts, truth.parts, strict=True):
        # relative to the largest derivative: rounding of a few operations in float64
        bound = 1e-12 * expected.abs().max().clamp(min=1.0)
        assert (value - expected).abs().max() <= bound, name


EXPRESSIONS = {
    "sums": lambda x, t: 3 - x + 2 * t - (t - 1.5) + x / 2 + torch.tensor(0.5) - t,
    "products": lambda x, t: x * t * x - (x * t) * 0.25,
    "quotients": lambda x, t: x / t + 1 / x - (x + t) / (1 + x * x),
    "powers": lambda x, t: x**3 + t**-2 + (x * t) ** 0.5 + x**1 + x**0,
    "powers of numbers": lambda x, t: 2**x + torch.tensor(3.0) ** t,
    "tensors on either side": lambda x, t: torch.tensor(2.0) * x + torch.tensor(2.0) / t - (torch.tensor(1.0) - x),
    "a burgers shock": lambda x, t: -torch.tanh((x - t) / 0.2) * torch.exp(-t),
    "a composition": lambda x, t: torch.exp(torch.sin(x * t)) * torch.cos(torch.sqrt(x) + torch.log(t)),
}


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS.keys())
def test_arithmetic_equals_autograd(expression):
    check(expression)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_every_function_equals_autograd(function):
    check(lambda x, t: function(0.8 * x * t - 0.05) if function is not torch.abs else function(x - 2 * t))


def test_integer_powers_are_exact_at_zero():
    jets = Jet.coordinates(JetLayout("x", ["xxx"]), torch.zeros(1, 1, dtype=torch.float64))
    assert (jets["x"] ** 2).parts.flatten().tolist() == [0, 0, 2, 0]


@settings(max_examples=30, deadline=None)
@given(
    a=st.floats(-2, 2), b=st.floats(-2, 2), c=st.floats(0.1, 2), phase=st.floats(-3, 3),
    wanted=st.lists(st.text("xt", min_size=1, max_size=4), min_size=1, max_size=4),
)  # fmt: skip
def test_any_derivatives_of_a_plane_wave_are_its_frequencies(a, b, c, phase, wanted):
    at = points(7)
    layout = JetLayout("xt", wanted)
    jets = Jet.coordinates(layout, at)
    wave = torch.exp(-c * torch.ones((), dtype=torch.float64)) * torch.sin(jets["x"] * a + jets["t"] * b + phase)
    argument = a * at[:, 0] + b * at[:, 1] + phase
    for derivative in wanted:
        order, amplitude = len(derivative), math.exp(-c) * math.prod({"x": a, "t": b}[name] for name in derivative)
        expected = amplitude * torch.sin(argument + order * math.pi / 2)
        # up to four factors of at most 2
        torch.testing.assert_close(wave[tuple(derivative)][:, 0], expected, rtol=0, atol=1e-13)


def test_gradients_flow_through_jet_arithmetic():
    speed = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    jets = Jet.coordinates(JetLayout("xt", ["xx", "t"]), points())
    wave = torch.sin(jets["x"] - jets["t"] * speed)
    (gradient,) = torch.autograd.grad(wave["t",].sum(), speed)
    phase = points()[:, 0] - 0.7 * points()[:, 1]
    expected = (-torch.cos(phase) - 0.7 * torch.sin(phase) * points()[:, 1]).sum()
    torch.testing.assert_close(gradient, expected, rtol=1e-13, atol=0)


def test_columns_and_concatenation_undo_each_other():
    jet = Jet.of_points(LAYOUT, points())
    assert torch.equal(concatenate([jet.column(0), jet.column(1)]).parts, jet.parts)


class TestComplaints:
    def test_a_function_without_derivatives_is_named(self):
        with pytest.raises(InputError, match=r"torch\.round is not defined for jets.*sin"):
            torch.round(Jet.of_points(LAYOUT, points()))

    def test_jets_of_different_layouts_do_not_mix(self):
        one, other = Jet.of_points(LAYOUT, points()), Jet.of_points(JetLayout("xt"), points())
        for mix in (lambda: one + other, lambda: one * other, lambda: one / other, lambda: one - other):
            with pytest.raises(InputError, match="different layouts"):
                mix()

    def test_points_need_a_column_per_coordinate(self):
        with pytest.raises(InputError, match="no column for each of x, t"):
            Jet.of_points(LAYOUT, torch.zeros(5, 3))
