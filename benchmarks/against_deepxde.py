"""What an Adam step costs here and in DeepXDE: the same network, points and loss in float32, and the peak memory.

    python benchmarks/against_deepxde.py [--threads 2] [--blocks 5] [--seconds 60] [--clock wall] [--quick]

Burgers' equation with start and ends held exactly, ``u = −sin πx + t (1 − x²) N``, the mean square of its residual.
Each side is a process of its own that takes a block of steps in turn, so that both meet the same machine; the first
block of each is not counted. Both start from the same weights, and their losses are compared after every block.
DeepXDE runs on its PyTorch backend with the PyTorch of this environment; it is installed in an environment of its own,
where it is missing. Results go to ``benchmarks/results/against_deepxde.json``.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from peers import CLOCKS, ENVIRONMENT, Worker, environment, table
from results_file import RESULTS, asked, keep

Case = tuple[int, int, int, float]
CASES: list[Case] = [(10_000, 64, 4, 1.5), (100_000, 128, 5, 3.0)]
"""Points, width, hidden layers, and how many times faster we want to be."""
QUICK: list[Case] = [(2_000, 32, 3, 1.0)]
ROUNDING = 1e-3
"""Relative difference of two losses in float32 after some steps on the same points."""

COLUMNS = {
    "points": "points",
    "network": "network",
    "limbeck_ms": "Limbeck, ms per step",
    "deepxde_ms": "DeepXDE, ms per step",
    "ratio": "times faster",
    "wanted": "wanted",
    "limbeck_MB": "Limbeck, MB above libraries",
    "deepxde_MB": "DeepXDE, MB above libraries",
}


def write_case(path: Path, n_points: int, width: int, depth: int) -> None:
    """Points, and weights by Glorot's rule, for both sides."""
    random = np.random.default_rng(0)
    arrays: dict[str, Any] = {"width": width, "depth": depth}
    arrays["points"] = (random.random((n_points, 2)) * [2, 1] + [-1, 0]).astype(np.float32)
    widths = [2, *[width] * depth, 1]
    for number, (inputs, outputs) in enumerate(pairwise(widths)):
        bound = math.sqrt(6 / (inputs + outputs))
        arrays[f"weight{number}"] = random.uniform(-bound, bound, (outputs, inputs)).astype(np.float32)
        arrays[f"bias{number}"] = np.zeros(outputs, np.float32)
    np.savez(path, **arrays)


def measure(
    case: tuple[int, int, int, float], theirs: Path, seconds: float, settings: argparse.Namespace
) -> dict[str, Any]:
    """The row of one case."""
    n_points, width, depth, wanted = case
    blocks, threads, clock = settings.blocks, settings.threads, settings.clock
    sides: dict[str, list[dict[str, Any]]] = {"limbeck": [], "deepxde": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.npz"
        write_case(path, n_points, width, depth)
        with (
            Worker(sys.executable, "limbeck_step.py", str(path), str(settings.chunk), threads=threads) as ours,
            Worker(theirs, "deepxde_step.py", str(path), threads=threads) as other,
        ):
            workers = {"limbeck": ours, "deepxde": other}
            # compilation and the first touch of memory
            warm = [worker.ask(steps=2, clock=clock) for worker in workers.values()]
            slowest = max(answer["seconds"][1] for answer in warm)
            steps = max(1, round(seconds / blocks / slowest))
            for _ in range(blocks):
                for name, worker in workers.items():
                    sides[name].append(worker.ask(steps=steps, clock=clock))
    differences = [abs(a["loss"] / b["loss"] - 1) for a, b in zip(*sides.values(), strict=True)]
    if differences[0] > ROUNDING:
        raise RuntimeError(f"The two sides solve different problems: their losses differ by {differences[0]:.1e}.")
    row: dict[str, Any] = {"points": n_points, "network": f"{depth} × {width}", "steps_per_block": steps}
    for name, answers in sides.items():
        row[f"{name}_ms"] = 1e3 * statistics.median(second for answer in answers for second in answer["seconds"])
        row[f"{name}_MB"] = answers[-1]["peak_MB"] - answers[-1]["ready_MB"]
    # of neighbouring blocks, so that a machine that becomes slower counts for both
    ratios = [_median(b) / _median(a) for a, b in zip(*sides.values(), strict=True)]
    return row | {
        "ratio": statistics.median(ratios),
        "wanted": wanted,
        "ratios": ratios,
        "relative_differences_of_losses": differences,
        "blocks": sides,
    }


def _median(answer: dict[str, Any]) -> float:
    return statistics.median(answer["seconds"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--blocks", type=int, default=5, help="of steps, for each side and case")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the slower side, for each case")
    parser.add_argument("--chunk", type=int, default=0, help="points that we evaluate together; 0: as a stage does")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: for a busy machine, one thread")
    parser.add_argument("--quick", action="store_true", help="a small case, to see that it works")
    parser.add_argument("--environment", type=Path, default=ENVIRONMENT)
    parser.add_argument("--output", type=Path, default=RESULTS / "against_deepxde.json")
    arguments = parser.parse_args()
    theirs = environment(arguments.environment, "deepxde==1.15.*", "deepxde")
    if theirs is None:
        sys.exit("DeepXDE cannot be installed here; see above.")
    cases, seconds = (QUICK, 2.0) if arguments.quick else (CASES, arguments.seconds)
    rows = [measure(case, theirs, seconds, arguments) for case in cases]
    if not arguments.quick:
        keep(arguments.output, **asked(arguments), deepxde="1.15", rows=rows)
    print(table(rows, COLUMNS))


if __name__ == "__main__":
    main()
