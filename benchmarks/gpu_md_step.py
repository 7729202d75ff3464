"""A step of molecular dynamics on an NVIDIA GPU: through ASE, in the loop on the device, many molecules, a large box.

    python benchmarks/gpu_md_step.py [--processes 3] [--ours-only]

F = 128, L = 3, R = 20, cutoff 5 Å, float32, random weights. Three sides on the same GPU: ours, the same network in
eager torch, and SchNetPack 2.1.1 through ASE. Inside the clock of ASE: ``get_forces`` and ``get_potential_energy``
after a move, neighbour list and copies included. Inside the clock of the loop: whole steps at constant energy,
neighbour lists included. All sides work in turn, in processes of their own; medians, and every time in
``results/gpu_md_step.json``. A second table has the floors: the recorded graph alone, as many empty launches, and
arithmetic and memory at the speeds that this GPU reaches in a large product and a copy.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from gpu_worker import ROUND
from peers import PEERS, Worker, table

MOLECULES = {"water": 3, "C6H6": 12, "aspirin": 21}
BOX = "water 15"

SAME_FORCE = 1e-4
"""Largest relative difference between the sides' largest forces."""

# bars of the table in µs, and what they are per
BARS = {"ase": 500.0, "loop": 100.0, "batch": 3.0, "box": 4000.0}

TASKS: list[tuple[str, dict[str, Any], float]] = [
    *[(f"ASE, {n} atoms", {"task": "ase", "system": name, "steps": 300}, BARS["ase"]) for name, n in MOLECULES.items()],
    *[
        (f"loop, {n} atoms", {"task": "loop", "system": name, "copies": 1, "rounds": 5, "steps": 400}, BARS["loop"])
        for name, n in MOLECULES.items()
    ],
    (
        "256 × 21 atoms, per molecule",
        {"task": "loop", "system": "aspirin", "copies": 256, "rounds": 5, "steps": 100},
        BARS["batch"],
    ),
    (
        "10,125 atoms of water",
        {"task": "loop", "system": BOX, "copies": 1, "rounds": 5, "steps": ROUND},
        BARS["box"],
    ),
    ("ASE, 10,125 atoms of water", {"task": "ase", "system": BOX, "steps": 20}, BARS["box"]),
]
"""Names of the rows, what a worker is asked, and the bar in µs."""


def measure(pythons: dict[str, str], processes: int) -> list[dict[str, Any]]:
    """Seconds of every side, row and process."""
    rows: list[dict[str, Any]] = []
    for process in range(processes):
        workers = {side: Worker(python, "gpu_worker.py", side, threads=4) for side, python in pythons.items()}
        for name, request, _ in TASKS:
            for side, worker in workers.items():
                if side == "schnetpack" and request["task"] != "ase":
                    continue
                for turn in range(2):
                    answer = worker.ask(**request)
                    if turn:
                        rows.append({"process": process, "side": side, "row": name, **answer})
            require_same(rows, name)
        if process == 0:
            rows += floors(workers["limbeck"])
        for worker in workers.values():
            worker.__exit__(None, None, None)
    return rows


def require_same(rows: list[dict[str, Any]], name: str) -> None:
    """Ours and eager torch, with the same weights, must have ended a row at the same forces.

    Raises:
        RuntimeError: if they have not: then the times are of different things.
    """
    force = {row["side"]: row["largest_force"] for row in rows if row.get("row") == name and "largest_force" in row}
    if force and abs(force["limbeck"] / force["eager"] - 1) > SAME_FORCE:
        raise RuntimeError(
            f"{name}: the largest forces of both sides are {force['limbeck']} and {force['eager']} eV/Å."
        )


def floors(worker: Worker) -> list[dict[str, Any]]:
    """What the steps could cost at best."""
    asked = [(name, 1) for name in MOLECULES] + [("aspirin", 256), (BOX, 1)]
    return [
        {"floors": f"{copies} × {name}", **worker.ask(task="floors", system=name, copies=copies)}
        for name, copies in asked
    ]


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Medians in µs by row, the bar, and how much faster ours is than the others."""
    lines = []
    for name, request, bar in TASKS:
        line: dict[str, Any] = {"row": name, "bar": bar}
        for side in ("limbeck", "eager", "schnetpack"):
            times = [t for row in rows if (row.get("side"), row.get("row")) == (side, name) for t in row["seconds"]]
            line[side] = statistics.median(times) * 1e6 / request.get("copies", 1) if times else None
        for side in ("eager", "schnetpack"):
            line[f"{side} ratio"] = line[side] / line["limbeck"] if line[side] is not None else None
        lines.append(line)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--ours-only", action="store_true", help="without SchNetPack")
    parser.add_argument("--environments", type=Path, help="folder of the peers' environments, made where missing")
    arguments = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        sys.exit("This benchmark needs an NVIDIA GPU, and torch finds none. On a CPU run benchmarks/md_step.py.")
    pythons = {"limbeck": sys.executable, "eager": sys.executable}
    if not arguments.ours_only:
        python = PEERS["schnetpack"].python(arguments.environments)
        if python is None:
            print("SchNetPack could not be installed; pip says why above. Measuring without it.", file=sys.stderr)
        else:
            pythons["schnetpack"] = str(python)
    rows = measure(pythons, arguments.processes)
    lines = summary(rows)
    columns = {
        "row": "µs per step",
        "limbeck": "limbeck",
        "bar": "bar",
        "eager": "eager torch",
        "eager ratio": "ratio",
        "schnetpack": "SchNetPack 2.1.1",
        "schnetpack ratio": "ratio",
    }
    print(table(lines, columns))
    under = [row for row in rows if "floors" in row]
    names = ("n_atoms", "n_edges", "launches", "graph us", "graph atom by atom us", "graph by products us")
    floor_columns = {"floors": "floors"} | {
        name: name for name in (*names, "empty launches us", "arithmetic us", "memory us")
    }
    print(table(under, floor_columns))
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    document = {"gpu": torch.cuda.get_device_name(), "summary": lines, "times": rows}
    (results / "gpu_md_step.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
