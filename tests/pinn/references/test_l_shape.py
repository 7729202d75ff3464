"""The L-shape: the equation, the boundary, the corner, and a different method."""

import math

import numpy as np
import pytest
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import spsolve

from pinn.references.l_shape import LShape


@pytest.fixture(scope="module")
def reference():
    return LShape()


def inside(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x, y = (2 * torch.rand(2, n, generator=generator, dtype=torch.float64) - 1).unbind()
    keep = (x < 0) | (y > 0)
    return x[keep], y[keep]


def test_satisfies_its_equation(reference):
    x, y = (c.requires_grad_() for c in inside(300))
    u = reference.solution(x, y)
    slopes = torch.autograd.grad(u.sum(), (x, y), create_graph=True)
    second = [torch.autograd.grad(s.sum(), c, retain_graph=True)[0] for s, c in zip(slopes, (x, y), strict=True)]
    assert (second[0] + second[1] + 1).abs().max() < 1e-8


def test_vanishes_on_the_boundary_to_its_floor(reference):
    s = torch.linspace(0, 1, 77, dtype=torch.float64)
    zero, one = 0 * s, 0 * s + 1
    edges = [(s, zero), (one, s), (2 * s - 1, one), (-one, 2 * s - 1), (s - 1, -one), (zero, s - 1)]
    largest = max(reference.solution(x, y).abs().max().item() for x, y in edges)
    scale = reference.solution(*inside(4000)).square().mean().sqrt().item()
    # the floor is the largest value on the boundary over the root mean square inside
    assert largest / scale < 1.02 * reference.floor < 1e-9


def test_fewer_poles_differ_by_their_own_floor(reference):
    coarse = LShape(poles=25, degree=20)
    x, y = inside(500)
    difference = (coarse.solution(x, y) - reference.solution(x, y)).square().mean().sqrt()
    assert difference / reference.solution(x, y).square().mean().sqrt() < coarse.floor
    assert reference.floor < coarse.floor / 100


def test_grows_with_the_power_two_thirds_from_the_corner(reference):
    # on the axis of symmetry; the next term is r^2, so 1e-4^(4/3) = 5e-6 of the first
    r = torch.tensor([1e-5, 1e-4], dtype=torch.float64)
    x, y = -r / math.sqrt(2), r / math.sqrt(2)
    u = reference.solution(x, y)
    assert torch.log10(u[1] / u[0]).item() == pytest.approx(2 / 3, abs=1e-5)


def test_is_symmetric(reference):
    x, y = inside(100)
    torch.testing.assert_close(reference.solution(x, y), reference.solution(-y, -x), rtol=0, atol=1e-10)


def test_agrees_with_finite_differences(reference):
    # five-point formula; the corner makes its error fall with h^(4/3)
    found = [finite_differences(n) for n in (16, 32, 64)]
    exact = reference.solution(torch.tensor([-0.5]).double(), torch.tensor([0.5]).double()).item()
    errors = [abs(value - exact) for value in found]
    assert errors[2] < 1e-3
    assert errors[0] / errors[1] == pytest.approx(2 ** (4 / 3), rel=0.05)
    assert errors[1] / errors[2] == pytest.approx(2 ** (4 / 3), rel=0.05)


def finite_differences(n: int) -> float:
    """u(−½, ½) with n intervals in each unit of length."""
    nodes = [(i, j) for i in range(1 - n, n) for j in range(1 - n, n) if i < 0 or j > 0]
    number = {node: index for index, node in enumerate(nodes)}
    entries = [(k, k, 4.0) for k in range(len(nodes))]
    for (i, j), k in number.items():
        neighbours = [(i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)]
        entries += [(k, number[node], -1.0) for node in neighbours if node in number]
    rows, columns, values = zip(*entries, strict=True)
    u = spsolve(coo_matrix((values, (rows, columns))).tocsr(), np.full(len(nodes), 1 / n**2))
    return float(u[number[(-n // 2, n // 2)]])
