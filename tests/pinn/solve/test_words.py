"""The report says domain and conditions as a reader would, whatever shape and function they are made of."""

import math

import pytest
import torch

from pinn.conditions import Data, Dirichlet, Initial, Neumann, Periodic, Robin
from pinn.geometry import Ball, Box, Disk, Interval, Polygon, Time
from pinn.problems.burgers import Burgers
from pinn.solve.words import (
    condition_in_words,
    domain_in_words,
    network_in_words,
    number,
    reference_in_words,
    value_in_words,
)

CUBE = Box(**{f"x{i}": (0, 1) for i in range(1, 11)})


@pytest.mark.parametrize(
    ("domain", "words"),
    [
        (Interval(x=(-1, 1)) * Time(0, 2), "x from −1 to 1; t from 0 to 2"),
        (Box(x=(0, 1), y=(0, math.pi)), "x from 0 to 1, y from 0 to π"),
        (CUBE, "x1 to x10, each from 0 to 1"),
        (Disk((0, -1), 0.5), "disk of radius 0.5 around (0, −1)"),
        (Ball((0, 0, 0), 1), "ball of radius 1 around (0, 0, 0)"),
        (Polygon([(0, 0), (1, 0), (0, 1)]), "polygon with the corners (0, 0), (1, 0), (0, 1) in x, y"),
        (
            Box(x=(0, 2), y=(0, 1)) - Disk((1, 0.5), 0.2),
            "x from 0 to 2, y from 0 to 1 without disk of radius 0.2 around (1, 0.5)",
        ),
        (
            Disk((0, 0), 1) | Disk((1, 0), 1),
            "disk of radius 1 around (0, 0) together with disk of radius 1 around (1, 0)",
        ),
        (
            Disk((0, 0), 1) & Disk((1, 0), 1),
            "what is common to disk of radius 1 around (0, 0) and disk of radius 1 around (1, 0)",
        ),
    ],
)
def test_every_shape_has_words(domain, words):
    assert domain_in_words(domain) == words


def documented(x):
    """``|x|``, the distance from the middle."""
    return torch.abs(x)


def bare(x):
    return x


class Table:
    def __call__(self, x):
        return x


HARD_START = Initial(u=lambda x: -torch.sin(torch.pi * x), hard=True)
SQUARE = Initial(
    u=lambda x: x**2 * torch.cos(math.pi * x),
    u_t=0.0,
)


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (HARD_START, "u = −sin(π x) at the start, held exactly"),
        (SQUARE, "u = x² cos(π x), u_t = 0 at the start, learned"),
        (Dirichlet(u=0.0, hard=True), "u = 0 on the whole boundary, held exactly"),
        (Dirichlet("x=-1", u=documented), "u = |x| at x=−1, learned"),
        (Dirichlet(("x=0", "y=0"), u=bare, v=-1.5), "u = bare(x), v = −1.5 at x=0, y=0, learned"),
        (Dirichlet(u=Table()), "u = a given function on the whole boundary, learned"),
        (Neumann("x=1", u=2.0), "∂u/∂n = 2 at x=1, learned"),
        (Robin("x=1", alpha=2.0, beta=1.0, u=0.0), "2 u + 1 ∂u/∂n = 0 at x=1, learned"),
        (Periodic("x", hard=True), "periodic in x, held exactly"),
        (Periodic("x", order=1), "periodic in x up to the derivative of order 1, learned"),
        (Data({"x": [0.1, 0.2]}, u=[1.0, 2.0]), "2 given values of u, learned"),
        (Data({"x": 0.0}, p=0.0), "1 given value of p, learned"),
    ],
)
def test_every_condition_has_words(condition, words):
    assert condition_in_words(condition) == words


def test_two_functions_on_one_line_are_not_mistaken_for_each_other():
    one, two = (lambda x: x + 1), (lambda x: x + 2)
    assert value_in_words(one) == value_in_words(two) == "<lambda>(x)"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (math.pi, "π"),
        (2 * math.pi, "2π"),
        (-math.pi / 2, "−π/2"),
        (1.5707, "1.5707"),
        (-3.0, "−3"),
        (0.0, "0"),
        (1e-4, "0.0001"),
    ],
)
def test_numbers_are_written_as_people_do(value, text):
    assert number(value) == text


def test_reference_and_network_are_named_by_what_a_reader_knows():
    problem = Burgers()
    assert reference_in_words(problem.reference) == "ColeHopf: u_t + u u_x = ν u_xx with u(x, 0) = −sin πx"
    architecture = {
        "_target_": "pinn.networks.MLP",
        "inputs": 2,
        "outputs": 1,
        "bounds": [[-1, 1]],
        "width": 20,
        "x": None,
    }
    assert network_in_words(architecture) == {"network": "MLP", "width": 20}
