"""What ASE and the neighbour list cost beside the network: times per step of a moving molecule, in microseconds.

    python benchmarks/calculator_overhead.py [--channels 64] [--layers 3] [--threads 1]

The atoms move before every timed call, because ASE keeps the results of an unmoved structure. Four clocks, medians over
many steps: ``get_forces`` with ``get_potential_energy``, the same with a network that answers at once (the overhead),
the compiled program alone on edges that are ready, and a neighbour list made afresh.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, molecule

from mlff import StudentCalculator
from mlff.deploy.export import save_student
from mlff.neighbors import neighbor_list
from mlff.student import PaiNN


def compact_molecule(n_atoms: int) -> Atoms:
    """Carbon, oxygen and hydrogen atoms as dense as in aspirin, for timing only."""
    side = int(np.ceil(n_atoms ** (1 / 3)))
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)[:n_atoms] * 1.5
    return Atoms(numbers=np.resize([6, 1, 8, 1], n_atoms), positions=grid)


STRUCTURES = {
    "ethanol, 9 atoms": lambda: molecule("CH3CH2OH"),
    "21 atoms": lambda: compact_molecule(21),
    "silicon, 648 atoms": lambda: bulk("Si", cubic=True) * (3, 3, 9),
}


def median_time(action: Callable[[], object], seconds: float = 1.0) -> float:
    """Median microseconds of one call."""
    for _ in range(3):
        action()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def measure(name: str, folder: Path) -> dict[str, object]:
    """The four clocks for one structure."""
    rng = np.random.default_rng(0)
    atoms = STRUCTURES[name]()
    calculator = StudentCalculator(folder, device="cpu")
    atoms.calc = calculator
    start = atoms.positions.copy()

    def step() -> None:
        atoms.positions = start + rng.normal(0.0, 0.01, start.shape)
        atoms.get_forces()
        atoms.get_potential_energy()

    step()
    evaluator = calculator._evaluator
    threads = calculator.threads_used
    answer = evaluator.student.evaluate(atoms.positions, False, threads)
    network = median_time(lambda: evaluator.student.evaluate(atoms.positions, False, threads))
    whole = median_time(step)
    evaluator.student.evaluate = lambda positions, stress, threads: answer
    neighbors = calculator.neighbors.wide(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
    return {
        "structure": name,
        "edges_with_skin": neighbors.n_edges,
        "step_us": round(whole),
        "overhead_us": round(median_time(step)),
        "network_us": round(network),
        "fresh_neighbour_list_us": round(
            median_time(lambda: neighbor_list(atoms.positions, atoms.cell.array, atoms.pbc, calculator.model.cutoff))
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        given = {"teacher": {}, "licence": "", "data_fingerprint": "", "accuracy": {}}
        student = PaiNN([1, 6, 8, 14], channels=arguments.channels, layers=arguments.layers)
        save_student(Path(folder) / "student.safetensors", student, given)
        rows = [measure(name, Path(folder)) for name in STRUCTURES]
    json.dump({"torch": torch.__version__, **vars(arguments), "rows": rows}, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
