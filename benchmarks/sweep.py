"""A sweep of 27 short runs on several workers, and the same runs one after another.

    python benchmarks/sweep.py [--workers 2] [--steps 300] [--rounds 1] [--output FILE]

Three seeds, three widths and three learning rates of the heat equation, through the command as a user calls it, each
run on one thread in both cases. Efficiency is the time of the runs one after another over workers times the time on
workers; the command's own start is the same in both and counts in both. What the sweep itself measured (start-up,
transfer, the workers' busy share, break-even) is kept beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from results_file import REPOSITORY, RESULTS, asked, keep

WORDS = (
    "experiment=heat",
    "tracker=none",
    "stages=adam",
    "network.width=8",
    "hardware.threads=1",
    "hardware.device=cpu",
    "stages.adam.validate_every=100000",
    "stages.adam.sampler.n=500",
    "validation.residual_points=200",
    "validation.gates.relative_l2=null",
)
SWEPT = ("seed=0,1,2", "network.depth=1,2,3", "stages.adam.optimizer.lr=0.002,0.005,0.01")


def sweep(workers: int, steps: int) -> dict[str, Any]:
    """Make all runs in a fresh folder; seconds of the command, and what the sweep says of itself."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as root:
        command = [sys.executable, "train.py", "-m", *WORDS, *SWEPT, f"stages.adam.steps={steps}", f"run.root={root}"]
        command += [f"sweep.workers={workers}", "sweep.threads_per_worker=1"] if workers > 1 else []
        start = time.perf_counter()
        done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
        seconds = time.perf_counter() - start
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        (table,) = Path(root).glob("sweeps/*/table.json")
        content = json.loads(table.read_text())
    finished = sum(run["outcome"] == "finished" for run in content["runs"])
    return {"seconds": seconds, "finished": finished, "costs": content["costs"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=300, help="of every run")
    parser.add_argument("--rounds", type=int, default=1, help="of both, in turn")
    parser.add_argument("--output", type=Path, default=RESULTS / "sweep.json")
    arguments = parser.parse_args()
    rounds = []
    for _ in range(arguments.rounds):
        apart, together = sweep(1, arguments.steps), sweep(arguments.workers, arguments.steps)
        rounds.append({"one_after_another": apart, "on_workers": together})
        print(f"{apart['seconds']:.1f} s one after another, {together['seconds']:.1f} s on {arguments.workers} workers")
    efficiencies = [
        r["one_after_another"]["seconds"] / (arguments.workers * r["on_workers"]["seconds"]) for r in rounds
    ]
    result = {
        "runs": 27,
        "efficiency": statistics.median(efficiencies),
        "workers_busy": statistics.median(r["on_workers"]["costs"]["worker_efficiency"] for r in rounds),
        "times": rounds,
    }
    print(f"Efficiency {result['efficiency']:.2f}; workers computed for {result['workers_busy']:.2f} of their time.")
    keep(arguments.output, **asked(arguments), **result)


if __name__ == "__main__":
    main()
