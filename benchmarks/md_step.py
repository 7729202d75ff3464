"""One MD step's energy and forces through ASE on the CPU, beside SchNetPack 2.1.1 with the same architecture.

    python benchmarks/md_step.py [--threads 2] [--processes 3] [--ours-only] [--scaling] [--clock wall]

F = 128, L = 3, R = 20, cutoff 5 Å, float32, random weights. Inside the clock: ``get_forces`` and
``get_potential_energy``, neighbour lists included; the atoms have moved before every call, because ASE keeps the
results of an unmoved structure. Both sides work in turn, in processes of their own; medians, and every time in
``results/md_step.json``. ``--scaling`` adds the cost per atom of boxes of water up to 100,000 atoms, of ours alone.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
from pathlib import Path

from md_systems import SYSTEMS
from peers import ENVIRONMENT, Worker, environment, table

STEPS = {"12 atoms": 200, "60 atoms": 80, "81-atom water": 40, "648-atom water": 10}
BOXES = [1, 2, 3, 6, 9, 13, 20, 33]
"""Molecules along an edge: 3 to 107,811 atoms."""

RESULTS = Path(__file__).parent / "results"


def measure(pythons: dict[str, str], arguments: argparse.Namespace) -> list[dict[str, object]]:
    """Times of every side, system and process."""
    rows: list[dict[str, object]] = []
    for process in range(arguments.processes):
        workers = {
            side: Worker(python, "md_worker.py", side, str(arguments.threads), threads=arguments.threads)
            for side, python in pythons.items()
        }
        for system in SYSTEMS:
            for round_ in range(arguments.rounds + 1):
                for side, worker in workers.items():
                    answer = worker.ask(system=system, steps=STEPS[system] if round_ else 3, clock=arguments.clock)
                    if round_:
                        rows.append({"process": process, "side": side, "system": system, **answer})
        for worker in workers.values():
            worker.__exit__(None, None, None)
    return rows


def scaling(arguments: argparse.Namespace) -> list[dict[str, object]]:
    """Cost per atom of boxes of water, a process each."""
    rows: list[dict[str, object]] = []
    for side in BOXES:
        with Worker(sys.executable, "md_worker.py", "limbeck", str(arguments.threads), threads=arguments.threads) as w:
            w.ask(system=f"water {side}", steps=2, clock=arguments.clock)
            steps = max(5, 3000 // side**3)
            answer = w.ask(system=f"water {side}", steps=steps, clock=arguments.clock)
        cost = statistics.median(answer["seconds"]) / answer["n_atoms"] * 1e6
        rows.append({"atoms": answer["n_atoms"], "us_per_atom": cost, "peak_MB": answer["peak_MB"]})
    return rows


def summary(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Medians in ms by system, and the ratio."""
    lines = []
    for system in SYSTEMS:
        line: dict[str, object] = {"system": system}
        for side in ("limbeck", "schnetpack"):
            times = [t for row in rows if (row["side"], row["system"]) == (side, system) for t in row["seconds"]]
            line[side] = statistics.median(times) * 1e3 if times else None
            line[f"{side} least"] = min(times) * 1e3 if times else None
        if line["schnetpack"] is not None:
            line["ratio"] = line["schnetpack"] / line["limbeck"]
        lines.append(line)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3, help="how often the sides take turns at a system")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--ours-only", action="store_true")
    parser.add_argument("--scaling", action="store_true")
    arguments = parser.parse_args()
    pythons = {"limbeck": sys.executable}
    if not arguments.ours_only:
        python = environment(ENVIRONMENT.with_name("schnetpack"), "schnetpack==2.1.1", "schnetpack")
        if python is None:
            print("SchNetPack could not be installed; pip says why above. Measuring ours alone.", file=sys.stderr)
        else:
            pythons["schnetpack"] = str(python)
    rows = measure(pythons, arguments)
    lines = summary(rows)
    columns = {
        "system": "system",
        "limbeck": "limbeck (ms)",
        "limbeck least": "least",
        "schnetpack": "SchNetPack 2.1.1 (ms)",
        "schnetpack least": "least",
        "ratio": "ratio",
    }
    print(table(lines, columns))
    boxes = scaling(arguments) if arguments.scaling else []
    if boxes:
        print(table(boxes, {"atoms": "atoms", "us_per_atom": "µs per atom", "peak_MB": "peak memory (MB)"}))
    RESULTS.mkdir(exist_ok=True)
    document = {"machine": platform.processor(), **vars(arguments), "summary": lines, "times": rows, "scaling": boxes}
    (RESULTS / "md_step.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
