"""Paths have the distribution of their process at any spacing, and belong to their member."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from pinn.ensembles.draws import uniforms
from pinn.ensembles.paths import Paths
from pinn.ensembles.processes import CoxIngersollRoss, GeometricBrownianMotion, JumpDiffusion, OrnsteinUhlenbeck
from training.errors import ConfigurationError

OU = OrnsteinUhlenbeck(mean=0.4, rate=1.5, volatility=0.6, start=1.2)
CIR = CoxIngersollRoss(mean=0.8, rate=1.2, volatility=0.7, start=0.5)
GBM = GeometricBrownianMotion(drift=0.2, volatility=0.4, start=1.5)
JUMPS = JumpDiffusion(drift=0.1, volatility=0.2, start=1.0, intensity=3.0, jump_mean=-0.1, jump_spread=0.15)
T = 0.7


def reverting(process, noise_of_mean):
    kept = math.exp(-process.rate * T)
    return process.mean + (process.first - process.mean) * kept, noise_of_mean(kept)


MOMENTS = {
    OU: reverting(OU, lambda kept: OU.volatility**2 * (1 - kept**2) / (2 * OU.rate)),
    CIR: reverting(
        CIR,
        lambda kept: (
            CIR.first * CIR.volatility**2 / CIR.rate * (kept - kept**2)
            + CIR.mean * CIR.volatility**2 / (2 * CIR.rate) * (1 - kept) ** 2
        ),
    ),
    GBM: (1.5 * math.exp(0.2 * T), (1.5 * math.exp(0.2 * T)) ** 2 * math.expm1(0.4**2 * T)),
    JUMPS: (
        math.exp(0.1 * T + 3 * T * math.expm1(-0.1 + 0.15**2 / 2)),
        math.exp(2 * 0.1 * T + 0.2**2 * T + 3 * T * math.expm1(2 * -0.1 + 2 * 0.15**2))
        - math.exp(2 * (0.1 * T + 3 * T * math.expm1(-0.1 + 0.15**2 / 2))),
    ),
}
"""Mean and variance at time T."""


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("process", MOMENTS, ids=lambda process: type(process).__name__)
class TestEveryProcess:
    def test_mean_and_variance_are_exact_whatever_the_step(self, process, steps):
        mean, variance = MOMENTS[process]
        values = Paths.drawn(process, T, steps, 1 << 13, "sobol", seed=4).values[:, -1].numpy()
        # 8,192 Sobol points of up to nine coordinates: measured below a fifth of these bounds; plain ones need 1/√8192
        assert abs(values.mean() - mean) < 2e-3 * math.sqrt(variance)
        assert abs(values.var() - variance) < 3e-2 * variance

    def test_plain_draws_follow_the_same_law(self, process, steps):
        mean, variance = MOMENTS[process]
        values = Paths.drawn(process, T, steps, 4000, "plain", seed=1).values[:, -1].numpy()
        assert abs(values.mean() - mean) < 4 * math.sqrt(variance / 4000)
        one, several = (Paths.drawn(process, T, n, 4000, "plain", seed=n).values[:, -1] for n in (steps, steps + 2))
        # the law at the end does not depend on the number of steps
        assert stats.ks_2samp(one.numpy(), several.numpy()).pvalue > 1e-3


def test_a_rate_that_cannot_be_negative_is_not():
    rough = CoxIngersollRoss(mean=0.1, rate=0.5, volatility=1.5)
    values = Paths.drawn(rough, 2.0, 32, 64, "sobol").values
    assert bool((values >= 0).all()) and bool(values.isfinite().all()) and float(values.min()) < 1e-4


def test_mean_discount_is_vasicek_s_bond_price():
    # Vasicek, J. Financ. Econ. 5 (1977) 177, eq. 27, with a vanishing price of risk
    b = (1 - math.exp(-OU.rate * T)) / OU.rate
    level = OU.mean - OU.volatility**2 / (2 * OU.rate**2)
    price = math.exp(level * (b - T) - OU.volatility**2 * b**2 / (4 * OU.rate) - OU.first * b)
    paths = Paths.drawn(OU, T, 64, 1 << 12, "sobol", seed=2)
    mean = torch.exp(-paths.integral(torch.full((len(paths),), T, dtype=torch.float64))).mean()
    # straight lines of 64 steps change the variance of the integral by about 1/64²
    assert abs(float(mean) - price) < 3e-4 * price


def test_sobol_draws_are_even_and_depend_on_their_seed():
    numbers = uniforms("sobol", 64, 5, 2, seed=3)
    assert numbers.shape == (64, 5, 2)
    for coordinate in numbers.reshape(64, 10).T:
        assert sorted(np.floor(64 * coordinate).astype(int)) == list(range(64))
    assert not np.array_equal(numbers, uniforms("sobol", 64, 5, 2, seed=4))
    assert np.array_equal(numbers[:50], uniforms("sobol", 50, 5, 2, seed=3))
    with pytest.raises(ConfigurationError, match="at most 21201"):
        uniforms("sobol", 2, 30_000, 1, seed=0)


def test_between_its_times_a_path_is_a_straight_line_and_its_integral_exact():
    times, values = torch.tensor([0.0, 0.5, 2.0]).double(), torch.tensor([[1.0, 3, 0], [0, 0, 6]]).double()
    paths = Paths(times, values)
    t = torch.tensor([0.0, 0.25, 0.5, 1.25, 2.0, 9.0]).double().repeat(2)
    assert paths.at(t).tolist() == [1, 2, 3, 1.5, 0, 0, 0, 0, 0, 3, 6, 6]
    assert paths.integral(t).tolist() == [0, 0.375, 1, 2.6875, 3.25, 3.25, 0, 0, 0, 1.125, 4.5, 4.5]
    assert paths.member(1).at(t[:6]).tolist() == [0, 0, 0, 3, 6, 6]
    # the same tensor is looked up once, another one anew
    assert paths.at(t) is paths.at(t) and paths.at(t + 0.25)[0] == 2


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: OrnsteinUhlenbeck(rate=0.0), "rate is positive"),
        (lambda: CoxIngersollRoss(volatility=-1.0), "volatility is positive"),
        (lambda: CoxIngersollRoss(start=-0.1), "start is not negative"),
        (lambda: GeometricBrownianMotion(start=0.0), "start is positive"),
        (lambda: JumpDiffusion(intensity=0.0, jump_spread=-1.0), "intensity is positive, not 0.0; spread"),
    ],
)
def test_impossible_parameters_are_named(make, words):
    with pytest.raises(ConfigurationError, match=words):
        make()
