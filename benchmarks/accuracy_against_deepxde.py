"""How exact a solution is after the same time: this project, DeepXDE and PINA, each with its recommended recipe.

    python benchmarks/accuracy_against_deepxde.py [--problems burgers helmholtz poisson] [--seconds 240] [--quick]

Ours is ``python train.py experiment=<problem>`` as it stands. Its training time is what the others get (``--seconds``
gives everyone another): DeepXDE with the networks, points and iterations of its own demonstrations, Adam and then
L-BFGS until the time is over, in float32 and in float64; PINA, if it can be installed, with its own problems and the
same networks and points. Errors are relative L2 errors on our evaluation points against our reference, for all alike.
Results go to ``benchmarks/results/accuracy_against_deepxde.json``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from peers import ENVIRONMENT, Worker, environment, table
from results_file import RESULTS, asked, keep

from pinn.configuration import SolveSettings
from pinn.pipeline import build_problem
from training.composition import compose
from training.configuration import validate

PROBLEMS = ("burgers", "helmholtz", "poisson")
PEERS = {
    "DeepXDE": ("deepxde==1.15.*", "deepxde", "deepxde_recipes.py"),
    "PINA": ("pina-mathlab==0.3.*", "pina", "pina_recipes.py"),
}
"""Requirement, module and worker of the other packages."""

COLUMNS = {
    "problem": "problem",
    "solver": "solver",
    "recipe": "recipe",
    "seconds": "training, s",
    "relative_l2": "relative L2 error",
    "peak_MB": "peak memory, MB",
}


def ours(problem: str, folder: Path, settings: argparse.Namespace) -> dict[str, Any]:
    """Run the experiment as a user does."""
    words = [f"experiment={problem}", f"run.root={folder}", "tracker=none", f"hardware.threads={settings.threads}"]
    words += [f"seed={settings.seed}", "validation.gates.relative_l2=null", *within(problem, settings.seconds)]
    subprocess.run([sys.executable, "train.py", *words], cwd=Path(__file__).parents[1], check=True, stdout=sys.stderr)
    (summary,) = folder.glob(f"{problem}/*/summary.json")
    found = json.loads(summary.read_text())
    stages = " → ".join(stage["optimizer"] for stage in found["details"]["stages"].values())
    kept = ("seconds", "relative_l2", "reference_floor", "residual_rms")
    return {
        "problem": problem,
        "solver": "Limbeck",
        "recipe": f"experiment={problem}: {stages}",
        "peak_MB": found["peak_memory_MB"],
        **{name: found[name] for name in kept},
    }


def within(problem: str, seconds: float | None) -> list[str]:
    """Overrides with which an experiment takes this long; the first stage has a tenth of it, at most."""
    if seconds is None:
        return []
    names = list(validate(compose([f"experiment={problem}"]), SolveSettings).stages)
    return [f"stages.{names[0]}.stop.minutes={seconds / 600}", f"stages.{names[-1]}.stop.minutes={0.9 * seconds / 60}"]


def theirs(solver: str, python: Path, problem: str, precision: int, seconds: float, threads: int) -> dict[str, Any]:
    """Another package for the same time, on the same points against the same reference."""
    solved = build_problem(validate(compose([f"experiment={problem}"]), SolveSettings))
    points = solved.evaluation_points()
    assert solved.reference is not None
    exact = solved.reference.values(points)["u"].numpy()
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder) / "points.npz", Path(folder) / "values.npz"
        np.savez(asked, points=points.numpy(), u=exact)
        request = {"problem": problem, "precision": precision, "seconds": seconds, "threads": threads}
        with Worker(python, PEERS[solver][2], threads=threads) as worker:
            answer = worker.ask(**request, points=str(asked), values=str(answered))
        u = np.load(answered)["u"]
    error = float(np.linalg.norm(u - exact) / np.linalg.norm(exact))
    recipe = f"Adam {answer['adam']:,}, L-BFGS {answer['lbfgs']:,}, float{precision}"
    return {"problem": problem, "solver": solver, "recipe": recipe, "relative_l2": error, **answer}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--precisions", nargs="+", type=int, choices=(32, 64), default=[32, 64], help="of the others")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="of our run")
    parser.add_argument("--seconds", type=float, help="for everyone, instead of the time that our experiment takes")
    parser.add_argument("--quick", action="store_true", help="Poisson for a few seconds, to see that it works")
    parser.add_argument("--environment", type=Path, default=ENVIRONMENT)
    parser.add_argument("--output", type=Path, default=RESULTS / "accuracy_against_deepxde.json")
    settings = parser.parse_args()
    if settings.quick:
        settings.problems, settings.precisions, settings.seconds = ["poisson"], [64], 3.0
    pythons, notes = {}, []
    for name, (requirement, module, _) in PEERS.items():
        python = environment(settings.environment, requirement, module)
        if python is None:
            notes.append(f"{name} cannot be installed here ({requirement}), so it is left out.")
        else:
            pythons[name] = python
    rows = []
    for problem in settings.problems:
        with tempfile.TemporaryDirectory() as folder:
            mine = ours(problem, Path(folder), settings)
        rows.append(mine)
        for name, python in pythons.items():
            for precision in settings.precisions:
                rows.append(theirs(name, python, problem, precision, mine["seconds"], settings.threads))
    if not settings.quick:
        keep(settings.output, **asked(settings), notes=notes, rows=rows)
    print(table(rows, COLUMNS))
    for note in notes:
        print(note)


if __name__ == "__main__":
    main()
