"""The experiments of the PINN half as a user gets them: error, reference floor, time and memory over several seeds.

    python benchmarks/problems.py [burgers helmholtz ...] [--seeds 0 1 2] [--threads 2] [--root checkpoints/problems]
                                  [--set stages.gauss_newton.steps=20 ...]

Every run is ``python train.py experiment=NAME seed=SEED tracker=none`` in a process of its own, one after another; its
``summary.json`` is what counts. Without names, the experiments of the table of figures to reach. A run that is finished
in ``--root`` with the same configuration is read, not repeated; one that was killed continues. Raw numbers go to
``benchmarks/results/problems.json`` after every run. The exit code is 1 if a run failed; a missed bar is no failure.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peers import table
from results_file import REPOSITORY, RESULTS, keep

from pinn.configuration import SolveSettings
from training.composition import compose
from training.configuration import validate
from training.run_folder import default_name

MINUTES = {
    "burgers": 5,
    "allen_cahn": 20,
    "helmholtz": 5,
    "heat": 3,
    "wave": 3,
    "diffusion": 3,
    "poisson": 3,
    "korteweg_de_vries": 20,
    "advection": 10,
    "lid_driven_cavity": 20,
    "inverse_burgers": 5,
}
"""The experiments of the table, and the training time allowed to each on two cores."""

GATE_MISSED = 3
"""Exit code of a finished run whose error is above the bar."""

JUDGED_BY = ("relative_l2", "parameter_error_percent")
"""What a bar may be about; the first one that the experiment has a bar for is the row's figure."""

COLUMNS = {
    "experiment": "experiment",
    "figure": "figure",
    "median": "median",
    "range": "lowest – highest",
    "bar": "bar",
    "floor": "floor of the reference",
    "minutes": "minutes, longest",
    "allowed": "minutes allowed",
    "memory_MB": "memory, MB",
    "seeds": "seeds",
    "failed": "failed",
}


class RunFailed(RuntimeError):
    """A run that left no result; the message has its last words."""


def run_folder(experiment: str, seed: int, changes: Sequence[str], root: Path) -> Path:
    """Where ``train.py`` puts the run."""
    settings = validate(compose([f"experiment={experiment}", f"seed={seed}", *changes]), SolveSettings)
    return root / experiment / default_name(settings.model_dump(mode="json"))


def solve(experiment: str, seed: int, changes: Sequence[str], root: Path, threads: int) -> dict[str, Any]:
    """The raw numbers of one run, made if it is not there.

    Raises:
        RunFailed: if it ends without a result.
    """
    folder = run_folder(experiment, seed, changes, root)
    path = folder / "summary.json"
    command = [sys.executable, "train.py", f"experiment={experiment}", f"seed={seed}", *changes]
    command += ["tracker=none", f"run.root={root}", f"run.name={folder.name}"]
    if not path.exists():
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
        surroundings = {**os.environ, **dict.fromkeys(names, str(threads))}
        ended = subprocess.run(command, cwd=REPOSITORY, env=surroundings, capture_output=True, text=True)
        if ended.returncode not in (0, GATE_MISSED) or not path.exists():
            words = (ended.stderr.strip() or ended.stdout.strip())[-1500:]
            raise RunFailed(f"{experiment}, seed {seed}: exit code {ended.returncode}\n{words}")
    return digest(experiment, seed, json.loads(path.read_text()))


def digest(experiment: str, seed: int, summary: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a summary."""
    details, environment = summary["details"], summary["facts"]["environment"]
    gates = {gate["key"]: gate for gate in summary["gates"]}
    return {
        "experiment": experiment,
        "seed": seed,
        "passed": summary["passed"],
        "relative_l2": {name: error["relative_l2"] for name, error in details["errors"].items()},
        "floor": {name: error["floor"] for name, error in details["errors"].items()},
        "parameter_error_percent": summary["parameter_error_percent"],
        "figures": {key: summary.get(key) for key in JUDGED_BY},
        "bars": {key: gate["bar"] for key, gate in gates.items() if gate["bar"] is not None},
        "residual_rms": summary["residual_rms"],
        "seconds": summary["seconds"],
        "steps": summary["steps"],
        "peak_memory_MB": summary["peak_memory_MB"],
        "n_parameters": summary["n_parameters"],
        "stages": details["stages"],
        "commit": environment["git_commit"],
        "threads": environment["threads"],
        "started": environment["started"],
    }


def row(experiment: str, runs: Sequence[Mapping[str, Any]], failed: Sequence[int]) -> dict[str, Any]:
    """One line of the table."""
    found: dict[str, Any] = {"experiment": experiment, "allowed": MINUTES.get(experiment)}
    found["failed"] = ", ".join(f"seed {seed}" for seed in failed) or None
    if not runs:
        return found
    bars = runs[0]["bars"]
    figure = next((key for key in JUDGED_BY if key in bars), JUDGED_BY[0])
    values = [run["figures"][figure] for run in runs]
    floors = [floor for run in runs for floor in run["floor"].values() if floor is not None]
    return found | {
        "figure": figure.replace("_", " "),
        "median": float(statistics.median(values)),
        "range": f"{min(values):.2g} – {max(values):.2g}",
        "bar": bars.get(figure),
        "floor": max(floors, default=None),
        "minutes": max(run["seconds"] for run in runs) / 60,
        "memory_MB": round(max(run["peak_memory_MB"] for run in runs)),
        "seeds": len(runs),
    }


def keep_runs(
    path: Path, threads: int, runs: Sequence[Mapping[str, Any]], failures: Sequence[Mapping[str, Any]]
) -> None:
    """Write the results; experiments in the file that were not asked for stay."""
    asked = {run["experiment"] for run in [*runs, *failures]}
    before = json.loads(path.read_text()) if path.exists() else {"runs": [], "failures": []}
    kept = {
        name: [entry for entry in before[name] if entry["experiment"] not in asked] for name in ("runs", "failures")
    }
    runs, failures = [*kept["runs"], *runs], [*kept["failures"], *failures]
    keep(path, threads=threads, runs=runs, failures=failures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="*", default=list(MINUTES), help="names of files in configs/experiment")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--root", type=Path, default=REPOSITORY / "checkpoints" / "problems", help="of the run folders")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="changes of every configuration")
    parser.add_argument("--output", type=Path, default=RESULTS / "problems.json")
    arguments = parser.parse_args()
    root = arguments.root.resolve()
    # a misspelt name is noticed before the first run
    for experiment in arguments.experiments:
        run_folder(experiment, arguments.seeds[0], arguments.set, root)
    runs: list[dict[str, Any]] = []
    failures: list[dict[str, Any]] = []
    rows = []
    for experiment in arguments.experiments:
        for seed in arguments.seeds:
            try:
                runs.append(solve(experiment, seed, arguments.set, root, arguments.threads))
            except RunFailed as error:
                failures.append({"experiment": experiment, "seed": seed, "words": str(error)})
                print(error, file=sys.stderr, flush=True)
            keep_runs(arguments.output, arguments.threads, runs, failures)
        mine = [run for run in runs if run["experiment"] == experiment]
        rows.append(row(experiment, mine, [f["seed"] for f in failures if f["experiment"] == experiment]))
        print(table(rows[-1:], COLUMNS).splitlines()[-1], file=sys.stderr, flush=True)
    print(table(rows, COLUMNS))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
