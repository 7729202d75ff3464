"""Schedules are pure functions of the step: they rise, stay between their ends, and survive a restart."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.schedules import Constant, Cosine, Cyclical, Exponential, Linear, OneCycle, StepSchedule

EVERY = [
    Constant(5),
    Cosine(5, final=0.1),
    Linear(5, final=0.1),
    Exponential(5, final=0.1),
    OneCycle(final=0.1),
    Cyclical(lowest=0.1),
]


@pytest.mark.parametrize("schedule", EVERY, ids=lambda s: type(s).__name__)
class TestEverySchedule:
    @given(step=st.integers(0, 999), total=st.integers(1, 1000))
    def test_is_positive_and_at_most_one(self, schedule, step, total):
        assert 0 < schedule.factor(step, total) <= 1 + 1e-15

    def test_ends_at_its_final_factor(self, schedule):
        final = 1.0 if isinstance(schedule, Constant) else 0.1
        assert schedule.factor(1000, 1000) == pytest.approx(final, rel=1e-12)

    def test_continues_from_its_state_as_if_never_stopped(self, schedule):
        whole, restarted = rates(schedule, 40), rates(schedule, 40, restart_at=17)
        assert whole == restarted


def rates(schedule, steps, restart_at=None):
    def make():
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.3)
        return optimizer, StepSchedule(optimizer, schedule, steps)

    optimizer, scheduler = make()
    seen = []
    for step in range(steps):
        if step == restart_at:
            states = optimizer.state_dict(), scheduler.state_dict()
            optimizer, scheduler = make()
            optimizer.load_state_dict(states[0])
            scheduler.load_state_dict(states[1])
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def test_warm_up_rises_in_equal_steps_to_the_full_rate():
    factors = [Cosine(warmup_steps=4).factor(step, 100) for step in range(5)]
    assert factors == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_shapes_are_what_their_formulas_say():
    assert Cosine(final=0.2).factor(25, 100) == pytest.approx(0.2 + 0.8 * (1 + math.cos(math.pi / 4)) / 2)
    assert Linear(final=0.2).factor(25, 100) == pytest.approx(0.8)
    assert Exponential(final=0.01).factor(50, 100) == pytest.approx(0.1)
    assert OneCycle(peak=0.3).factor(30, 100) == pytest.approx(1.0)


def test_a_shorter_stage_bends_the_rest_of_the_schedule():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    scheduler = StepSchedule(optimizer, Linear(), 100)
    for _ in range(10):
        optimizer.step()
        scheduler.step()
    scheduler.total_steps = 20
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1 - 11 / 20)


@pytest.mark.parametrize(
    "wrong", [lambda: Cosine(final=2), lambda: Linear(-1), lambda: OneCycle(peak=0), lambda: Exponential(final=0)]
)
def test_wrong_arguments_are_named(wrong):
    with pytest.raises(ValueError, match=r"final|warmup_steps|peak"):
        wrong()
