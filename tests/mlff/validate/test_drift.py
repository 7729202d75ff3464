"""The drift's standard error is calibrated: on correlated noise it is what repeated runs scatter by."""

import numpy as np
import pytest
from scipy.signal import lfilter

from mlff.validate.drift import fit_drift

TIME = np.arange(1, 2001) * 0.0025


def correlated_noise(random, correlation_steps):
    """AR(1) noise of unit variance that forgets over the given number of steps."""
    memory = np.exp(-1 / correlation_steps)
    kicks = np.sqrt(1 - memory**2) * random.standard_normal(len(TIME) + 1000)
    return lfilter([1.0], [1.0, -memory], kicks)[1000:]


@pytest.mark.parametrize("correlation_steps", [1, 10, 40])
def test_standard_error_is_the_scatter_of_repeated_runs(correlation_steps):
    random = np.random.default_rng(correlation_steps)
    fits = [fit_drift(TIME, 0.3 * TIME + correlated_noise(random, correlation_steps)) for _ in range(400)]
    scatter = np.std([fit.slope for fit in fits])
    claimed = np.sqrt(np.mean([fit.standard_error**2 for fit in fits]))
    # the largest of three noisy estimates is on the safe side by up to a third; at 40 steps the longest blocks hold
    # only five correlation times, and the error is short by some 6 %
    assert 0.9 < claimed / scatter < 1.35
    # 400 runs give the mean slope to a twentieth of one run's scatter
    assert abs(np.mean([fit.slope for fit in fits]) - 0.3) < 4 * scatter / 20


def test_textbook_error_would_be_far_too_small_on_correlated_noise():
    random = np.random.default_rng(0)
    energy = correlated_noise(random, 40)
    textbook = np.sqrt(np.polyfit(TIME, energy, 1, cov=True)[1][0, 0])
    assert fit_drift(TIME, energy).standard_error > 4 * textbook


def test_an_exact_line_is_found_with_all_its_figures_even_far_from_zero():
    drift = fit_drift(TIME, -1e6 + 0.02 * TIME)
    # the energy has 1e-10 of rounding at 1e6, over 5 ps
    assert drift.slope == pytest.approx(0.02, abs=1e-9)
    assert drift.standard_error < 1e-9 and drift.fluctuation < 1e-9
    assert drift.largest_excursion == pytest.approx(0.02 * (TIME[-1] - TIME[0]), abs=1e-9)


def test_too_short_a_series_is_refused():
    with pytest.raises(ValueError, match="at least 20 samples; got 19"):
        fit_drift(TIME[:19], TIME[:19])
