"""The sampler that follows agents: where its points go, and that its weights undo it."""

import math

import pytest
import torch
from sampled_domains import Rectangle, crowd, generator, ridge, started

from pinn.particles.density import kernel_sum
from pinn.sampling import Particles
from pinn.sampling.particles import normal_in_time, on_grid
from training.errors import ConfigurationError


def following(n=2000, **arguments):
    given = {"undo": 1.0, "uniform": 0.3, "agents": 0.4, "residual": 0.3} | arguments
    sampler = Particles(n, every=1, candidates=20 * n, paths=5000, **given)
    sampler.follow(lambda count, generator: crowd(sampler.domain, count, generator, 0.25))
    return started(sampler)


def near_agents(points):
    """The strip of three standard deviations: 15 % of the rectangle."""
    return (points[:, 0] + 0.5).abs() < 0.3


def test_points_go_where_agents_are():
    sampler = following(uniform=0.5, agents=0.5, residual=0.0)
    assert near_agents(sampler.points).double().mean() == pytest.approx(0.3, abs=0.05)
    sampler.update(1, ridge)
    # all of the agents' half but 3 in 1000, widened a little by the kernels, and 30 % of the other; 4 standard errors
    share = near_agents(sampler.points).double().mean()
    assert share == pytest.approx(0.65, abs=4 * math.sqrt(0.65 * 0.35 / 2000) + 0.01)


def test_without_a_residual_its_share_is_spread_evenly():
    sampler = following(uniform=0.2, agents=0.0, residual=0.8)
    sampler.update(1, lambda points: torch.zeros(len(points), dtype=torch.float64))
    assert near_agents(sampler.points).double().mean() == pytest.approx(0.3, abs=0.05)
    torch.testing.assert_close(sampler.weights, torch.ones(2000).double(), rtol=1e-9, atol=0)


@pytest.mark.parametrize("shares", [(0.3, 0.4, 0.3), (0.1, 0.9, 0.0), (0.5, 0.0, 0.5)])
def test_weighted_means_are_those_of_the_domain(shares):
    def observable(points):
        x, t = points.unbind(1)
        return torch.exp(-((x + 0.5) ** 2) / 0.02) + x * t

    exact = 0.25 * math.sqrt(math.pi * 0.02) * (math.erf(1.5 / math.sqrt(0.02)) + math.erf(0.5 / math.sqrt(0.02)))
    sampler = following(300, **dict(zip(("uniform", "agents", "residual"), shares, strict=True)))
    means, plain = [], []
    for step in range(1, 41):
        sampler.update(step, ridge)
        values = observable(sampler.points)
        means.append(float((sampler.weights * values).mean()))
        plain.append(float(values.mean()))
    means, plain = torch.tensor(means), torch.tensor(plain)
    error = float(means.std()) / math.sqrt(len(means))
    assert abs(float(means.mean()) - exact) < 4 * error
    if shares[1]:
        assert abs(float(plain.mean()) - exact) > 20 * error


def test_the_effective_size_is_that_of_its_weights():
    sampler = following()
    assert sampler.effective_size == 2000
    sampler.update(1, ridge)
    weights = sampler.weights
    assert sampler.effective_size == pytest.approx(float(weights.sum() ** 2 / (weights**2).sum()), rel=1e-12)
    # a mixture that is uniform by three tenths has weights up to 1/0.3
    assert 0.3 * 2000 < sampler.effective_size < 2000 and weights.max() < 1.1 / 0.3
    half, none = following(undo=0.5), following(undo=0.0)
    for other in (half, none):
        other.update(1, ridge)
        # the same points: what they are worth does not depend on what is made of them
        assert torch.equal(other.points, sampler.points) and other.effective_size == sampler.effective_size
    torch.testing.assert_close(none.weights, torch.ones(2000).double(), rtol=1e-12, atol=0)
    torch.testing.assert_close(half.weights / half.weights[0], (weights / weights[0]).sqrt(), rtol=1e-12, atol=0)


def test_the_agents_density_is_that_of_kernels():
    axes = [torch.linspace(0, 1, 33, dtype=torch.float64)] * 2
    particles = 0.3 + 0.4 * torch.rand(300, 2, dtype=torch.float64, generator=generator())
    values = kernel_sum(particles, torch.cartesian_prod(*axes), 0.1).reshape(33, 33)
    places = torch.rand(50, 2, dtype=torch.float64, generator=generator(1))
    # straight lines over cells of a third of a bandwidth
    torch.testing.assert_close(on_grid(values, axes, places), kernel_sum(particles, places, 0.1), rtol=0.05, atol=0.05)
    torch.testing.assert_close(on_grid(values, axes, torch.cartesian_prod(*axes)), values.reshape(-1))


def test_in_many_dimensions_the_density_follows_mean_and_covariance_in_time():
    t = torch.rand(40_000, 1, dtype=torch.float64, generator=generator())
    z = torch.randn(40_000, 3, dtype=torch.float64, generator=generator(1))
    cloud = torch.cat([2 * t + 0.5 * z * torch.tensor([1.0, 2.0, 0.5]).double(), t], dim=1)
    early, late = (torch.tensor([[2 * t] * 3 + [t]], dtype=torch.float64) for t in (0.125, 0.875))
    wrong = torch.tensor([[1.75, 1.75, 1.75, 0.125]], dtype=torch.float64)
    found = normal_in_time(cloud, torch.cat([early, late, wrong]))
    # at the mean: over the product of the deviations; slices of time are a tenth wide in each coordinate
    torch.testing.assert_close(found[:2], torch.full((2,), 1 / (0.5 * 1.0 * 0.25)).double(), rtol=0.15, atol=0)
    assert found[2] < 1e-6


def test_without_agents_it_says_what_it_needs():
    with pytest.raises(ConfigurationError, match=r"mean-field game.*Choose pinn\.sampling\.RAD"):
        started(Particles(10, every=1, candidates=100), Rectangle()).update(1, ridge)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"uniform": 0.0, "agents": 0.8}, "uniform=0.0 is impossible; it is positive"),
        ({"uniform": 0.5}, r"uniform \+ agents \+ residual=1.3 is impossible; it is one"),
        ({"undo": 2.0}, "undo=2.0"),
        ({"paths": 10}, "paths=10 is impossible; it is at least 1000"),
    ],
)
def test_impossible_settings_are_named(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        Particles(10, 1, **arguments)
