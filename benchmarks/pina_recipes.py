"""Worker of `accuracy_against_deepxde.py`: PINA's own problems with its feed-forward network, Adam and L-BFGS."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightning
import numpy as np
import torch
from peers import Answer, peak_MB, serve
from pina import LabelTensor, Trainer
from pina.model import FeedForward
from pina.optim import TorchOptimizer
from pina.problem.zoo import BurgersProblem, HelmholtzProblem, Poisson2DSquareProblem
from pina.solver import PhysicsInformedSingleModelSolver

ADAM_SHARE = 0.5
"""Of the time; then L-BFGS, as with the other package."""


class Sine(torch.nn.Module):
    """An activation."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sin(x)


@dataclass(frozen=True)
class Recipe:
    """A problem of PINA's, with the points and the network that DeepXDE's demonstration of it has.

    Attributes:
        problem: makes it.
        points: of each condition.
        network: arguments of `FeedForward`.
        sign: of its solution, relative to ours.
    """

    problem: Callable[[], Any]
    points: dict[str, int]
    network: dict[str, Any]
    sign: float = 1.0


RECIPES = {
    "burgers": Recipe(
        lambda: BurgersProblem(0.01 / np.pi),
        {"D": 2540, "t0": 160, "boundary": 80},
        {"inner_size": 20, "n_layers": 3, "func": torch.nn.Tanh},
    ),
    "helmholtz": Recipe(
        HelmholtzProblem, {"D": 1600, "boundary": 160}, {"inner_size": 150, "n_layers": 3, "func": Sine}
    ),
    "poisson": Recipe(
        Poisson2DSquareProblem,
        {"D": 1200, "boundary": 120},
        {"inner_size": 50, "n_layers": 4, "func": torch.nn.Tanh},
        -1.0,
    ),
}


class Deadline(lightning.pytorch.Callback):
    """Stops at a time."""

    def __init__(self, end: float) -> None:
        self.end = end
        self.steps = 0

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self.steps += 1
        trainer.should_stop = time.perf_counter() >= self.end


def solve(problem: str, precision: int, seconds: float, threads: int, points: str, values: str) -> Answer:
    """As `deepxde_recipes.solve`."""
    torch.set_num_threads(threads)
    dtype = torch.float64 if precision == 64 else torch.float32
    torch.set_default_dtype(dtype)
    torch.manual_seed(0)
    recipe = RECIPES[problem]
    asked = recipe.problem()
    for name, count in recipe.points.items():
        asked.discretise_domain(count, "random", domains=name)
    network = FeedForward(len(asked.input_variables), 1, **recipe.network)
    start = time.perf_counter()
    adam = _train(asked, network, TorchOptimizer(torch.optim.Adam, lr=1e-3), start + ADAM_SHARE * seconds)
    second = TorchOptimizer(torch.optim.LBFGS, lr=1.0, max_iter=20, history_size=100, line_search_fn="strong_wolfe")
    lbfgs = _train(asked, network, second, start + seconds)
    used = time.perf_counter() - start
    given = torch.as_tensor(np.load(points)["points"]).to(dtype)
    # columns by name: PINA sorts its coordinates
    labels = ["x", "t"] if problem == "burgers" else ["x", "y"]
    with torch.no_grad():
        inputs = LabelTensor(given, labels).extract(asked.input_variables)
        found = network(inputs.tensor if hasattr(inputs, "tensor") else inputs)
    np.savez(values, u=recipe.sign * found.detach().numpy().astype(np.float64)[:, 0])
    return {"seconds": used, "adam": adam, "lbfgs": 20 * lbfgs, "peak_MB": peak_MB()}


def _train(problem: Any, network: Any, optimizer: TorchOptimizer, end: float) -> int:
    solver = PhysicsInformedSingleModelSolver(problem, network, optimizer=optimizer)
    deadline = Deadline(end)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(
        solver, max_epochs=10**9, accelerator="cpu", callbacks=[deadline], enable_checkpointing=False, **quiet
    )
    trainer.train()
    return deadline.steps


if __name__ == "__main__":
    serve(solve)
