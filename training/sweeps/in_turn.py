"""Makes runs one after another in this process, which has nothing to start and nothing to send."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from training.errors import Interrupted
from training.sweeps.job import Job, Result, make_run
from training.sweeps.plan import PlannedRun
from training.sweeps.records import MEANINGS, Attempt, Seconds, date_and_time


@dataclass
class InTurn:
    """One run after another; it has the same ``run`` as a `training.sweeps.pool.Pool`.

    Attributes:
        halves: module prefixes of the code that a configuration may name.
        stopping: whether to stop, asked between two runs.
        count: how often a run was tried.
        function: makes a run.
    """

    halves: tuple[str, ...]
    stopping: Callable[[], bool]
    count: Callable[[str], int]
    function: Callable[[Job], Result] = make_run
    startup_seconds: list[float] = field(default_factory=list)

    def run(self, next_run: Callable[[], PlannedRun | None], on_attempt: Callable[[Attempt, bool], None]) -> None:
        """Make all runs.

        Args:
            next_run: gives the next run; None when there are no more.
            on_attempt: called with every attempt, and that the run will not be repeated.

        Raises:
            Interrupted: if this process was asked to stop; the run has saved its state.
        """
        # what is loaded stays; the collection after every run need not look at it
        gc.freeze()
        try:
            self._make_all(next_run, on_attempt)
        finally:
            gc.unfreeze()

    def _make_all(self, next_run: Callable[[], PlannedRun | None], on_attempt: Callable[[Attempt, bool], None]) -> None:
        while (run := next_run()) is not None:
            start, began = date_and_time(), time.monotonic()
            result = self.function(Job(run.config, self.halves, log=None))
            seconds = result.ended - result.began
            around = time.monotonic() - began - seconds
            outcome = MEANINGS.get(result.exit_code, "failed")
            attempt = Attempt.of(
                run,
                self.count(run.id) + 1,
                outcome,
                start,
                Seconds(0.0, around, seconds),
                exit_code=result.exit_code,
                signal=None,
                worker=0,
                cores=tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else (),
                device=None,
            )
            on_attempt(attempt, False)
            if outcome == "interrupted" or self.stopping():
                raise Interrupted("The sweep is stopped; the run has saved its state. The same command goes on.")
