"""Makes runs on worker processes: ends those that take too long, repeats those whose process was killed."""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path

from training.engines import Answer
from training.errors import Interrupted, LimbeckError
from training.sweeps.job import Job, Result, make_run
from training.sweeps.plan import PlannedRun
from training.sweeps.records import MEANINGS, Attempt, Outcome, Seconds, date_and_time
from training.sweeps.workers import Place, Worker

CHECK_EVERY = 0.2
"""Seconds between two looks at deadlines and at whether to stop."""

GRACE_SECONDS = 30.0
"""How long runs may take to save themselves when the sweep is asked to stop."""


@dataclass
class _Task:
    run: PlannedRun
    lost: int = 0
    sent: float = 0.0
    start: str = ""


@dataclass
class _Lane:
    """A place, the worker there, and what it is doing."""

    place: Place
    worker: Worker
    task: _Task | None = None
    startup_told: bool = False
    false_starts: int = 0


@dataclass
class Pool:
    """Runs on worker processes.

    Attributes:
        places: one for each worker.
        modules: dotted names of what every run loads.
        halves: module prefixes of the code that a configuration may name.
        logs: folder for what runs print; None: where this process prints.
        timeout: seconds a run may take; None: any.
        retries: how often a run is repeated whose process was killed.
        stopping: called often; whether to stop.
        count: how often a run was tried in earlier sessions.
        function: what a worker does with a `Job`; gives a `Result`.
    """

    places: Sequence[Place]
    modules: Sequence[str]
    halves: tuple[str, ...]
    logs: Path | None
    timeout: float | None
    retries: int
    stopping: Callable[[], bool]
    count: Callable[[str], int]
    function: Callable[[Job], Result] = make_run
    startup_seconds: list[float] = field(default_factory=list)
    """Of every worker that got ready."""
    _exhausted: bool = False

    def run(self, next_run: Callable[[], PlannedRun | None], on_attempt: Callable[[Attempt, bool], None]) -> None:
        """Make all runs.

        Args:
            next_run: gives another run when a worker is free; None when there are no more.
            on_attempt: called with every attempt, and whether the run will be repeated.

        Raises:
            Interrupted: if this process was asked to stop; what was running is saved.
            LimbeckError: if workers cannot start.
        """
        again: deque[_Task] = deque()
        with ExitStack() as stack:
            lanes: list[_Lane] = []
            stack.callback(lambda: [lane.worker.stop() for lane in lanes])
            lanes += [_Lane(place, self._hire(place)) for place in self.places]
            while True:
                if self.stopping():
                    self._stop(lanes, on_attempt)
                for lane in lanes:
                    if lane.worker.ready is not None and lane.task is None:
                        self._give(lane, again, next_run)
                if self._exhausted and not again and not any(lane.task for lane in lanes):
                    return
                for lane in self._answering(lanes):
                    self._listen(lane, again, on_attempt)
                for lane in lanes:
                    if lane.task and self.timeout and time.monotonic() - lane.task.sent > self.timeout:
                        self._end(lane, again, on_attempt, "timeout")

    def _hire(self, place: Place) -> Worker:
        log = None if self.logs is None else self.logs / f"worker{place.number}.log"
        return Worker(place, self.modules, log)

    def _give(self, lane: _Lane, again: deque[_Task], next_run: Callable[[], PlannedRun | None]) -> None:
        if again:
            lane.task = again.popleft()
        else:
            run = None if self._exhausted else next_run()
            if run is None:
                self._exhausted = True
                return
            lane.task = _Task(run)
        lane.task.sent, lane.task.start = time.monotonic(), date_and_time()
        lane.worker.give(self.function, Job(lane.task.run.config, self.halves, self._log(lane.task.run)))

    def _log(self, run: PlannedRun) -> str | None:
        return None if self.logs is None else str(self.logs / f"{run.id}.log")

    def _answering(self, lanes: Sequence[_Lane]) -> list[_Lane]:
        by_connection = {
            lane.worker.connection: lane for lane in lanes if lane.task is not None or lane.worker.ready is None
        }
        return [by_connection[connection] for connection in wait(list(by_connection), CHECK_EVERY)]  # type: ignore[index]

    def _listen(self, lane: _Lane, again: deque[_Task], on_attempt: Callable[[Attempt, bool], None]) -> None:
        answer = lane.worker.answer()
        if lane.worker.ready is None:
            self._greet(lane, answer)
        elif answer is None:
            self._end(lane, again, on_attempt, "killed")
        else:
            self._finish(lane, answer, again, on_attempt)

    def _greet(self, lane: _Lane, answer: Answer | None) -> None:
        if answer is None:
            status = lane.worker.stop()
            lane.false_starts += 1
            if status >= 0 or lane.false_starts > self.retries:
                raise LimbeckError(
                    f"A worker process of the sweep cannot start: it {ending(status)}. What it printed is "
                    f"{'above' if self.logs is None else f'in {self.logs}'}."
                )
            lane.worker = self._hire(lane.place)
            return
        answer.result()
        lane.worker.ready = time.monotonic()
        self.startup_seconds.append(lane.worker.ready - lane.worker.started)

    def _finish(
        self, lane: _Lane, answer: Answer, again: deque[_Task], on_attempt: Callable[[Attempt, bool], None]
    ) -> None:
        task = lane.task
        assert task is not None
        result: Result = answer.result()
        transfer = (result.began - task.sent) + (time.monotonic() - result.ended)
        # a run that was stopped although nobody here asked for it was stopped by the machine's keeper
        outcome: Outcome = MEANINGS.get(result.exit_code, "failed")
        repeat = outcome == "interrupted" and not self.stopping() and self._may_repeat(task)
        self._tell(lane, outcome, result.exit_code, None, transfer, result.ended - result.began, repeat, on_attempt)
        if repeat:
            again.append(task)

    def _end(
        self,
        lane: _Lane,
        again: deque[_Task],
        on_attempt: Callable[[Attempt, bool], None],
        outcome: Outcome,
        replace: bool = True,
    ) -> None:
        """The worker is dead or has to die; put another in its place."""
        task = lane.task
        assert task is not None
        status = lane.worker.stop()
        seconds = time.monotonic() - task.sent
        name = signal.Signals(-status).name if status < 0 else None
        code = None if status < 0 else status
        if outcome == "killed" and status >= 0:
            # a library has ended the process; that is the run's own doing
            outcome = "failed"
        repeat = outcome == "killed" and self._may_repeat(task)
        self._tell(lane, outcome, code, name, 0.0, seconds, repeat, on_attempt)
        if repeat:
            again.append(task)
        if replace:
            lane.worker, lane.startup_told = self._hire(lane.place), False

    def _may_repeat(self, task: _Task) -> bool:
        task.lost += 1
        return task.lost <= self.retries

    def _tell(
        self,
        lane: _Lane,
        outcome: Outcome,
        exit_code: int | None,
        signal_name: str | None,
        transfer: float,
        seconds: float,
        repeat: bool,
        on_attempt: Callable[[Attempt, bool], None],
    ) -> None:
        """Make the record of an attempt; the lane is free afterwards."""
        task, worker = lane.task, lane.worker
        assert task is not None and worker.ready is not None
        lane.task = None
        startup = 0.0 if lane.startup_told else worker.ready - worker.started
        lane.startup_told = True
        attempt = Attempt.of(
            task.run,
            self.count(task.run.id) + 1,
            outcome,
            task.start,
            Seconds(startup, transfer, seconds),
            exit_code=exit_code,
            signal=signal_name,
            worker=lane.place.number,
            cores=lane.place.cores,
            device=lane.place.device,
            log=self._log(task.run),
        )
        on_attempt(attempt, repeat)

    def _stop(self, lanes: Sequence[_Lane], on_attempt: Callable[[Attempt, bool], None]) -> None:
        """Let what is running save itself, then raise."""
        nothing: deque[_Task] = deque()
        busy = [lane for lane in lanes if lane.task is not None]
        for lane in busy:
            lane.worker.ask_to_stop()
        deadline = time.monotonic() + GRACE_SECONDS
        while any(lane.task for lane in busy) and time.monotonic() < deadline:
            for lane in self._answering(busy):
                answer = lane.worker.answer()
                if answer is None:
                    self._end(lane, nothing, on_attempt, "interrupted", replace=False)
                else:
                    self._finish(lane, answer, nothing, on_attempt)
        for lane in busy:
            if lane.task is not None:
                self._end(lane, nothing, on_attempt, "interrupted", replace=False)
        raise Interrupted("The sweep is stopped; what was running has saved its state. The same command goes on.")


def fixed_source(runs: Sequence[PlannedRun]) -> Callable[[], PlannedRun | None]:
    """Runs one after another, as a pool asks for them."""
    queue: deque[PlannedRun] = deque(runs)
    return lambda: queue.popleft() if queue else None


def ending(status: int) -> str:
    """How a process ended, in words."""
    return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with exit code {status}"
