"""Time, memory and error from 1,000 to 100,000 points: how long until the relative L2 error is below 1 %.

    python benchmarks/scale_ladder.py [--problems burgers wave helmholtz] [--largest 100000] [--threads 2] [--quick]

Every rung of every problem is a process of its own: Gauss-Newton in float64 on points that follow the residual (for
Burgers' equation after 100 steps of Adam), until the error is 1 % or the time of the rung is over. Seconds are of
training; memory is the largest resident memory of the whole process, and what of it came on top of libraries, problem
and reference. Results go to ``benchmarks/results/scale_ladder.json``.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from peers import CLOCKS, Worker, table
from results_file import RESULTS, asked, keep

TARGET = 1e-2


@dataclass(frozen=True)
class Rung:
    """Points, and the seconds and MB in which the target is to be reached."""

    points: int
    seconds: float
    memory_MB: float


RUNGS = [Rung(1_000, 5, 512), Rung(10_000, 30, 2_000), Rung(50_000, 180, 8_000), Rung(100_000, 600, 16_000)]
COURSES = {
    "burgers": ["stages=adam_gauss_newton", "stages.adam.steps=100", "network=mlp", "network.width=16"],
    "wave": ["stages=gauss_newton", "network=waves", "network.frequencies=[4.0,10.0]"],
    "helmholtz": ["stages=gauss_newton", "network=waves", "network.frequencies=[5.0,10.0]"],
}
"""Stages and network of each problem."""
CHUNK = 3_000
"""Points whose derivatives by all weights are held at a time."""
COLUMNS = {
    "problem": "problem",
    "points": "points",
    "seconds_to_target": "s to 1 %",
    "seconds": "bar, s",
    "relative_l2": "error at the end",
    "ms_per_step": "ms per step",
    "peak_MB": "peak memory, MB",
    "memory_MB": "bar, MB",
    "above_MB": "of it above libraries, MB",
}


def measure(problem: str, rung: Rung, settings: argparse.Namespace) -> dict[str, Any]:
    """One training."""
    words = ["experiment=solve", f"problem={problem}", *COURSES[problem]]
    words += ["sampler@stages.gauss_newton.sampler=rad", "stages.gauss_newton.sampler.every=5"]
    words += ["stages.gauss_newton.sampler.first=5", f"stages.gauss_newton.chunk={CHUNK}"]
    words += [f"stages.gauss_newton.sampler.candidates={max(20_000, 2 * rung.points)}"]
    stages = ["gauss_newton", *(["adam"] if problem == "burgers" else [])]
    words += [f"stages.{stage}.sampler.n={rung.points}" for stage in stages]
    with Worker(sys.executable, "course_worker.py", threads=settings.threads) as worker:
        limit = rung.seconds if settings.seconds is None else settings.seconds
        request = {"words": words, "seconds": limit, "target": TARGET, "clock": settings.clock}
        answer = worker.ask(**request, threads=settings.threads)
    last = answer["moments"][-1]
    reached = last["relative_l2"] <= TARGET
    return {
        **asdict(rung),
        "problem": problem,
        "seconds_to_target": last["seconds"] if reached else None,
        "relative_l2": last["relative_l2"],
        "ms_per_step": answer["ms_per_step"].get("gauss_newton"),
        "peak_MB": answer["peak_MB"],
        "above_MB": answer["peak_MB"] - answer["ready_MB"],
        "answer": answer,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", nargs="+", choices=COURSES, default=list(COURSES))
    parser.add_argument("--largest", type=int, default=100_000, help="leave out rungs with more points")
    parser.add_argument("--seconds", type=float, help="for every rung, instead of its own")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: for a busy machine, one thread")
    parser.add_argument("--quick", action="store_true", help="two seconds of the first rung, to see that it works")
    parser.add_argument("--output", type=Path, default=RESULTS / "scale_ladder.json")
    settings = parser.parse_args()
    if settings.quick:
        settings.problems, settings.largest, settings.seconds = ["burgers"], 1_000, 2.0
    rungs = [rung for rung in RUNGS if rung.points <= settings.largest]
    rows = []
    for problem in settings.problems:
        for rung in rungs:
            rows.append(measure(problem, rung, settings))
            print(table(rows[-1:], COLUMNS), file=sys.stderr)
    if not settings.quick:
        keep(settings.output, **asked(settings), target=TARGET, rows=rows)
    print(table(rows, COLUMNS))


if __name__ == "__main__":
    main()
