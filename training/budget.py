"""A stage's wall-clock budget, turned once into a number of steps."""

from __future__ import annotations

import statistics
import time

WARM_STEPS = 10
"""Steps at the start that are not measured: caches fill and libraries load."""

MEASURED_STEPS = 50
"""Steps whose median decides."""

VALIDATION_SHARE = 0.5
"""Time of a validation batch in units of a training step: the forward half of the work."""


class TimeBudget:
    """Measures the first steps of a stage and says how many fit into its time.

    Args:
        seconds: the time the stage may take, validation included.
        spent: seconds used by earlier processes.
        validation_batches: batches of one validation.
        validate_every: steps between validations.
        accumulate: micro-batches per step.
    """

    def __init__(
        self, seconds: float, spent: float, validation_batches: int, validate_every: int, accumulate: int
    ) -> None:
        self.seconds = seconds
        self.spent = spent
        self._overhead = VALIDATION_SHARE * validation_batches / (validate_every * accumulate)
        self._start = time.monotonic()
        self._previous: float | None = None
        self._times: list[float] = []

    @property
    def used(self) -> float:
        """Seconds of all processes so far."""
        return self.spent + time.monotonic() - self._start

    def pause(self) -> None:
        """The next step follows something that is no step, such as a validation."""
        self._previous = None

    def steps_that_fit(self, steps_done: int) -> int | None:
        """Call after each step; the whole number of steps of the stage, once enough of them are measured."""
        now = time.monotonic()
        if self._previous is not None:
            self._times.append(now - self._previous)
        self._previous = now
        if len(self._times) < WARM_STEPS + MEASURED_STEPS:
            return None
        step = statistics.median(self._times[WARM_STEPS:]) * (1 + self._overhead)
        return steps_done + max(int((self.seconds - self.used) / step), 1)
