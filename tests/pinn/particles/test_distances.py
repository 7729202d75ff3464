"""Distances between populations: scipy's numbers, and a distribution function in the place of particles."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from pinn.particles.distances import wasserstein, wasserstein_to_quantiles
from training.errors import InputError


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 40), m=st.integers(1, 40), seed=st.integers(0, 1000), weighted=st.booleans())
def test_the_distance_is_scipys(n, m, seed, weighted):
    rng = np.random.default_rng(seed)
    # rounded, so that some places coincide
    first, second = rng.normal(size=n).round(1), (2 * rng.normal(size=m) + 1).round(1)
    weights = (rng.random(n) + 0.1, rng.random(m) + 0.1) if weighted else (None, None)
    given_weights = [None if some is None else torch.from_numpy(some) for some in weights]
    found = wasserstein(torch.from_numpy(first), torch.from_numpy(second), *given_weights)
    assert found == pytest.approx(wasserstein_distance(first, second, *weights), rel=1e-12, abs=1e-13)


def test_a_shift_is_its_own_distance():
    x = torch.randn(1000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert wasserstein(x, x) == 0
    assert wasserstein(x, x + 0.3) == pytest.approx(0.3, rel=1e-12)


def test_a_distribution_function_is_as_good_as_many_particles():
    places = torch.linspace(-6, 8, 4001, dtype=torch.float64)
    cumulative = torch.special.ndtr(places - 1)
    x = torch.randn(5000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 1.2
    quantiles = torch.special.ndtri((torch.arange(400_000, dtype=torch.float64) + 0.5) / 400_000) + 1
    # ranks in the middle of each particle's share: an error of the order 1/n
    assert wasserstein_to_quantiles(x, places, cumulative) == pytest.approx(wasserstein(x, quantiles), abs=5e-4)


@pytest.mark.parametrize("weights", [torch.ones(2), torch.tensor([1.0, -1.0, 1.0]), torch.zeros(3)])
def test_wrong_weights_are_named(weights):
    x = torch.zeros(3)
    with pytest.raises(InputError, match="one weight per particle, none negative and not all zero"):
        wasserstein(x, x, weights)
    with pytest.raises(InputError, match="is empty"):
        wasserstein(x, x[:0])
