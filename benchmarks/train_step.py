"""One optimisation step on energies and forces on the CPU, beside SchNetPack 2.1.1 with the same architecture.

    python benchmarks/train_step.py [--threads 2] [--processes 3] [--ours-only] [--clock wall]

Ethanol in batches of 10 and 50; F = 128, L = 3, R = 20, cutoff 5 Å, float32, random weights. Both sides train through
Lightning; inside the clock are the forward pass, the loss, the backward pass, AdamW and the average of the weights as
each side's own defaults have them, on our side the clipping of the gradient and the look for numbers that are not
finite too; batches with their neighbour lists are ready before. The sides take turns, in processes of their own;
medians, and every time in ``results/train_step.json``.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
from pathlib import Path
from typing import Any

from peers import CLOCKS, Worker, schnetpack, table

STEPS = {10: 60, 50: 20}
"""Steps of a turn by size of the batch."""

WARM = 5
"""Steps at the beginning of a turn that do not count: a new optimizer makes its memory."""

RESULTS = Path(__file__).parent / "results" / "train_step.json"


def measure(pythons: dict[str, str], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Times of every side, size and process."""
    rows: list[dict[str, Any]] = []
    for process in range(arguments.processes):
        workers = {
            side: Worker(python, "train_worker.py", side, str(arguments.threads), threads=arguments.threads)
            for side, python in pythons.items()
        }
        for size in arguments.sizes:
            for round_ in range(arguments.rounds):
                for side, worker in workers.items():
                    answer = worker.ask(size=size, steps=WARM + STEPS.get(size, 20), clock=arguments.clock)
                    answer["seconds"] = answer["seconds"][WARM:]
                    rows.append({"process": process, "round": round_, "side": side, "size": size, **answer})
        for worker in workers.values():
            worker.__exit__(None, None, None)
    return rows


def summary(rows: list[dict[str, Any]], sizes: list[int]) -> list[dict[str, Any]]:
    """Medians in ms by size, the ratio, and the memory of the processes."""
    lines = []
    for size in sizes:
        line: dict[str, Any] = {"size": size}
        for side in ("limbeck", "schnetpack"):
            found = [row for row in rows if (row["side"], row["size"]) == (side, size)]
            times = [time for row in found for time in row["seconds"]]
            line[side] = statistics.median(times) * 1e3 if times else None
            line[f"{side} least"] = min(times) * 1e3 if times else None
            line[f"{side} MB"] = max(row["peak_MB"] for row in found) if found else None
        if line["schnetpack"] is not None:
            line["ratio"] = line["schnetpack"] / line["limbeck"]
        lines.append(line)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2, help="how often the sides take turns at a size")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(STEPS), help="structures of a batch")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: for a busy machine, one thread")
    parser.add_argument("--ours-only", action="store_true")
    parser.add_argument("--environment", type=Path, help="folder of SchNetPack's environment, made where it is missing")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    pythons = {"limbeck": sys.executable}
    if not arguments.ours_only:
        python = schnetpack(arguments.environment)
        if python is None:
            print("SchNetPack could not be installed; pip says why above. Measuring ours alone.", file=sys.stderr)
        else:
            pythons["schnetpack"] = str(python)
    rows = measure(pythons, arguments)
    lines = summary(rows, arguments.sizes)
    columns = {
        "size": "batch",
        "limbeck": "limbeck (ms)",
        "limbeck least": "least",
        "limbeck MB": "peak (MB)",
        "schnetpack": "SchNetPack 2.1.1 (ms)",
        "schnetpack least": "least",
        "schnetpack MB": "peak (MB)",
        "ratio": "ratio",
    }
    print(table(lines, columns))
    arguments.output.parent.mkdir(exist_ok=True)
    given = {name: str(value) if isinstance(value, Path) else value for name, value in vars(arguments).items()}
    document = {"machine": platform.processor() or platform.machine(), **given, "summary": lines, "times": rows}
    arguments.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
