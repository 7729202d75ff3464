"""What the choice of collocation points does to a mean-field game, at equal numbers of points and steps.

    python benchmarks/particle_sampling.py [--seeds 5] [--dimension 2] [--points 300] [--steps 30] [--output FILE]

The linear-quadratic game in a box that was drawn much too wide, 100 steps of Adam on uniform points and then
Gauss-Newton on points that are drawn anew every five steps. Errors are relative L2 of u and m where the agents are
(20,000 places drawn from the exact density), medians over the seeds;
``effective`` is what points chosen by particles are worth for a mean over the box.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from results_file import RESULTS, asked, keep

from pinn.particles.cloud import AgentCloud
from pinn.problems.mean_field_game import LinearQuadraticGame
from pinn.sampling import RAD, Importance, Particles, Sampler, Uniform
from pinn.solve.judgement import Judge
from pinn.solve.least_squares import Residuals
from pinn.solve.objective import Objective, Weights
from pinn.solve.system import System
from pinn.solve.trial import Trial, untrained
from training.optimizers.gauss_newton import GaussNewton

EVERY = 5
"""Steps between two changes of the points."""

Make = Callable[[int], Sampler]

SAMPLERS: dict[str, Make] = {
    "uniform": lambda n: Uniform(n, EVERY),
    "rad": lambda n: RAD(n, EVERY, candidates=20 * n),
    "importance": lambda n: Importance(n, EVERY, candidates=20 * n),
    "particles": lambda n: Particles(n, EVERY, candidates=max(20 * n, 2000), paths=5000),
    "particles_undone": lambda n: Particles(n, EVERY, candidates=max(20 * n, 2000), paths=5000, undo=1.0),
}


class Race:
    """One game, solved by each sampler from the same weights.

    Args:
        game: to solve.
        arguments: of the command.
    """

    def __init__(self, game: LinearQuadraticGame, arguments: argparse.Namespace) -> None:
        self.game, self.arguments = game, arguments
        self.system = System(game)
        self.judge = Judge(self.system, 1000, 10_000)
        self.weights = Weights(dict.fromkeys(self.system.terms, 1.0))

    def started(self, seed: int) -> Trial:
        """A network after its steps of Adam."""
        network = {"_target_": "pinn.networks.MLP", "width": self.arguments.width, "depth": 2, "activation": "silu"}
        trial = untrained(self.game, network, seed)
        objective = self._objective(trial, Uniform(1000), seed)
        optimizer = torch.optim.Adam(trial.parameters(), lr=1e-2)
        for _ in range(100):
            objective.gradients()
            optimizer.step()
        return trial

    def run(self, trial: Trial, sampler: Sampler, seed: int) -> dict[str, float]:
        """Errors after the steps of Gauss-Newton."""
        start = time.perf_counter()
        if isinstance(sampler, Particles):
            sampler.follow(AgentCloud(self.game, trial.network, partial(trial.values, self.game)))
        optimizer = GaussNewton(list(trial.parameters()))
        objective = self._objective(trial, sampler, seed)
        sizes = []
        ones = dict.fromkeys(self.system.equations, 1.0)
        for step in range(self.arguments.steps):
            if sampler.update(step, lambda points: self.system.magnitude(trial, points, ones)):
                objective = self._objective(trial, sampler)
                optimizer.objective_changed()
                sizes.append(getattr(sampler, "effective_size", float(self.arguments.points)))
            optimizer.step(Residuals(objective))
        return {**self._errors(trial), "seconds": time.perf_counter() - start, "effective": statistics.mean(sizes)}

    def _objective(self, trial: Trial, sampler: Sampler, seed: int | None = None) -> Objective:
        if seed is not None:
            sampler.start(self.game.domain, torch.Generator().manual_seed(1000 + seed))
        groups = [self.system.equation_points(sampler.points)]
        for condition in self.game.soft_conditions:
            given = condition.sample(self.game.domain, 0, torch.Generator())
            groups.append(self.system.condition_points(condition.name, given))
        points = dict.fromkeys(self.system.equations, sampler.weights)
        return Objective(self.system, trial, groups, Weights(self.weights.terms, points), chunk=2000)

    def _errors(self, trial: Trial) -> dict[str, float]:
        found, exact = self.judge.values(trial), self.judge.reference
        density, true = found["log_m"].exp(), exact["log_m"].exp()
        return {
            "u": float((found["u"] - exact["u"]).norm() / exact["u"].norm()),
            "m": float((density - true).norm() / true.norm()),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--dimension", type=int, default=2)
    parser.add_argument("--points", type=int, default=300)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--width", type=int, default=12)
    parser.add_argument("--spread", type=float, default=1e3, help="of the box, in the population's; large: uniform")
    parser.add_argument("--reach", type=float, default=8.0, help="of the box, in the population's deviations")
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=list(SAMPLERS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULTS / "particle_sampling.json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    race = Race(LinearQuadraticGame(arguments.dimension, reach=arguments.reach, spread=arguments.spread), arguments)
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in arguments.samplers}
    for seed in range(arguments.seeds):
        begun = race.started(seed)
        for name in arguments.samplers:
            trial = copy.deepcopy(begun)
            rows[name].append(race.run(trial, SAMPLERS[name](arguments.points), seed))
            print(seed, name, {key: f"{value:.2e}" for key, value in rows[name][-1].items()}, file=sys.stderr)
    medians = {
        name: {key: statistics.median(row[key] for row in some) for key in some[0]} for name, some in rows.items()
    }
    print(json.dumps(medians, indent=2))
    keep(arguments.output, **asked(arguments), medians=medians, runs=rows)


if __name__ == "__main__":
    main()
