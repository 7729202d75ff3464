"""The lid-driven cavity: the singular terms, the walls, published values, and the floor."""

import numpy as np
import pytest
import torch

from pinn.references.cavity import Cavity
from pinn.references.ghia import REYNOLDS_NUMBERS, centrelines
from pinn.references.lid_end import LidEnd, inertial_term
from training.errors import ConfigurationError

STEP = 1e-4
ROUGH = 3e-6
"""Central differences with steps of 1e-4 are wrong by 1e-8 times a third derivative, which is below 300 here."""


def differences(function, x, y):
    """First derivatives by central differences."""
    by_x = (function(x + STEP, y) - function(x - STEP, y)) / (2 * STEP)
    by_y = (function(x, y + STEP) - function(x, y - STEP)) / (2 * STEP)
    return by_x, by_y


@pytest.mark.parametrize("side", [1, -1])
class TestLidEnd:
    def test_derivatives_follow_from_each_other(self, side):
        x, y = np.random.default_rng(0).uniform(0.25, 0.75, (2, 20))
        end = LidEnd(side, 3.0)
        xx, xy, yy = end.second_slopes(x, y)
        np.testing.assert_allclose(end.slopes(x, y), differences(end.stream, x, y), atol=ROUGH)
        np.testing.assert_allclose((xx, xy), differences(lambda *p: end.slopes(*p)[0], x, y), atol=ROUGH)
        np.testing.assert_allclose((xy, yy), differences(lambda *p: end.slopes(*p)[1], x, y), atol=ROUGH)
        laplacian = lambda *p: end.second_slopes(*p)[0] + end.second_slopes(*p)[2]  # noqa: E731
        np.testing.assert_allclose(end.laplacian_slopes(x, y), differences(laplacian, x, y), atol=ROUGH)
        again = [differences(lambda *p, k=k: end.laplacian_slopes(*p)[k], x, y)[k] for k in range(2)]
        np.testing.assert_allclose(end.bilaplacian(x, y), again[0] + again[1], atol=20 * ROUGH)
        np.testing.assert_allclose(end.pressure_slopes(x, y), differences(end.pressure, x, y), atol=ROUGH)

    def test_the_lid_slides_and_the_wall_is_at_rest(self, side):
        end, s, one = LidEnd(side, 100.0), np.linspace(0.0, 1.0, 11), np.ones(11)
        # ψ itself is a hundred times larger away from the walls, through the second term
        np.testing.assert_allclose(end.slopes(s, one), (0 * s, one), rtol=0, atol=1e-12)
        wall = (1 - side) / 2 * one
        np.testing.assert_allclose(end.slopes(wall, np.append(s[:-1], 0.5)), (0 * s, 0 * s), rtol=0, atol=1e-12)
        np.testing.assert_allclose(end.stream(wall, s), 0 * s, rtol=0, atol=1e-12)

    def test_the_terms_balance_the_momentum_near_the_end(self, side):
        reynolds, r = 50.0, 1e-6
        end = LidEnd(side, reynolds)
        theta = np.linspace(0.1, 1.4, 7)
        x, y = (1 - side) / 2 + side * r * np.cos(theta), 1 - r * np.sin(theta)
        by_x, by_y = end.slopes(x, y)
        xx, xy, yy = end.second_slopes(x, y)
        lx, ly = end.laplacian_slopes(x, y)
        px, py = end.pressure_slopes(x, y)
        u, v = by_y, -by_x
        # each term is of the order 1/r² = 1e12 (viscous) or 1/r = 1e6; together they stay finite but for rounding
        assert np.abs(u * xy + v * yy + px - ly / reynolds).max() < 1e-3 / r
        assert np.abs(-u * xx - v * xy + py + lx / reynolds).max() < 1e-3 / r


def test_the_inertial_term_vanishes_with_its_slope_on_both_walls():
    f, _ = inertial_term()
    ends = np.array([0.0, np.pi / 2])
    assert np.abs(f(ends)).max() < 1e-15 and np.abs(f.deriv()(ends)).max() < 1e-14
    assert np.abs(f.coef[-3:]).max() < 1e-15


@pytest.fixture(scope="module")
def cavity():
    return Cavity(100.0, intervals=32)


def test_agrees_with_published_values_on_the_centreline(cavity):
    # Marchi, Suero, Araki, J. Braz. Soc. Mech. Sci. 31 (2009) 186, extrapolated from 1024² volumes: u(½, y)
    expected = torch.tensor([-0.172712, -0.198471, -0.212962, -0.209149, -0.182081, -0.131256], dtype=torch.float64)
    y = torch.arange(5, 11, dtype=torch.float64) / 16
    points = torch.stack([0 * y + 0.5, y], 1)
    # the resolution of this test leaves 1e-5
    torch.testing.assert_close(cavity.values(points)["u"], expected, rtol=0, atol=2e-5)


def test_is_near_the_tables_of_ghia(cavity):
    for field, (points, values) in centrelines(100).items():
        error = (cavity.values(points)[field] - values).abs().max().item()
        # what the tables are wrong by
        assert error < {"u": 0.0055, "v": 0.0098}[field]


def test_walls_and_mass(cavity):
    s = torch.linspace(0, 1, 41, dtype=torch.float64)
    for x, y, u in ((s, 0 * s, 0.0), (0 * s, s, 0.0), (0 * s + 1, s, 0.0), (s, 0 * s + 1, 1.0)):
        points = torch.stack([x, y], 1)
        points = points[torch.hypot(torch.minimum(points[:, 0], 1 - points[:, 0]), 1 - points[:, 1]) > 0.3]
        values = cavity.values(points)
        # exact at the points of the grid; between them the ends of the lid leave terms like r³ in 32 polynomials
        assert (values["u"] - u).abs().max() < cavity.floors["u"] and values["v"].abs().max() < cavity.floors["v"]
    # the same flow passes through every vertical line: none
    y, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(60))
    for x in (0.2, 0.5, 0.8):
        u = cavity.values(torch.stack([0 * y + x, (y + 1) / 2], 1))["u"]
        assert abs((u * weights).sum().item()) < 1e-8
    assert cavity.values(torch.zeros(1, 2))["p"].item() == 0.0


def test_the_floors_bound_the_difference_to_a_finer_flow(cavity):
    finer = Cavity(100.0, intervals=40)
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(500, 2, generator=generator, dtype=torch.float64)
    points = points[torch.hypot(torch.minimum(points[:, 0], 1 - points[:, 0]), 1 - points[:, 1]) > 0.05]
    found, better = cavity.values(points), finer.values(points)
    for name, floor in cavity.floors.items():
        assert ((found[name] - better[name]).norm() / better[name].norm()).item() < floor
        assert finer.floors[name] < floor
    assert cavity.floor == max(cavity.floors.values()) and "p " in cavity.floor_note


@pytest.mark.parametrize("reynolds", REYNOLDS_NUMBERS)
def test_tables_run_from_wall_to_wall_and_are_smooth(reynolds):
    for field, along in (("u", 1), ("v", 0)):
        points, values = centrelines(reynolds)[field]
        place = points[:, along]
        assert (points[:, 1 - along] == 0.5).all() and (place.diff() < 0).all()
        assert len(values) == (14 if (reynolds, field) == (400, "v") else 15) and values.abs().max() < 1


def test_a_reynolds_number_without_table_is_refused():
    with pytest.raises(ConfigurationError, match="100, 400, 1000"):
        centrelines(250.0)
