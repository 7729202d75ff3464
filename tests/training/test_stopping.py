"""A stage stops at its target, at a plateau or when its time is over, and a resume remembers what was seen."""

import math

import pytest
from pydantic import ValidationError

from training.stopping import StopRule, StopSettings


def first_stop(rule, losses, seconds_per_step=1.0):
    for step, loss in enumerate(losses, start=1):
        reason = rule.check(step, loss, step * seconds_per_step)
        if reason is not None:
            return step, reason
    return None


def test_without_rules_nothing_stops():
    assert first_stop(StopRule(StopSettings()), [1.0] * 1000) is None


def test_the_target_is_reached_at_or_below_it():
    rule = StopRule(StopSettings(target=1e-3))
    assert first_stop(rule, [1.0, 1.1e-3, 1e-3]) == (3, "the loss 0.001 has reached its target 0.001")


@pytest.mark.parametrize("fall, stops", [(0.9985, None), (0.9995, 6)])
def test_a_plateau_is_a_fall_too_small_over_its_patience(fall, stops):
    """0.9985⁵ lies below the factor 0.995 and 0.9995⁵ above it."""
    rule = StopRule(StopSettings(plateau_patience=5, plateau_factor=0.995))
    stop = first_stop(rule, [fall**step for step in range(100)])
    assert (stop and stop[0]) == stops
    if stop:
        assert stop[1] == "the loss has not fallen below 0.995 × 1 in 5 steps"


def test_steps_are_counted_and_not_checks():
    rule = StopRule(StopSettings(plateau_patience=100))
    assert rule.check(0, 1.0, 0.0) is None
    assert rule.check(99, 1.0, 0.0) is None
    assert rule.check(101, 1.0, 0.0) is not None


def test_a_loss_without_a_number_is_no_progress_and_no_target():
    rule = StopRule(StopSettings(plateau_patience=3, target=1.0))
    assert first_stop(rule, [math.nan] * 10)[0] == 4
    rule = StopRule(StopSettings(plateau_patience=3))
    assert first_stop(rule, [math.inf, math.nan, 5.0, 5.0, 5.0, 5.0])[0] == 6


def test_the_time_is_that_of_all_processes():
    rule = StopRule(StopSettings(minutes=0.5))
    assert rule.check(1, 1.0, 29.9) is None
    assert rule.check(2, 1.0, 30.0) == "its 0.5 minutes are over"


@pytest.mark.parametrize("at", [1, 4, 9])
def test_a_resumed_rule_stops_where_an_uninterrupted_one_does(at):
    settings = StopSettings(plateau_patience=7)
    losses = [1.0, 0.5, 0.49] + [0.489] * 20
    whole = first_stop(StopRule(settings), losses)
    first, second = StopRule(settings), StopRule(settings)
    for step in range(at):
        first.check(step + 1, losses[step], 0.0)
    second.load_state_dict(first.state_dict())
    rest = [(step + 1, second.check(step + 1, losses[step], 0.0)) for step in range(at, len(losses))]
    assert next((step, reason) for step, reason in rest if reason) == whole


@pytest.mark.parametrize(
    "wrong", [{"target": 0.0}, {"plateau_patience": 0}, {"plateau_factor": 1.0}, {"minutes": -1.0}, {"targt": 1.0}]
)
def test_wrong_settings_are_named(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        StopSettings(**wrong)
