"""The density is the formula's, and points are drawn from it one after another without being put back."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sampled_domains import generator
from scipy.stats import chisquare

from pinn.sampling.density import draw, residual_density

RESIDUALS = torch.tensor([0.0, 1.0, 2.0, 5.0], dtype=torch.float64)


def test_the_density_is_power_over_mean_power_plus_c():
    # |r|²: 0, 1, 4, 25 with mean 7.5; plus c = 0.5
    expected = torch.tensor([0.5, 1 / 7.5 + 0.5, 4 / 7.5 + 0.5, 25 / 7.5 + 0.5], dtype=torch.float64) / 6
    torch.testing.assert_close(residual_density(RESIDUALS, k=2, c=0.5), expected, rtol=1e-14, atol=0)


def test_power_zero_and_zero_residuals_are_uniform():
    uniform = torch.full((4,), 0.25, dtype=torch.float64)
    assert torch.equal(residual_density(RESIDUALS, k=0, c=0.0), uniform)
    assert torch.equal(residual_density(torch.zeros(4, dtype=torch.float64), k=1, c=0.0), uniform)


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1e200])
def test_the_density_depends_on_ratios_alone(scale):
    torch.testing.assert_close(
        residual_density(RESIDUALS * scale, k=3, c=1.0), residual_density(RESIDUALS, k=3, c=1.0), rtol=1e-13, atol=0
    )


def test_a_single_draw_follows_the_density():
    density = residual_density(torch.tensor([0.1, 1.0, 2.0, 5.0, 7.0], dtype=torch.float64), k=1, c=0.2)
    source = generator(0)
    rows = torch.cat([draw(density, 1, source)[0] for _ in range(8_000)])
    # the largest of the five frequencies is known to 1.4 %
    assert chisquare(rows.bincount(minlength=5).numpy(), (8_000 * density).numpy()).pvalue > 0.05


def test_pairs_are_drawn_as_from_an_urn():
    density = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    source = generator(1)
    pairs = torch.stack([draw(density, 2, source)[0] for _ in range(8_000)])
    counts, expected = [], []
    for i in range(4):
        for j in set(range(4)) - {i}:
            counts.append(int(((pairs[:, 0] == i) & (pairs[:, 1] == j)).sum()))
            expected.append(8_000 * float(density[i] * density[j] / (1 - density[i])))
    assert chisquare(counts, expected).pvalue > 0.05


@given(m=st.integers(1, 200), seed=st.integers(0, 2**31), share=st.floats(0, 1), k=st.floats(0, 8))
def test_drawn_rows_are_distinct_and_as_many_as_asked_for(m, seed, share, k):
    source = generator(seed)
    residuals = torch.rand(m, dtype=torch.float64, generator=source).square()
    n = max(1, round(share * m))
    rows, probability = draw(residual_density(residuals, k, c=0.0), n, source)
    assert len(rows) == len(set(rows.tolist())) == n == len(probability)
    assert ((probability > 0) & (probability <= 1)).all()


def test_candidates_of_density_zero_come_last():
    density = torch.tensor([0.0, 0.5, 0.0, 0.5, 0.0], dtype=torch.float64)
    source = generator(2)
    third = set()
    for _ in range(50):
        rows, _ = draw(density, 3, source)
        assert set(rows[:2].tolist()) == {1, 3}
        third.add(int(rows[2]))
    assert third == {0, 2, 4}


@pytest.mark.parametrize("n", [3, 7, 9])
def test_values_divided_by_their_probability_have_the_expectation_of_the_sum(n):
    # few candidates and many draws: here 1 / p of a single draw would be far off
    values = torch.tensor([3.0, -1.0, 4.0, 1.0, -5.0, 9.0, 2.0, 6.0, 5.0], dtype=torch.float64)
    density = residual_density(torch.arange(1.0, 10.0, dtype=torch.float64), k=1, c=0.3)
    source = generator(3)
    sums = []
    for _ in range(4_000):
        rows, probability = draw(density, n, source)
        sums.append(float((values[rows] / probability).sum()))
    sums = torch.tensor(sums, dtype=torch.float64)
    error = sums.std().item() / math.sqrt(len(sums))
    # three standard errors, or the rounding of a sum that is complete
    assert abs(sums.mean() - values.sum()).item() < 3 * error + 1e-12
    assert error < 0.4
