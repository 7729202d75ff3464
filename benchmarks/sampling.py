"""Whether points that follow the residual pay: a sampler against evenly spread points, at equal points and equal time.

    python benchmarks/sampling.py [--sampler rad] [--optimizer ssbroyden] [--seeds 5] [--seconds 60] [--quick]

Burgers' equation (ν = 0.01/π) and the Allen–Cahn equation (D = 1e-3), start and ends held exactly, each with the same
network, the same first weights, the same number of points and the same stages: Adam on points that stay, then a
second-order optimizer. Three ways to choose its points, taken in turn for each seed:

    fixed    uniform points that stay
    redrawn  uniform points, all drawn anew whenever the sampler moves its own
    sampler  the sampler

The number of points is always the same; they are compared after equal numbers of steps and after equal times, of which
choosing the points is a part. Errors are relative L2 errors against the reference, residuals root
mean squares on 4,000 evenly spread points. A ratio is that of one seed; medians over the seeds are stated. Results go
to ``benchmarks/results/sampling.json``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

import torch
from courses import Course, Moment, at_step, at_time, plain
from omegaconf import OmegaConf
from peers import CLOCKS, table
from results_file import RESULTS, asked, keep

from pinn.problem import Problem
from pinn.problems.allen_cahn_fixed_ends import AllenCahnFixedEnds
from pinn.problems.burgers import Burgers
from pinn.solve.stage import SolveStage
from training.composition import configs_folder

NETWORK = {"_target_": "pinn.networks.MLP", "width": 20, "depth": 3}
CASES: dict[str, tuple[Problem, int]] = {
    "Burgers": (Burgers(), 2000),
    "Allen–Cahn, D = 1e-3": (AllenCahnFixedEnds(), 300),
}
"""Problems and their numbers of points: few enough that it matters where they lie."""

ADAM, CANDIDATES = 300, 20_000
"""Steps of Adam; points among which a sampler chooses."""

OPTIMIZERS = {
    "ssbroyden": ("training.optimizers.ssbroyden.SSBroyden", 100),
    "gauss_newton": ("training.optimizers.gauss_newton.GaussNewton", 5),
}
"""For the second stage, with the steps between two changes of the points."""

ENDLESS = 10**9
WAYS = ("fixed", "redrawn", "sampler")
COLUMNS = {
    "problem": "problem",
    "points": "points",
    "compared": "compared at",
    "fixed": "error, fixed",
    "redrawn": "error, redrawn",
    "sampler": "error, sampler",
    "error_to_fixed": "fixed / sampler",
    "error_to_redrawn": "redrawn / sampler",
    "residual_to_fixed": "residual, fixed / sampler",
    "residual_to_redrawn": "residual, redrawn / sampler",
}


def stages(way: str, settings: argparse.Namespace, n: int) -> dict[str, SolveStage]:
    """Adam on uniform points that stay, the same for every way; then a second-order stage on points of this way."""
    optimizer, every = OPTIMIZERS[settings.optimizer]
    uniform = {"_target_": "pinn.sampling.Uniform", "n": n}
    samplers = {
        "fixed": uniform,
        "redrawn": uniform | {"every": settings.every or every, "first": 0},
        "sampler": sampler(settings.sampler, n, settings.every or every),
    }
    average = 0.99 if settings.sampler == "uncertainty" and way == "sampler" else None
    adam = {"steps": settings.adam, "optimizer": {"_target_": "torch.optim.Adam", "lr": 5e-3}, "sampler": uniform}
    second = {"steps": ENDLESS, "optimizer": {"_target_": optimizer}, "sampler": samplers[way], "ema_decay": average}
    return {name: SolveStage.model_validate(given) for name, given in (("adam", adam), (settings.optimizer, second))}


def sampler(name: str, n: int, every: int) -> dict[str, Any]:
    """A file of ``configs/sampler`` with this many points in the end."""
    read = OmegaConf.to_container(OmegaConf.load(configs_folder() / "sampler" / f"{name}.yaml"))
    assert isinstance(read, dict)
    given: dict[str, Any] = {str(key): value for key, value in read.items()}
    given |= {"n": n, "every": every, "first": 0}
    if "candidates" in given:
        given["candidates"] = CANDIDATES
    if "maximum" in given:
        given |= {"n": n // 2, "maximum": n, "add": max(n // 20, 1)}
    return given


def compare(courses: dict[str, list[Moment]]) -> dict[str, dict[str, Moment]]:
    """The looks to be compared: after as many steps, and after as many seconds, as the slowest way has done."""
    last = [moments[-1] for moments in courses.values()]
    steps, seconds = min(moment.step for moment in last), min(moment.seconds for moment in last)
    return {
        "equal steps": {way: at_step(moments, steps) for way, moments in courses.items()},
        "equal time": {way: at_time(moments, seconds) for way, moments in courses.items()},
    }


def measure(name: str, settings: argparse.Namespace) -> dict[str, Any]:
    """All seeds of one problem."""
    problem, n = CASES[name]
    n = settings.points or n
    runs = []
    for seed in range(settings.seeds):
        courses = {}
        for way in WAYS:
            course = Course(problem, NETWORK, stages(way, settings, n), seed, CLOCKS[settings.clock])
            courses[way] = course.run(settings.seconds, settings.seconds / 30)
            last = courses[way][-1]
            print(f"{name}, seed {seed}, {way}: {last.step} steps, error {last.relative_l2:.2e}", file=sys.stderr)
        runs.append(courses)
    compared = [compare(courses) for courses in runs]
    rows = [row(name, n, words, [found[words] for found in compared]) for words in compared[0]]
    kept = [{way: plain(moments) for way, moments in courses.items()} for courses in runs]
    return {"problem": name, "points": n, "rows": rows, "runs": kept}


def row(name: str, n: int, words: str, found: list[dict[str, Moment]]) -> dict[str, Any]:
    """Medians over the seeds."""
    made: dict[str, Any] = {"problem": name, "points": n, "compared": words}
    for way in WAYS:
        made[way] = statistics.median(moments[way].relative_l2 for moments in found)
    for way in WAYS[:-1]:
        errors = [moments[way].relative_l2 / moments["sampler"].relative_l2 for moments in found]
        residuals = [moments[way].residual_rms / moments["sampler"].residual_rms for moments in found]
        made |= {f"error_to_{way}": statistics.median(errors), f"errors_to_{way}": errors}
        made |= {f"residual_to_{way}": statistics.median(residuals), f"residuals_to_{way}": residuals}
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = sorted(path.stem for path in (configs_folder() / "sampler").glob("*.yaml"))
    parser.add_argument("--sampler", choices=known, default="rad")
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="ssbroyden", help="of the second stage")
    parser.add_argument("--every", type=int, help="steps between two changes of the points")
    parser.add_argument("--points", type=int, help="for every problem, instead of its own number")
    parser.add_argument("--adam", type=int, default=ADAM, help="steps of the first stage")
    parser.add_argument("--problems", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60.0, help="of training, for each way and seed")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: for a busy machine, one thread")
    parser.add_argument("--quick", action="store_true", help="one seed, two seconds, to see that it works")
    parser.add_argument("--output", type=Path, default=RESULTS / "sampling.json")
    settings = parser.parse_args()
    if settings.quick:
        settings.seeds, settings.seconds, settings.adam = 1, 2.0, 20
    torch.set_num_threads(settings.threads)
    found = [measure(name, settings) for name in settings.problems]
    if not settings.quick:
        keep(settings.output, **asked(settings), cases=found)
    print(table([made for case in found for made in case["rows"]], COLUMNS))


if __name__ == "__main__":
    main()
