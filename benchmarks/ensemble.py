"""Many small networks trained at once, and the same networks one after another on the same device.

    python benchmarks/ensemble.py [--members 50] [--steps 40] [--points 128] [--width 16] [--depth 2] [--threads 1]
                                  [--device cpu] [--clock wall] [--precision 64] [--output FILE]

The decay equation of `pinn.ensembles.driven` under frozen Cox-Ingersoll-Ross paths. Together: one step of all stacked
networks. One after another: every network by itself, with the fused jets that a single network has (`pinn.jets.stack`),
the same points, the same Adam, the same loss. Rounds alternate, so that both meet the same machine; ``--clock cpu``
counts the time of the process instead, for a machine with other work (one thread). Before anything is timed the weights
of both are compared after some steps. Prints the ratio of the medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from results_file import RESULTS, asked, keep

from pinn.ensembles.driven import Decay
from pinn.ensembles.paths import Paths
from pinn.ensembles.processes import CoxIngersollRoss
from pinn.ensembles.stacked import StackedMLP
from pinn.ensembles.training import Ensemble, EnsembleTraining
from pinn.networks import MLP
from pinn.residuals import PreparedPoints, fields_at, prepare

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
COMPARED_STEPS = 10


class Alone:
    """One member trained by itself."""

    def __init__(self, ensemble: Ensemble, member: int) -> None:
        device = ensemble.failures.since.device
        self.problem = Decay()
        self.problem.paths = ensemble.paths.member(member)
        self.network: MLP = ensemble.network.member(member).to(device)
        settings = ensemble.settings
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=settings.lr)
        self.factor = lambda step: ensemble.schedule.factor(step, settings.steps)
        self.lr = settings.lr
        generator = torch.Generator().manual_seed(ensemble.seed)
        points = self.problem.domain.sample(settings.points, generator, "sobol")
        self.prepared: PreparedPoints = prepare(self.problem, self.network, points, ensemble.system.layout)
        self.step = 0

    def advance(self) -> None:
        self.optimizer.param_groups[0]["lr"] = self.lr * self.factor(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        residuals = self.problem.residuals(fields_at(self.network, self.prepared), self.prepared.columns)
        residuals["decay"].square().mean().backward()
        self.optimizer.step()
        self.step += 1


def made(arguments: argparse.Namespace) -> Ensemble:
    """Untrained networks with their paths."""
    spec = {"_target_": "pinn.networks.MLP", "width": arguments.width, "depth": arguments.depth}
    paths = Paths.drawn(CoxIngersollRoss(), 1.0, 16, arguments.members)
    bounds = [[0.0, 1.0], [0.0, 1.0]]
    network = StackedMLP.build(spec, arguments.members, 0, inputs=2, outputs=1, bounds=bounds)
    # points stay where they are: drawing them anew is the same work either way
    settings = EnsembleTraining(
        steps=100_000, points=arguments.points, every=100_000, precision=arguments.precision, warmup_steps=0
    )
    return Ensemble(Decay(), paths, network, settings, 0, arguments.device)


def difference(arguments: argparse.Namespace) -> float:
    """Largest difference between any weight of both after some steps."""
    ensemble = made(arguments)
    members = range(0, arguments.members, max(1, arguments.members // 5))
    alone = {member: Alone(ensemble, member) for member in members}
    for _ in range(COMPARED_STEPS):
        ensemble.advance()
        for one in alone.values():
            one.advance()
    pairs = [
        (together.detach(), single.detach())
        for member, one in alone.items()
        for together, single in zip(
            ensemble.network.member(member).to(arguments.device).parameters(), one.network.parameters(), strict=True
        )
    ]
    return max(float((together - single).abs().max()) for together, single in pairs)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of one step of all members, both ways."""
    clock = CLOCKS[arguments.clock]
    ensemble = made(arguments)
    alone = [Alone(ensemble, member) for member in range(arguments.members)]

    def timed(action: Any) -> float:
        start = clock()
        action()
        if arguments.device != "cpu":
            torch.cuda.synchronize()
        return 1e3 * (clock() - start)

    def one_after_another() -> None:
        for one in alone:
            one.advance()

    for _ in range(3):
        ensemble.advance()
        one_after_another()
    together, apart = [], []
    for _ in range(arguments.steps):
        together.append(timed(ensemble.advance))
        apart.append(timed(one_after_another))
    return {
        "together_ms": statistics.median(together),
        "together_least_ms": min(together),
        "one_after_another_ms": statistics.median(apart),
        "one_after_another_least_ms": min(apart),
        "ratio": statistics.median(apart) / statistics.median(together),
        "ratio_of_least": min(apart) / min(together),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("members", 50), ("steps", 40), ("points", 128), ("width", 16), ("depth", 2), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--precision", type=int, choices=(32, 64), default=64)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall")
    parser.add_argument("--output", type=Path, default=RESULTS / "ensemble.json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    result = {"largest_difference": difference(arguments), **measure(arguments)}
    print(json.dumps(result, indent=2))
    keep(arguments.output, **asked(arguments), **result)


if __name__ == "__main__":
    main()
