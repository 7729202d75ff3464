"""Each sampler that looks at the residual does what its formula says, on fresh candidates."""

import math

import pytest
import torch
from sampled_domains import ADAPTIVE, SAMPLERS, Rectangle, generator, ridge, started, sweep
from scipy.stats import chisquare

from pinn.sampling import R3, RAD, RARD, RARG, Importance, LatinHypercube, Sobol, Uncertainty, Uniform
from pinn.sampling.sampler import ResidualNotFinite
from pinn.sampling.uncertainty import disagreement
from training.errors import ConfigurationError

BINS = 20


def in_bins(points):
    """How many points are in each of twenty slices of x."""
    return torch.histc(points[:, 0], BINS, -1, 1).numpy()


def expected_in_bins(n, k, c, residual=ridge):
    """n times the integral of the density over each slice, on a fine grid."""
    x = torch.linspace(-1, 1, 200_001, dtype=torch.float64)
    x = (x[1:] + x[:-1]) / 2
    powers = residual(torch.stack([x, torch.full_like(x, 0.5)], dim=1)) ** k
    density = powers / powers.mean() + c
    return (n * (density / density.sum()).reshape(BINS, -1).sum(1)).numpy()


def agreement(sampler, k, c, changes=4):
    """p-value of the fresh points of several changes against the density with these k and c."""
    counts = 0
    for step in range(1, changes + 1):
        sampler.update(step, ridge, sweep)
        counts = counts + in_bins(sampler.points[sampler.origin < 0])
    return chisquare(counts, expected_in_bins(counts.sum(), k, c)).pvalue


class TestDistribution:
    """Candidates are a hundred times as many as points, so what the urn takes away does not show."""

    @pytest.mark.parametrize(("k", "c"), [(1, 1), (2, 0.5), (0.5, 2), (3, 0)])
    def test_rad_points_follow_the_density(self, k, c):
        assert agreement(started(RAD(1000, 1, candidates=100_000, k=k, c=c)), k, c) > 0.05

    def test_the_test_sees_k_and_c_swapped(self):
        assert agreement(started(RAD(1000, 1, candidates=100_000, k=0.5, c=2)), 2, 0.5) < 1e-12

    def test_rad_by_default_has_k_1_and_c_1(self):
        assert agreement(started(RAD(1000, 1)), 1, 1) > 0.05
        assert agreement(started(RAD(1000, 1)), 2, 0) < 1e-12

    def test_added_points_of_rard_follow_k_2_and_c_0_by_default(self):
        def sampler():
            return started(RARD(10, 1, add=1000, maximum=10_000))

        assert agreement(sampler(), 2, 0) > 0.05
        assert agreement(sampler(), 0, 2) < 1e-12

    def test_importance_points_follow_the_density_too(self):
        assert agreement(started(Importance(1000, 1, k=2, c=0.5)), 2, 0.5) > 0.05

    def test_uncertainty_multiplies_the_residual(self):
        domain = Rectangle()
        product, swapped = started(Uncertainty(500, 1), domain), started(Uncertainty(500, 1), domain)
        product.update(1, ridge, lambda points: 1 / ridge(points))
        # the product is one everywhere
        assert chisquare(in_bins(product.points), [500 / BINS] * BINS).pvalue > 0.05
        swapped.update(1, lambda points: torch.ones(len(points)), ridge)
        assert chisquare(in_bins(swapped.points), expected_in_bins(500, 1, 1)).pvalue > 0.05


class TestCandidates:
    @pytest.mark.parametrize("name", sorted(set(ADAPTIVE) - {"r3"}))
    def test_the_residual_is_asked_at_fresh_points_of_the_domain_not_at_the_present_ones(self, name):
        domain = Rectangle()
        sampler = started(SAMPLERS[name](), domain)
        for step in (3, 6):
            domain.given.clear()
            asked = []
            present = sampler.points
            sampler.update(step, lambda points, asked=asked: asked.append(points) or ridge(points), sweep)
            assert len(domain.given) == 1 and torch.equal(asked[0], domain.given[0])
            assert not (torch.cat(asked)[:, None] == present[None]).all(2).any()

    @pytest.mark.parametrize("name", ["rad", "rard", "rarg", "importance", "uncertainty"])
    def test_chosen_points_are_candidates_each_at_most_once(self, name):
        domain = Rectangle()
        sampler = started(SAMPLERS[name](), domain)
        sampler.update(3, ridge, sweep)
        fresh = sampler.points[sampler.origin < 0]
        same = (fresh[:, None] == domain.given[-1][None]).all(2)
        assert (same.sum(1) == 1).all() and (same.sum(0) <= 1).all()

    @pytest.mark.parametrize("kind", ["uniform", "sobol", "latin_hypercube"])
    def test_the_kind_is_handed_to_the_domain(self, kind):
        domain = Rectangle()
        started(RAD(10, 1, candidates=50, kind=kind), domain).update(1, ridge)
        assert domain.kinds == [kind, kind]

    @pytest.mark.parametrize(
        ("sampler", "kind"), [(Uniform(9), "uniform"), (Sobol(9), "sobol"), (LatinHypercube(9), "latin_hypercube")]
    )
    def test_space_filling_samplers_have_their_own_kind(self, sampler, kind):
        domain = Rectangle()
        started(sampler, domain)
        assert domain.kinds == [kind]

    def test_all_candidates_can_be_chosen(self):
        domain = Rectangle()
        sampler = started(RAD(50, 1, candidates=50), domain)
        sampler.update(1, ridge)
        assert torch.equal(sampler.points.sort(0).values, domain.given[-1].sort(0).values)


