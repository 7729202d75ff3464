"""What lower precision costs in error and saves in memory: the same training in 64, 32, bf16 and 16 bits.

    python benchmarks/precision.py [--points 20000] [--steps 2000] [--threads 2] [--quick]

The heat equation, start and ends held exactly, an MLP of 4 × 128 neurons on Sobol points that stay, the same weights to
begin with and the same steps of Adam. Each precision has a process of its own; memory is the largest resident memory
above that with the libraries and the problem loaded. Mixed precisions keep weights, derivatives and sums in float32 and
multiply matrices in the lower one. Results go to ``benchmarks/results/precision.json``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from peers import CLOCKS, Worker, table
from results_file import RESULTS, asked, keep

PRECISIONS = ("64", "32", "bf16", "16")
COLUMNS = {
    "precision": "precision",
    "relative_l2": "relative L2 error",
    "residual_rms": "residual",
    "residual_to_32": "residual / that of 32",
    "memory_MB": "memory, MB",
    "ms_per_step": "ms per step",
}


def measure(precision: str, settings: argparse.Namespace) -> dict[str, Any]:
    """One training."""
    words = [
        "experiment=solve",
        f"problem={settings.problem}",
        "stages=adam",
        "sampler@stages.adam.sampler=sobol",
        f"network.width={settings.width}",
        f"network.depth={settings.depth}",
        f"stages.adam.steps={settings.steps}",
        f"stages.adam.sampler.n={settings.points}",
        "stages.adam.sampler.every=null",
        f"stages.adam.precision={precision}",
        f"stages.adam.chunk={settings.chunk or settings.points}",
        "stages.adam.optimizer.lr=2e-3",
    ]
    with Worker(sys.executable, "course_worker.py", threads=settings.threads) as worker:
        request = {"words": words, "seconds": None, "target": None, "clock": settings.clock}
        answer = worker.ask(**request, threads=settings.threads)
    last = answer["moments"][-1]
    return {
        "precision": precision,
        "relative_l2": last["relative_l2"],
        "residual_rms": last["residual_rms"],
        "memory_MB": answer["peak_MB"] - answer["ready_MB"],
        "ms_per_step": answer["ms_per_step"]["adam"],
        "answer": answer,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problem", default="heat", help="a file of configs/problem")
    parser.add_argument("--points", type=int, default=20_000)
    parser.add_argument("--chunk", type=int, help="points evaluated together; all of them unless given")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--quick", action="store_true", help="a few steps on few points, to see that it works")
    parser.add_argument("--output", type=Path, default=RESULTS / "precision.json")
    settings = parser.parse_args()
    if settings.quick:
        settings.points, settings.steps, settings.width = 500, 10, 16
    rows = []
    for precision in PRECISIONS:
        rows.append(measure(precision, settings))
        print(f"{precision}: {rows[-1]['ms_per_step']:.0f} ms per step", file=sys.stderr)
    reference = rows[PRECISIONS.index("32")]["residual_rms"]
    rows = [row | {"residual_to_32": row["residual_rms"] / reference} for row in rows]
    if not settings.quick:
        keep(settings.output, **asked(settings), rows=rows)
    print(table(rows, COLUMNS))


if __name__ == "__main__":
    main()
