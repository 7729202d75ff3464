"""What a sweep cost beside its runs, and whether making several at a time paid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from training.progress import duration
from training.sweeps.records import Attempt


@dataclass(frozen=True)
class Costs:
    """Measured times of one session, in seconds.

    Attributes:
        runs: attempts that were made.
        workers: at the same time, not more than runs.
        startup: until a worker can run: of the slowest, since all start together; where there was no worker, what this
            process took to load the same.
        transfer: of all runs together, to the workers and back.
        computing: of all runs together.
        wall: from the start of the first worker to the end of the last run.
    """

    runs: int
    workers: int
    startup: float
    transfer: float
    computing: float
    wall: float

    @classmethod
    def of(cls, attempts: Sequence[Attempt], workers: int, startup: float, wall: float) -> Costs:
        """From the records of a session."""
        return cls(
            runs=len(attempts),
            workers=max(1, min(workers, len(attempts))),
            startup=startup,
            transfer=sum(attempt.transfer_seconds for attempt in attempts),
            computing=sum(attempt.run_seconds for attempt in attempts),
            wall=wall,
        )

    @property
    def run(self) -> float:
        """Mean time of a run, T."""
        return self.computing / self.runs

    @property
    def overhead(self) -> float:
        """What workers cost beside computing, O: start-up and transfer."""
        return self.startup + self.transfer

    @property
    def efficiency(self) -> float:
        """Share of the workers' time in which they computed."""
        return self.computing / (self.workers * self.wall)

    def break_even(self, workers: int) -> float:
        """Time of a run above which several workers are faster than one process: ``T > O/(N (1 − 1/W))``."""
        return self.overhead / (self.runs * (1 - 1 / workers))

    def estimate(self, workers: int) -> float:
        """Time of the same runs on several workers, if a run takes as long there."""
        return self.overhead + self.computing / workers

    def to_dict(self) -> dict[str, float]:
        """For ``table.json``, units in the names."""
        known: dict[str, float] = {
            "runs": self.runs,
            "workers": self.workers,
            "startup_seconds": self.startup,
            "transfer_seconds": self.transfer,
            "run_seconds": self.run,
            "wall_seconds": self.wall,
            "worker_efficiency": self.efficiency,
        }
        if self.runs > 1:
            known["break_even_run_seconds"] = self.break_even(max(self.workers, 2))
        return known


def advice(costs: Costs, cores: int) -> list[str]:
    """What was measured, and whether another number of workers would be faster, as sentences.

    Args:
        costs: of a session with at least one run.
        cores: this process may use.
    """
    return _of_workers(costs) if costs.workers > 1 else _of_one(costs, cores)


def _of_workers(costs: Costs) -> list[str]:
    bound = _seconds(costs.break_even(costs.workers))
    alone = _seconds(costs.computing)
    if costs.wall < costs.computing:
        verdict = f"They paid: one after another the runs would take about {alone}, if each took as long alone."
    else:
        verdict = f"They did not pay: one after another (sweep.workers=1) the runs would take about {alone}."
    return [
        f"{_runs(costs.runs)} of {_seconds(costs.run)} on {costs.workers} workers: {_seconds(costs.wall)}. "
        f"Start-up took {_seconds(costs.startup)}, transfer {_seconds(costs.transfer)}; the workers computed for "
        f"{100 * costs.efficiency:.0f} % of the time.",
        f"{costs.workers} workers pay for runs above {bound}. {verdict}",
    ]


def _of_one(costs: Costs, cores: int) -> list[str]:
    lines = [f"{_runs(costs.runs)} of {_seconds(costs.run)}, one after another: {_seconds(costs.wall)}."]
    workers = min(cores, costs.runs)
    if workers > 1:
        bound = _seconds(costs.break_even(workers))
        if costs.run > costs.break_even(workers):
            estimate = _seconds(costs.estimate(workers))
            verdict = f"sweep.workers={workers} would take about {estimate}, if a run does as well with fewer cores."
        else:
            verdict = "One after another is right."
        lines.append(
            f"A worker starts in {_seconds(costs.startup)}, so {workers} pay for runs above {bound}. {verdict}"
        )
    return lines


def _seconds(value: float) -> str:
    return f"{value:.2g} s" if value < 1 else f"{value:.1f} s" if value < 60 else duration(value)


def _runs(count: int) -> str:
    return f"{count} run" + ("" if count == 1 else "s")
