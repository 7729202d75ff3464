"""Densities of particles: the same numbers as scipy and as every kernel one by one, with and without walls."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import gaussian_kde

from pinn.particles.bandwidth import scott, silverman
from pinn.particles.density import binned_sum_in_torch, density, density_on_grid, kernel_sum
from pinn.particles.walls import Walls
from training.errors import ConfigurationError, InputError

SAMPLES = {
    "normal": lambda rng, n: rng.normal(size=n),
    "two hills far from the origin": lambda rng, n: (
        100 + np.where(rng.random(n) < 0.3, -2, 1) + 0.4 * rng.normal(size=n)
    ),
    "edge": lambda rng, n: rng.random(n),
    "tails": lambda rng, n: rng.standard_t(5, size=n),
}


def sample(kind, n, seed=0):
    return torch.from_numpy(SAMPLES[kind](np.random.default_rng(seed), n))


def middle(particles, m=60):
    """Places with particles within a few bandwidths."""
    low, high = particles.quantile(torch.tensor([0.01, 0.99], dtype=torch.float64))
    return torch.linspace(float(low), float(high), m, dtype=torch.float64)


@pytest.mark.parametrize("kind", SAMPLES)
@pytest.mark.parametrize("n", [50, 3000])
def test_equals_scipy_where_both_are_exact(kind, n):
    particles = sample(kind, n)
    at = torch.linspace(float(particles.min()), float(particles.max()), 60, dtype=torch.float64)
    oracle = gaussian_kde(particles.numpy())
    torch.testing.assert_close(scott(particles).item(), oracle.factor * particles.std().item(), rtol=1e-12, atol=0)
    # both add the same kernels in another order
    found = kernel_sum(particles, at, scott(particles)).numpy()
    np.testing.assert_allclose(found, oracle(at.numpy()), rtol=1e-10)
    by_silverman = gaussian_kde(particles.numpy(), "silverman")
    found = kernel_sum(particles, at, silverman(particles)).numpy()
    np.testing.assert_allclose(found, by_silverman(at.numpy()), rtol=1e-10)


@pytest.mark.parametrize("kind", SAMPLES)
@pytest.mark.parametrize(("weights", "bound"), [("quadratic", 1e-5), ("linear", 1e-3)])
@pytest.mark.parametrize("n", [200, 20_000])
def test_bins_are_within_their_promise_of_the_exact_sum(kind, weights, bound, n):
    particles = sample(kind, n)
    at = middle(particles)
    exact = kernel_sum(particles, at, scott(particles))
    found = density(particles, at, scott(particles), weights=weights)
    assert ((found - exact).abs() / exact).max() < bound


@pytest.mark.parametrize("weights", ["quadratic", "linear"])
def test_kernels_for_the_cpu_equal_those_for_every_device(weights):
    particles = sample("tails", 2000)
    at = torch.linspace(-12, 12, 70, dtype=torch.float64)
    everywhere = binned_sum_in_torch(particles, at, 0.2, weights) / (math.sqrt(2 * math.pi) * 0.2 * 2000)
    torch.testing.assert_close(density(particles, at, 0.2, weights=weights), everywhere, rtol=1e-10, atol=1e-15)


@settings(max_examples=30, deadline=None)
@given(
    shift=st.floats(-1e3, 1e3),
    scale=st.floats(1e-3, 1e3),
    width=st.floats(0.05, 3.0),
    n=st.integers(1, 50),
    seed=st.integers(0, 100),
)
def test_a_density_follows_shifts_and_units(shift, scale, width, n, seed):
    particles = sample("normal", n, seed)
    at = torch.linspace(-3, 3, 13, dtype=torch.float64)
    plain = density(particles, at, width)
    moved = density(shift + scale * particles, shift + scale * at, scale * width)
    # within the error of the bins, in units of the density's largest possible value
    torch.testing.assert_close(scale * moved, plain, rtol=0, atol=2e-5 / width)


class TestWalls:
    walls = Walls("reflecting", 0.0, 1.0)

    @pytest.mark.parametrize("kind", ["reflecting", "periodic"])
    @pytest.mark.parametrize("h", [0.03, 0.4, 3.0])
    def test_nothing_is_lost_at_a_wall(self, kind, h):
        particles = sample("edge", 500)
        at = torch.linspace(0, 1, 2001, dtype=torch.float64)
        inside = density(particles, at, h, Walls(kind, 0.0, 1.0))
        # the trapezoidal rule has an error of (dx/h)²/12 at ends with a slope
        assert float(torch.trapezoid(inside, at)) == pytest.approx(1.0, abs=1e-4)
        assert float(torch.trapezoid(density(particles, at, h), at)) < 0.99

    def test_a_uniform_density_is_one_up_to_the_wall(self):
        particles = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
        at = torch.tensor([0.0, 0.01, 0.5, 1.0], dtype=torch.float64)
        torch.testing.assert_close(density(particles, at, 0.05, self.walls), torch.ones(4).double(), atol=1e-5, rtol=0)
        assert density(particles, at, 0.05)[0] == pytest.approx(0.5, abs=1e-3)

    def test_nobody_stands_at_an_absorbing_wall_or_behind_any(self):
        particles = sample("edge", 500)
        at = torch.tensor([-0.1, 0.0, 0.5, 1.0, 1.1], dtype=torch.float64)
        absorbed = density(particles, at, 0.1, Walls("absorbing", 0.0, 1.0))
        assert absorbed[1].abs() < 1e-6 and absorbed[3].abs() < 1e-6 and absorbed[2] > 0.5
        for kind in ("absorbing", "reflecting", "periodic"):
            behind = density(particles, at, 0.1, Walls(kind, 0.0, 1.0))
            assert behind[0] == behind[-1] == 0

    @pytest.mark.parametrize("kind", ["reflecting", "periodic", "absorbing"])
    def test_the_exact_sum_knows_the_same_walls(self, kind):
        particles, walls = sample("edge", 300), Walls(kind, 0.0, 1.0)
        at = torch.linspace(0.05, 0.95, 20, dtype=torch.float64)
        exact = kernel_sum(particles, at, 0.3, walls)
        torch.testing.assert_close(density(particles, at, 0.3, walls), exact, rtol=1e-5, atol=1e-7)

    def test_a_periodic_density_is_periodic(self):
        ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
        low, high = density(sample("edge", 300), ends, 0.1, Walls("periodic", 0.0, 1.0))
        assert low == pytest.approx(float(high), rel=1e-5)


class TestMoreDimensions:
    def test_equals_scipy_in_whitened_coordinates(self):
        rng = np.random.default_rng(1)
        mixed = rng.normal(size=(400, 3)) @ np.array([[1.0, 0.5, 0], [0, 2.0, 0.3], [0, 0, 0.7]])
        at = rng.normal(size=(30, 3))
        oracle = gaussian_kde(mixed.T)
        factor = np.linalg.cholesky(np.cov(mixed.T))
        white, places = (torch.from_numpy(np.linalg.solve(factor, given.T).T.copy()) for given in (mixed, at))
        found = kernel_sum(white, places, oracle.factor).numpy() / np.linalg.det(factor)
        np.testing.assert_allclose(found, oracle(at.T), rtol=1e-10)

    @pytest.mark.parametrize("d", [1, 2, 3])
    def test_a_grid_is_within_a_thousandth_of_the_exact_sum(self, d):
        particles = torch.from_numpy(np.random.default_rng(2).normal(size=(500, d)))
        widths = torch.tensor([0.5, 0.7, 0.6][:d], dtype=torch.float64)
        axes = [torch.linspace(-1.5, 1.5, 7, dtype=torch.float64)] * d
        walls = [Walls("reflecting", -2.0, 2.0), Walls(), Walls("periodic", -2.5, 2.5)][:d]
        inside = particles[:, 0].abs() < 2
        found = density_on_grid(particles[inside], axes, widths, walls)
        exact = kernel_sum(particles[inside], torch.cartesian_prod(*axes).reshape(-1, d), widths, walls)
        torch.testing.assert_close(found.reshape(-1), exact, rtol=1e-3, atol=1e-5)

    def test_the_rules_of_thumb_have_a_width_per_coordinate(self):
        particles = (
            torch.from_numpy(np.random.default_rng(3).normal(size=(1000, 2))) * torch.tensor([1.0, 5.0]).double()
        )
        narrow, wide = scott(particles)
        assert 4 < wide / narrow < 6
        torch.testing.assert_close(silverman(particles), scott(particles))  # (d + 2)/4 is one in two dimensions


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: density(x, x, 0.0), "A bandwidth is positive"),
        (lambda x: density(x, x, float("nan")), "A bandwidth is positive"),
        (lambda x: density(x[:0], x, 0.1), "0 particles and 5 points"),
        (lambda x: density(x, x, 1e-9), "no room; take a larger bandwidth"),
        (lambda x: density(x, x, 0.1, weights="cubic"), "quadratic or linear; got 'cubic'"),
        (lambda x: kernel_sum(x[:, None], x, torch.tensor([0.1, 0.2])), "one number or one per coordinate"),
        (lambda x: scott(x[:1]), "two particles or more; got 1"),
    ],
)
def test_what_has_no_density_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call(torch.linspace(0, 1, 5, dtype=torch.float64))


def test_impossible_walls_are_named():
    with pytest.raises(ConfigurationError, match="Walls are open, periodic, reflecting, absorbing; got 'mirror'"):
        Walls("mirror", 0, 1)
    with pytest.raises(ConfigurationError, match="periodic walls need finite ends in order"):
        Walls("periodic", 1, 0)
