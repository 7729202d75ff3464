"""Schedules that follow an observed value fall when it stalls or shrinks, and a resume remembers what they saw."""

import io
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.configuration import instantiate
from training.schedules import Cosine, Cyclical, GradientNorm, Plateau, StepSchedule
from training.stages import SCHEDULES

VALUES = [1.0, 0.5, 0.5, 0.7, 0.5, 0.49, 0.5, 0.5, 0.5, 0.5, 0.5, 0.1, 0.1, 0.1, 0.1, 0.1, 0.09, 0.09, 0.09, 0.09]
MAKERS = [lambda: Plateau(patience=3, warmup_steps=2), lambda: GradientNorm(decay=0.5), lambda: Plateau(0.1, 1)]


class TestCyclical:
    def test_is_a_row_of_triangles_with_falling_peaks(self):
        schedule = Cyclical(cycles=2, lowest=0.1, decay=0.5)
        factors = [schedule.factor(step, 8) for step in range(9)]
        assert factors == pytest.approx([0.1, 0.55, 1.0, 0.55, 0.1, 0.3, 0.5, 0.3, 0.1])

    @given(step=st.integers(0, 999), total=st.integers(1, 1000), cycles=st.integers(1, 20))
    def test_stays_between_its_ends(self, step, total, cycles):
        assert 0.05 - 1e-15 <= Cyclical(cycles, lowest=0.05).factor(step, total) <= 1 + 1e-15


class TestPlateau:
    def test_falls_after_its_patience_and_not_before(self):
        schedule = Plateau(factor=0.5, patience=3, threshold=0.01)
        seen = []
        for value in [1.0, 0.995, 0.995, 0.995, 0.5, 0.5, 0.5, 0.5]:
            schedule.observe(value)
            seen.append(schedule.factor(5, 10))
        assert seen == [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25]

    def test_never_falls_below_its_end_and_counts_missing_numbers_as_no_progress(self):
        schedule = Plateau(factor=0.1, patience=1, final=0.05)
        for _ in range(10):
            schedule.observe(math.nan)
        assert schedule.factor(0, 10) == 0.05

    def test_warms_up_like_any_other(self):
        assert Plateau(warmup_steps=3).factor(0, 100) == pytest.approx(0.25)


class TestGradientNorm:
    def test_follows_the_power_of_the_mean_norm(self):
        schedule = GradientNorm(power=0.5, decay=0.0, final=0.01)
        assert schedule.factor(0, 10) == 1.0
        for norm, expected in [(4.0, 1.0), (1.0, 0.5), (0.04, 0.1), (1e-9, 0.01), (16.0, 1.0), (4.0, 0.5)]:
            schedule.observe(norm)
            assert schedule.factor(0, 10) == pytest.approx(expected)

    def test_the_mean_does_not_start_from_zero_and_skips_missing_numbers(self):
        schedule = GradientNorm(power=1.0, decay=0.9)
        schedule.observe(8.0)
        schedule.observe(math.nan)
        assert schedule.factor(0, 10) == pytest.approx(1.0)
        schedule.observe(0.0)
        assert schedule.factor(0, 10) == pytest.approx(0.9 * 0.1 / (0.9 * 0.1 + 0.1))


def rates(make, restart_at=None):
    def build():
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.3)
        return optimizer, StepSchedule(optimizer, make(), len(VALUES))

    optimizer, scheduler = build()
    seen = []
    for step, value in enumerate(VALUES):
        if step == restart_at:
            file = io.BytesIO()
            torch.save([optimizer.state_dict(), scheduler.state_dict()], file)
            file.seek(0)
            saved = torch.load(file, weights_only=True)
            optimizer, scheduler = build()
            optimizer.load_state_dict(saved[0])
            scheduler.load_state_dict(saved[1])
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.observe(value)
        scheduler.step()
    return seen


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("restart_at", [1, 9, 17])
def test_continues_from_its_state_as_if_never_stopped(make, restart_at):
    assert len(set(rates(make))) > 2, "the rate has to move for this to say anything"
    assert rates(make) == rates(make, restart_at)


def test_a_scheduler_says_what_it_wants_to_see():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.3)
    assert StepSchedule(optimizer, Plateau(observes="relative_l2"), 10).observes == "relative_l2"
    assert StepSchedule(optimizer, GradientNorm(), 10).observes == "gradient_norm"
    plain = StepSchedule(optimizer, Cosine(), 10)
    assert plain.observes is None
    plain.observe(1.0)
    assert plain.get_last_lr() == [0.3]


@pytest.mark.parametrize("name", ["Cyclical", "Plateau", "GradientNorm"])
def test_is_built_by_name(name):
    assert instantiate({"_target_": f"training.schedules.{name}"}, SCHEDULES).factor(0, 10) > 0


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Cyclical(cycles=0),
        lambda: Cyclical(lowest=0.5, decay=0.5),
        lambda: Cyclical(decay=2.0),
        lambda: Plateau(factor=1.0),
        lambda: Plateau(patience=0),
        lambda: Plateau(threshold=1.0),
        lambda: GradientNorm(power=0.0),
        lambda: GradientNorm(decay=1.0),
    ],
)
def test_wrong_arguments_are_named(wrong):
    with pytest.raises(ValueError, match=r"cycles|lowest|decay|factor|patience|threshold|power"):
        wrong()
