"""A step along a descent direction that satisfies the strong Wolfe conditions, or the reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import torch

LONGEST_GROWTH = 10.0
SHORTEST_GROWTH = 1.25
"""While no minimum is bracketed, the next trial is this many times farther out."""

MARGIN = 0.1
"""Share of the bracket at either end in which no trial is placed: both ends would keep too much of it."""


VANISHING = 1e-100
"""A step that no parameter can feel, whatever the length of the direction."""


class Reason(StrEnum):
    """Why a search ended."""

    WOLFE = "the strong Wolfe conditions hold"
    APPROXIMATE = "the slope conditions hold, and the value changes by less than its rounding error"
    ROUNDING = "the bracket has shrunk to rounding level"
    EVALUATIONS = "all evaluations are used up"
    NOT_FINITE = "no finite value was found"
    NO_DESCENT = "the direction does not lead downhill"


@dataclass(frozen=True)
class Trial:
    """A point on the line.

    Attributes:
        step: distance from the start in units of the direction.
        value: of the function.
        slope: derivative of the value with respect to the step.
        content: what the caller wants back with the chosen point, such as the gradient.
    """

    step: float
    value: float
    slope: float
    content: Any = field(default=None, compare=False)

    @property
    def finite(self) -> bool:
        return math.isfinite(self.value) and math.isfinite(self.slope)


@dataclass(frozen=True)
class Found:
    """The end of a search.

    Attributes:
        trial: the chosen point; the start itself if nothing lower was found.
        evaluations: of the function.
        reason: why the search ended.
    """

    trial: Trial
    evaluations: int
    reason: Reason

    @property
    def moved(self) -> bool:
        return self.trial.step > 0


@dataclass(frozen=True)
class WolfeConditions:
    """``f(α) ≤ f(0) + c1 α f'(0)`` and ``|f'(α)| ≤ c2 |f'(0)|``, and what to do where rounding hides them.

    Where ``f(α)`` and ``f(0)`` differ by less than their rounding error, the first condition is replaced by
    ``f'(α) ≤ (2 c1 − 1) f'(0)``, which says the same of a parabola and needs slopes only.

    Args:
        c1: share of the linear decrease that is demanded, positive and below ``c2``.
        c2: share of the slope that may remain, below 1.
        noise: relative rounding error of the value. A residual that is a small difference of terms of order one has
            far more than the last bit of the type.

    Raises:
        ValueError: unless ``0 < c1 < c2 < 1`` and ``0 <= noise < 1``.

    Source: W. W. Hager, H. Zhang, "A new conjugate gradient method with guaranteed descent", SIAM J. Optim. 16 (2005),
    for the approximate conditions.
    """

    c1: float = 1e-4
    c2: float = 0.9
    noise: float = 1e-10

    def __post_init__(self) -> None:
        if not 0 < self.c1 < self.c2 < 1:
            raise ValueError(f"The Wolfe conditions need 0 < c1 < c2 < 1; got c1={self.c1}, c2={self.c2}.")
        if not 0 <= self.noise < 1:
            raise ValueError(f"noise={self.noise} is the relative rounding error of the loss, from 0 to below 1.")

    def decreases(self, start: Trial, trial: Trial) -> bool:
        """Whether the value has fallen enough."""
        return trial.value <= start.value + self.c1 * trial.step * start.slope

    def hold(self, start: Trial, trial: Trial) -> Reason | None:
        """The conditions that this point satisfies, if any."""
        if not trial.finite or abs(trial.slope) > self.c2 * abs(start.slope):
            return None
        if self.decreases(start, trial):
            return Reason.WOLFE
        level = abs(trial.value - start.value) <= self.noise * abs(start.value)
        return Reason.APPROXIMATE if level and trial.slope <= (2 * self.c1 - 1) * start.slope else None


def strong_wolfe(
    evaluate: Callable[[float], Trial],
    start: Trial,
    first_step: float,
    conditions: WolfeConditions | None = None,
    max_evaluations: int = 25,
    smallest_step: float = 0.0,
) -> Found:
    """Bracket a minimum along the line and shrink the bracket until the strong Wolfe conditions hold.

    Args:
        evaluate: the function at a step.
        start: the point with step 0, already evaluated.
        first_step: the first step to try, positive.
        conditions: the constants.
        max_evaluations: after which the lowest point so far is returned.
        smallest_step: distances below it cannot be told apart in the parameters.

    Returns:
        A point that satisfies the conditions (`Reason.WOLFE`, `Reason.APPROXIMATE`), else the lowest point below the
        start, else the start.

    Source: J. Nocedal, S. Wright, "Numerical Optimization", 2nd ed., algorithms 3.5 and 3.6, with cubic interpolation.
    """
    if not (start.finite and start.slope < 0):
        return Found(start, 0, Reason.NO_DESCENT if start.finite else Reason.NOT_FINITE)
    return _Search(evaluate, start, conditions or WolfeConditions(), max_evaluations, smallest_step).run(first_step)


class _Search:
    """The state of one search."""

    def __init__(
        self,
        evaluate: Callable[[float], Trial],
        start: Trial,
        conditions: WolfeConditions,
        max_evaluations: int,
        smallest_step: float,
    ) -> None:
        self.evaluate = evaluate
        self.start = start
        self.conditions = conditions
        self.max_evaluations = max_evaluations
        self.smallest_step = smallest_step
        self.noise = conditions.noise * abs(start.value)
        self.evaluations = 0
        self.best = start

    def run(self, step: float) -> Found:
        """Walk outwards until a minimum is bracketed."""
        previous, beyond = self.start, math.inf
        while self.evaluations < self.max_evaluations:
            trial = self.try_step(step)
            if not trial.finite:
                beyond = step
                step = previous.step + MARGIN * (step - previous.step)
                if self.collapsed(previous.step, beyond):
                    return self.give_up(Reason.ROUNDING if self.best is not self.start else Reason.NOT_FINITE)
                continue
            reason = self.conditions.hold(self.start, trial)
            if reason is not None:
                return Found(trial, self.evaluations, reason)
            if self.is_too_far(trial, previous):
                return self.zoom(previous, trial)
            if trial.slope >= 0:
                return self.zoom(trial, previous)
            step = self.farther(previous, trial, beyond)
            if self.collapsed(trial.step, beyond):
                return self.give_up(Reason.ROUNDING)
            previous = trial
        return self.give_up(Reason.EVALUATIONS if self.best.finite else Reason.NOT_FINITE)

    def zoom(self, low: Trial, high: Trial) -> Found:
        """Shrink a bracket whose lower end is ``low`` until the conditions hold inside it."""
        widths = [math.inf, math.inf]
        while self.evaluations < self.max_evaluations:
            width = abs(high.step - low.step)
            if self.collapsed(low.step, high.step):
                return self.give_up(Reason.ROUNDING)
            # two trials that left two thirds of the bracket: halve it
            halve = width > 2 / 3 * widths[-2]
            widths.append(width)
            trial = self.try_step(self.between(low, high, halve))
            reason = self.conditions.hold(self.start, trial)
            if reason is not None:
                return Found(trial, self.evaluations, reason)
            if not trial.finite or self.is_too_far(trial, low):
                high = trial
                continue
            if trial.slope * (high.step - low.step) >= 0:
                high = low
            low = trial
        return self.give_up(Reason.EVALUATIONS)

    def try_step(self, step: float) -> Trial:
        trial = self.evaluate(step)
        self.evaluations += 1
        if trial.finite and trial.value < self.best.value:
            self.best = trial
        return trial

    def is_too_far(self, trial: Trial, low: Trial) -> bool:
        """Whether a minimum lies between ``low`` and the trial because of the values; slopes decide between equals."""
        if abs(trial.value - low.value) <= self.noise and abs(trial.value - self.start.value) <= self.noise:
            return False
        return not self.conditions.decreases(self.start, trial) or (low.step > 0 and trial.value >= low.value)

    def between(self, low: Trial, high: Trial, halve: bool) -> float:
        """A step inside the bracket."""
        width = high.step - low.step
        step = None if halve or not high.finite else _minimum(low, high, self.noise)
        share = 0.5 if step is None else (step - low.step) / width
        return low.step + min(max(share, MARGIN), 1 - MARGIN) * width

    def farther(self, previous: Trial, trial: Trial, beyond: float) -> float:
        """A step behind the trial, but not as far as a point without a finite value."""
        step = _minimum(previous, trial, self.noise)
        longest, shortest = LONGEST_GROWTH * trial.step, SHORTEST_GROWTH * trial.step
        step = longest if step is None or step <= trial.step else min(max(step, shortest), longest)
        return min(step, (trial.step + beyond) / 2)

    def collapsed(self, one: float, other: float) -> bool:
        if math.isinf(one) or math.isinf(other):
            return False
        return abs(other - one) <= max(
            VANISHING, self.smallest_step, 4 * torch.finfo(torch.float64).eps * max(abs(one), abs(other))
        )

    def give_up(self, reason: Reason) -> Found:
        return Found(self.best, self.evaluations, reason)


def _minimum(one: Trial, other: Trial, noise: float) -> float | None:
    """Minimum of the cubic through two points with their slopes; of the slopes alone where the values are equal."""
    width = other.step - one.step
    if abs(other.value - one.value) <= noise:
        bend = (other.slope - one.slope) / width
        return one.step - one.slope / bend if bend > 0 else None
    mean = one.slope + other.slope - 3 * (other.value - one.value) / width
    square = mean * mean - one.slope * other.slope
    if not (math.isfinite(square) and square >= 0):
        return None
    root = math.copysign(math.sqrt(square), width)
    divisor = other.slope - one.slope + 2 * root
    if divisor == 0:
        return None
    step = other.step - width * (other.slope + root - mean) / divisor
    return step if math.isfinite(step) else None
