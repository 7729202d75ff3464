"""Worker of `against_deepxde.py`: Adam steps of Limbeck, as a stage takes them."""

from __future__ import annotations

import sys

import numpy as np
import torch
from peers import CLOCKS, Answer, peak_MB, serve

from pinn.networks import MLP
from pinn.problems.burgers import Burgers
from pinn.sampling import Uniform
from pinn.solve.collocation import Collocation
from pinn.solve.stage import SolveStage
from pinn.solve.steps import take_step
from pinn.solve.system import System
from pinn.solve.task import Task
from pinn.solve.trial import Trial
from training.module import parameter_groups


class Steps:
    """One network on given points.

    Args:
        path: npz file with the points, weights and biases.
        chunk: points evaluated together; 0 leaves it to the stage.
    """

    def __init__(self, path: str, chunk: int) -> None:
        given = np.load(path)
        system = System(Burgers())
        network = MLP(2, 1, width=int(given["width"]), depth=int(given["depth"]))
        with torch.no_grad():
            for number, layer in enumerate(network.linears):
                layer.weight.copy_(torch.from_numpy(given[f"weight{number}"]))
                layer.bias.copy_(torch.from_numpy(given[f"bias{number}"]))
        trial = Trial(network).float()
        points = torch.from_numpy(given["points"])
        settings = {
            "steps": 1,
            "optimizer": {"_target_": "torch.optim.Adam", "lr": 1e-3},
            "sampler": {"_target_": "pinn.sampling.Uniform", "n": len(points)},
            "precision": "32",
        }
        stage = SolveStage.model_validate(settings | ({"chunk": chunk} if chunk else {}))
        collocation = Collocation(system.problem, {"adam": stage}, seed=0)
        collocation.sampler = Uniform(len(points))
        collocation.sampler.start(system.problem.domain, torch.Generator().manual_seed(0), points)
        self.parameters = list(trial.parameters())
        self.present = [torch.empty_like(parameter) for parameter in self.parameters]
        self.task = Task(system, trial, collocation, stage, torch.device("cpu"))
        self.optimizer = torch.optim.Adam(parameter_groups(trial), lr=1e-3)
        self.done = 0
        self.ready_MB = peak_MB()

    def __call__(self, steps: int, clock: str) -> Answer:
        """Take steps: seconds of each, and the loss after the last."""
        now, seconds = CLOCKS[clock], []
        for _ in range(steps):
            start = now()
            self.task.prepare(self.done)
            torch._foreach_copy_(self.present, [parameter.detach() for parameter in self.parameters])
            float(take_step(None, self.optimizer, self.task.objective).terms["loss"])
            seconds.append(now() - start)
            self.done += 1
        # evaluated once more for the comparison only
        peak = peak_MB()
        loss = float(self.task.objective.values()["loss"])
        return {"seconds": seconds, "loss": loss, "ready_MB": self.ready_MB, "peak_MB": peak}


if __name__ == "__main__":
    serve(Steps(sys.argv[1], int(sys.argv[2])))
