"""One MD step's energy and forces through ASE on the CPU, beside SchNetPack 2.1.1 with the same architecture.

    python benchmarks/md_step.py [--threads 2] [--processes 3] [--ours-only] [--scaling] [--clock wall]

F = 128, L = 3, R = 20, cutoff 5 Å, float32, the same random weights on both sides: SchNetPack's, brought over with
`convert_schnetpack.py`. Its environment is made where it is missing. Inside the clock: ``get_forces`` and
``get_potential_energy``, neighbour lists included; the atoms have moved before every call, because ASE keeps the
results of an unmoved structure. Both sides work in turn, in processes of their own; medians, and every time in
``results/md_step.json``. ``--scaling`` adds the cost per atom of boxes of water up to 100,000 atoms, of ours alone.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from md_systems import SYSTEMS
from peers import Worker, schnetpack, table

STEPS = {"12 atoms": 200, "60 atoms": 80, "81-atom water": 40, "648-atom water": 10}
BOXES = [1, 2, 3, 6, 9, 13, 20, 33]
"""Molecules along an edge: 3 to 107,811 atoms."""

RESULTS = Path(__file__).parent / "results" / "md_step.json"


SAME_ENERGY, SAME_FORCE = 1e-3, 1e-3
"""Largest difference of the sides' energies, in eV per atom, and forces, relative: beyond, they are other networks."""

MAKE_MODEL = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from md_worker import schnetpack_network
torch.manual_seed(0)
torch.save(schnetpack_network(), sys.argv[2])
"""


def share_weights(python: str, folder: Path) -> dict[str, str]:
    """A model of SchNetPack's and the same one for us, by side."""
    model, ours = folder / "model", folder / "model.safetensors"
    here = Path(__file__).parent
    script = here.parent / "mlff" / "student" / "convert_schnetpack.py"
    subprocess.run([python, "-c", MAKE_MODEL, str(here), str(model)], check=True, stdout=sys.stderr)
    elements = ["--elements", "H", "C", "O", "--energy-unit", "eV"]
    convert = [python, str(here / "recent_torch.py"), str(script), str(model), str(ours), *elements]
    subprocess.run(convert, check=True, stdout=sys.stderr)
    return {"schnetpack": str(model), "limbeck": str(ours)}


def require_same(rows: list[dict[str, Any]], weights: dict[str, str]) -> None:
    """Both sides with the same weights must have ended every turn at the same energy and forces.

    Raises:
        RuntimeError: if they have not: then the times are of different things.
    """
    if not weights:
        return
    for ours, theirs in zip(rows[0::2], rows[1::2], strict=True):
        energy = abs(ours["energy"] - theirs["energy"]) / ours["n_atoms"]
        force = abs(ours["largest_force"] / theirs["largest_force"] - 1)
        if energy > SAME_ENERGY or force > SAME_FORCE:
            raise RuntimeError(
                f"{ours['system']}: the sides differ by {energy:.1e} eV per atom and {force:.1e} of the largest force."
            )


def measure(pythons: dict[str, str], weights: dict[str, str], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Times of every side, system and process."""
    rows: list[dict[str, Any]] = []

    def given(side: str) -> list[str]:
        return [weights[side]] if side in weights else []

    for process in range(arguments.processes):
        workers = {
            side: Worker(
                python, "md_worker.py", side, str(arguments.threads), *given(side),
                threads=arguments.threads,
            )
            for side, python in pythons.items()
        }  # fmt: skip
        for system in arguments.systems:
            for round_ in range(arguments.rounds + 1):
                for side, worker in workers.items():
                    answer = worker.ask(system=system, steps=STEPS[system] if round_ else 3, clock=arguments.clock)
                    if round_:
                        rows.append({"process": process, "side": side, "system": system, **answer})
        for worker in workers.values():
            worker.__exit__(None, None, None)
    return rows


def scaling(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Cost per atom of boxes of water, a process each."""
    rows: list[dict[str, Any]] = []
    for side in BOXES:
        with Worker(sys.executable, "md_worker.py", "limbeck", str(arguments.threads), threads=arguments.threads) as w:
            w.ask(system=f"water {side}", steps=2, clock=arguments.clock)
            steps = max(5, 3000 // side**3)
            answer = w.ask(system=f"water {side}", steps=steps, clock=arguments.clock)
        cost = statistics.median(answer["seconds"]) / answer["n_atoms"] * 1e6
        rows.append({"atoms": answer["n_atoms"], "us_per_atom": cost, "peak_MB": answer["peak_MB"]})
    return rows


def summary(rows: list[dict[str, Any]], systems: list[str]) -> list[dict[str, Any]]:
    """Medians in ms by system, and the ratio."""
    lines = []
    for system in systems:
        line: dict[str, Any] = {"system": system}
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
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--ours-only", action="store_true")
    parser.add_argument("--scaling", action="store_true")
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
    with tempfile.TemporaryDirectory() as folder:
        weights = share_weights(pythons["schnetpack"], Path(folder)) if "schnetpack" in pythons else {}
        rows = measure(pythons, weights, arguments)
    require_same(rows, weights)
    lines = summary(rows, arguments.systems)
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
    arguments.output.parent.mkdir(exist_ok=True)
    said = {name: str(value) if isinstance(value, Path) else value for name, value in vars(arguments).items()}
    machine = platform.processor() or platform.machine()
    document = {"machine": machine, **said, "summary": lines, "times": rows, "scaling": boxes}
    arguments.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
