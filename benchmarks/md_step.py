"""One MD step's energy and forces through ASE on the CPU, beside other packages' PaiNN of the same size.

    python benchmarks/md_step.py [--threads 2] [--processes 3] [--against schnetpack graph_pes] [--scaling]

F = 128, L = 3, R = 20, cutoff 5 Å, float32. SchNetPack 2.1.1 and we have the same random weights, its own, brought over
with `convert_schnetpack.py`; graph-pes 1.0.2 has a basis of its own. Environments are made where they are missing.
Inside the clock: ``get_forces`` and ``get_potential_energy``, neighbour lists included; the atoms have moved before
every call, because ASE keeps the results of an unmoved structure. The sides work in turn, in processes of their own;
medians, and every time in ``results/md_step.json``. ``--scaling`` adds the cost per atom of boxes of water up to
100,000 atoms, of ours alone.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from md_systems import SYSTEMS
from peers import Answer, Worker, table
from turns import OURS, Turn, interpreters, medians, options, report, take_turns

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


def require_same(rows: list[Answer]) -> None:
    """Both sides with the same weights must have ended every turn at the same energy and forces.

    Raises:
        RuntimeError: if they have not: then the times are of different things.
    """
    ours, theirs = ([row for row in rows if row["side"] == side] for side in (OURS, "schnetpack"))
    for one, other in zip(ours, theirs, strict=True):
        energy = abs(one["energy"] - other["energy"]) / one["n_atoms"]
        force = abs(one["largest_force"] / other["largest_force"] - 1)
        if energy > SAME_ENERGY or force > SAME_FORCE:
            raise RuntimeError(
                f"{one['case']}: the sides differ by {energy:.1e} eV per atom and {force:.1e} of the largest force."
            )


def turns(systems: list[str], rounds: int) -> Iterator[Turn]:
    """A few steps of each system that do not count, then the rounds."""
    for system in systems:
        yield Turn(system, {"system": system, "steps": 3}, counts=False)
        for _ in range(rounds):
            yield Turn(system, {"system": system, "steps": STEPS[system]})


def scaling(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Cost per atom of boxes of water, a process each."""
    rows: list[dict[str, Any]] = []
    for side in BOXES:
        with Worker(sys.executable, "md_worker.py", str(arguments.threads), OURS, threads=arguments.threads) as w:
            w.ask(system=f"water {side}", steps=2, clock=arguments.clock)
            steps = max(5, 3000 // side**3)
            answer = w.ask(system=f"water {side}", steps=steps, clock=arguments.clock)
        cost = statistics.median(answer["seconds"]) / answer["n_atoms"] * 1e6
        rows.append({"atoms": answer["n_atoms"], "us_per_atom": cost, "peak_MB": answer["peak_MB"]})
    return rows


def main() -> None:
    parser = options(__doc__, RESULTS, rounds=3)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--scaling", action="store_true", help="add the cost per atom of boxes of water")
    arguments = parser.parse_args()
    sides = interpreters(arguments)
    with tempfile.TemporaryDirectory() as folder:
        weights = share_weights(sides["schnetpack"], Path(folder)) if "schnetpack" in sides else {}
        roles = {side: [side, *([weights[side]] if side in weights else [])] for side in sides}
        asked = list(turns(arguments.systems, arguments.rounds))
        rows = take_turns("md_worker.py", sides, asked, arguments, roles.__getitem__)
    if weights:
        require_same(rows)
    boxes = scaling(arguments) if arguments.scaling else []
    report(medians(rows, [*sides]), rows, [*sides], arguments, scaling=boxes)
    if boxes:
        print(table(boxes, {"atoms": "atoms", "us_per_atom": "µs per atom", "peak_MB": "peak memory (MB)"}))


if __name__ == "__main__":
    main()