def test_rarg_adds_the_largest():
    domain = Rectangle()
    sampler = started(RARG(20, 1, add=7, maximum=100, candidates=500), domain)
    before = sampler.points
    sampler.update(1, ridge)
    candidates = domain.given[-1]
    assert torch.equal(sampler.points[:20], before)
    added = ridge(sampler.points[20:])
    assert torch.equal(added, ridge(candidates).sort(descending=True).values[:7])


def test_growing_samplers_stop_at_their_maximum_and_ask_for_no_residual_then():
    sampler = started(RARD(10, 1, add=4, maximum=17, candidates=50))
    assert [sampler.update(step, ridge) for step in range(1, 5)] == [True, True, False, False]
    assert len(sampler.points) == 17

    def forbidden(points):
        raise AssertionError("no residual is needed any more")

    assert not sampler.due(5) and not sampler.update(5, forbidden)


class TestR3:
    def test_keeps_exactly_the_points_above_the_mean(self):
        sampler = started(R3(1000))
        for step in range(1, 6):
            before = sampler.points
            residuals = ridge(before)
            above = before[residuals > residuals.mean()]
            assert sampler.update(step, ridge)
            kept = sampler.points[sampler.origin >= 0]
            assert torch.equal(kept, above) and 0 < len(above) < 1000
            assert len(sampler.points) == 1000

    def test_a_residual_equal_to_the_mean_is_not_above_it(self):
        sampler = started(R3(4))
        before = sampler.points
        values = torch.tensor([1.0, 2.0, 3.0, 2.0])  # mean 2
        sampler.update(1, lambda points: values)
        assert torch.equal(sampler.points[0], before[2]) and sampler.origin.tolist() == [2, -1, -1, -1]

    def test_gathers_points_over_the_steps_and_releases_them_when_the_residual_is_gone(self):
        sampler = started(R3(1000))
        for step in range(1, 30):
            sampler.update(step, ridge)
        gathered = (sampler.points[:, 0] - 0.3).abs().lt(0.2).sum().item()
        assert gathered > 600  # 200 of 1000 uniform ones
        for step in range(30, 60):
            sampler.update(step, lambda points: 1 - ridge(points) / 2)
        assert (sampler.points[:, 0] - 0.3).abs().lt(0.2).sum().item() < 100


class TestImportance:
    def test_the_weighted_mean_is_the_mean_over_the_domain(self):
        """What the loss averages is ridge²; its mean by quadrature. The plain mean over the same points is far off."""
        grid = torch.linspace(-1, 1, 200_001, dtype=torch.float64)[:, None].expand(-1, 2)
        exact = ridge(grid).square().mean().item()
        sampler = started(Importance(1000, 1, candidates=20_000, k=1, c=0.5))
        weighted, plain = [], []
        for step in range(1, 101):
            sampler.update(step, ridge)
            squares = ridge(sampler.points).square()
            weighted.append((sampler.weights * squares).mean().item())
            plain.append(squares.mean().item())
        weighted, plain = (torch.tensor(values, dtype=torch.float64) for values in (weighted, plain))
        error = weighted.std().item() / math.sqrt(len(weighted))
        assert abs(weighted.mean().item() - exact) < 3 * error
        assert error < 0.005 * exact and plain.mean().item() > 1.5 * exact

    def test_weights_are_one_over_the_density(self):
        sampler = started(Importance(50, 1, candidates=50_000, k=1, c=0.5))
        sampler.update(1, ridge)
        grid = torch.linspace(-1, 1, 200_001, dtype=torch.float64)[:, None].expand(-1, 2)
        density = ridge(sampler.points) / ridge(grid).mean() + 0.5
        ratio = sampler.weights * density
        # fifty of fifty thousand: what the urn takes away is below 1 %, and so is the mean over the candidates
        assert (ratio / ratio.mean() - 1).abs().max().item() < 0.01

    def test_has_less_noise_than_uniform_points_of_the_same_number(self):
        def noise(sampler):
            losses = []
            for step in range(1, 101):
                sampler.update(step, narrow)
                losses.append((sampler.weights * narrow(sampler.points)).mean().item())
            return torch.tensor(losses).std().item()

        def narrow(points):
            return 0.01 + torch.exp(-(((points[:, 0] - 0.3) / 0.02) ** 2))

        assert noise(started(Importance(200, 1, candidates=20_000, c=0.1))) < 0.5 * noise(started(Uniform(200, 1)))


class TestUncertainty:
    def test_says_what_is_missing(self):
        assert Uncertainty.needs_uncertainty and not RAD.needs_uncertainty
        with pytest.raises(ConfigurationError, match=r"Uncertainty needs .*ema_decay"):
            started(Uncertainty(10, 1, candidates=20)).update(1, ridge)

    def test_an_uncertainty_that_is_not_finite_is_named(self):
        with pytest.raises(ResidualNotFinite, match="Uncertainty: the uncertainty is not finite at 20 of 20 points"):
            started(Uncertainty(10, 1, candidates=20)).update(1, ridge, lambda points: points[:, 0] * math.nan)

    def test_a_committee_disagrees_by_the_root_of_its_variance(self):
        points = Rectangle().sample(50, generator())
        t = points[:, 1]
        shifts = (-1.0, 0.0, 4.0)  # of variance 14 / 3
        members = [lambda p, s=s: torch.stack([p[:, 0] + s, p[:, 1] * s], dim=1) for s in shifts]
        expected = torch.sqrt(14 / 3 * (1 + t**2))
        torch.testing.assert_close(disagreement(members)(points), expected, rtol=1e-12, atol=0)

    def test_two_equal_members_agree_and_one_is_no_committee(self):
        points = Rectangle().sample(50, generator())
        assert torch.equal(disagreement([ridge, ridge])(points), torch.zeros(50, dtype=torch.float64))
        with pytest.raises(ValueError, match="two members"):
            disagreement([ridge])
