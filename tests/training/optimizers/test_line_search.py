"""A line search ends at a point with the strong Wolfe conditions, or says why it could not."""

import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from training.optimizers.line_search import Reason, Trial, WolfeConditions, strong_wolfe


def search(function, slope, first_step=1.0, conditions=None, **arguments):
    """Search along a line; also gives all trials in order."""
    trials = []

    def evaluate(step):
        trial = Trial(step, function(step), slope(step), content=f"at {step}")
        trials.append(trial)
        return trial

    start = Trial(0.0, function(0.0), slope(0.0))
    found = strong_wolfe(evaluate, start, first_step, conditions, **arguments)
    assert found.evaluations == len(trials)
    return found, start, trials


@st.composite
def landscapes(draw):
    """A parabola with waves on it: bounded below, smooth, with many minima, at any scale and height."""
    number = st.floats(0.01, 10.0)
    curve, centre, wave, pitch, phase = draw(number), draw(number), draw(number), draw(number), draw(st.floats(0, 6.3))
    scale, height = 10.0 ** draw(st.integers(-12, 12)), draw(st.floats(-10, 10))

    def value(step):
        return scale * (curve * (step - centre) ** 2 + wave * math.sin(pitch * step + phase) + height)

    def slope(step):
        return scale * (2 * curve * (step - centre) + wave * pitch * math.cos(pitch * step + phase))

    return value, slope


@settings(max_examples=400, deadline=None)
@given(
    landscape=landscapes(),
    first_step=st.floats(1e-6, 1e4),
    c2=st.sampled_from([0.1, 0.5, 0.9]),
)
def test_the_strong_wolfe_conditions_hold_on_smooth_functions(landscape, first_step, c2):
    value, slope = landscape
    assume(slope(0.0) < -1e-3 * abs(value(0.0)))
    found, start, _ = search(value, slope, first_step, WolfeConditions(1e-4, c2, noise=0.0), max_evaluations=60)
    assert found.reason is Reason.WOLFE
    trial = found.trial
    assert trial.step > 0
    assert trial.value <= start.value + 1e-4 * trial.step * start.slope
    assert abs(trial.slope) <= c2 * abs(start.slope)
    assert trial.content == f"at {trial.step}" and trial.value == value(trial.step)


def test_the_minimum_of_a_parabola_is_found_in_two_evaluations():
    found, _, _ = search(lambda a: (a - 3) ** 2, lambda a: 2 * (a - 3), conditions=WolfeConditions(1e-4, 1e-3))
    assert found.trial.step == pytest.approx(3, rel=1e-12) and found.evaluations == 2


@pytest.mark.parametrize("first_step", [1.0, 5.0, 1e6])
def test_a_wall_of_nan_or_infinity_is_avoided(first_step):
    """The barrier −log(1 − a) − 3a is defined below 1 only, with its minimum at 2/3."""

    def value(step):
        return -math.log(1 - step) - 3 * step if step < 1 else math.nan

    def slope(step):
        return 1 / (1 - step) - 3 if step < 1 else math.inf

    found, _, _ = search(value, slope, first_step, WolfeConditions(1e-4, 0.1))
    assert found.reason is Reason.WOLFE and found.trial.step == pytest.approx(2 / 3, abs=0.1)


def test_a_function_that_is_nowhere_finite_ends_at_the_start():
    found, start, trials = search(lambda a: 1.0 if a == 0 else math.nan, lambda a: -1.0, max_evaluations=500)
    assert found.reason is Reason.NOT_FINITE and found.trial is start and not found.moved
    # each trial is ten times nearer until it is indistinguishable from zero
    assert len(trials) < 400


def test_a_slope_that_lies_ends_with_a_reason_and_not_in_a_loop():
    found, start, _ = search(lambda a: a, lambda a: -1.0, max_evaluations=1000, smallest_step=1e-12)
    assert found.reason is Reason.ROUNDING and found.trial is start
    assert found.evaluations < 60


def test_values_drowned_in_rounding_are_judged_by_their_slopes():
    """The parabola 1e9 + 1e-9 (a − 1)² is flat in float64; an error of ten last bits makes every trial look higher."""
    error = 10 * math.ulp(1e9)
    found, _, _ = search(
        lambda a: 1e9 + (error if a else 0.0), lambda a: 2e-9 * (a - 1), 0.5, WolfeConditions(1e-4, 0.1)
    )
    assert found.reason is Reason.APPROXIMATE and found.trial.step == pytest.approx(1, abs=0.1)


def test_a_real_increase_is_not_taken_for_rounding():
    found, start, _ = search(lambda a: 1 + a, lambda a: -0.5, smallest_step=1e-12, max_evaluations=100)
    assert found.trial is start


def test_a_spent_budget_returns_the_lowest_point():
    found, _, trials = search(lambda a: -a, lambda a: -1.0, max_evaluations=7)
    assert found.reason is Reason.EVALUATIONS and found.evaluations == 7
    assert found.trial == min(trials, key=lambda t: t.value) and found.moved


@pytest.mark.parametrize("slope", [0.0, 1.0, math.nan])
def test_a_direction_uphill_costs_no_evaluation(slope):
    found, start, trials = search(lambda a: a, lambda a: slope)
    assert found.trial is start and not trials
    assert found.reason is (Reason.NOT_FINITE if math.isnan(slope) else Reason.NO_DESCENT)


@pytest.mark.parametrize("wrong", [{"c1": 0.0}, {"c1": 0.95}, {"c2": 1.0}, {"noise": -1.0}])
def test_wrong_constants_are_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        WolfeConditions(**wrong)
