"""Worker of `accuracy_against_deepxde.py`: DeepXDE with the settings of its own demonstrations.

``Burgers.py``, ``Helmholtz_Dirichlet_2d.py`` (other wave numbers and domain) and ``Poisson_Lshape.py`` (on a square) of
its folder ``examples/pinn_forward``: Adam, then L-BFGS, as the first and the last of them do, until the time is over.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import deepxde as dde
import numpy as np
import torch
from peers import Answer, peak_MB, serve

LBFGS_ITERATIONS = 50
"""Between two looks at the clock."""

ADAM_SHARE = 0.5
"""Of the time, at most, where the demonstration's iterations of Adam would take longer."""


@dataclass
class Recipe:
    """A demonstration.

    Attributes:
        data: points and residuals.
        network: as it is there.
        iterations: of Adam.
    """

    data: Any
    network: Any
    iterations: int


def burgers() -> Recipe:
    """2,540 points inside, 80 on the ends, 160 at the start; 3 × 20, tanh, 15,000 iterations."""

    def equation(x, u):
        u_x, u_t = dde.grad.jacobian(u, x, i=0, j=0), dde.grad.jacobian(u, x, i=0, j=1)
        return u_t + u * u_x - 0.01 / np.pi * dde.grad.hessian(u, x, i=0, j=0)

    domain = dde.geometry.GeometryXTime(dde.geometry.Interval(-1, 1), dde.geometry.TimeDomain(0, 1))
    ends = dde.icbc.DirichletBC(domain, lambda x: 0, lambda _, on: on)
    start = dde.icbc.IC(domain, lambda x: -np.sin(np.pi * x[:, 0:1]), lambda _, on: on)
    data = dde.data.TimePDE(domain, equation, [ends, start], num_domain=2540, num_boundary=80, num_initial=160)
    return Recipe(data, dde.nn.FNN([2] + [20] * 3 + [1], "tanh", "Glorot normal"), 15_000)


def helmholtz() -> Recipe:
    """Ten points for each wavelength along a line, the boundary held exactly; 3 × 150, sin, 5,000 iterations."""
    slow, fast = np.pi, 4 * np.pi

    def equation(x, u):
        load = (1 - slow**2 - fast**2) * torch.sin(slow * x[:, 0:1]) * torch.sin(fast * x[:, 1:2])
        return dde.grad.hessian(u, x, i=0, j=0) + dde.grad.hessian(u, x, i=1, j=1) + u - load

    domain = dde.geometry.Rectangle([-1, -1], [1, 1])
    # four waves along y
    per_line = 10 * 4
    data = dde.data.PDE(domain, equation, [], num_domain=per_line**2, num_boundary=4 * per_line)
    network = dde.nn.FNN([2] + [150] * 3 + [1], "sin", "Glorot uniform")
    network.apply_output_transform(lambda x, u: (1 - x[:, 0:1] ** 2) * (1 - x[:, 1:2] ** 2) * u)
    return Recipe(data, network, 5_000)


def poisson() -> Recipe:
    """1,200 points inside, 120 on the boundary; 4 × 50, tanh, 50,000 iterations."""

    def equation(x, u):
        load = 2 * torch.pi**2 * torch.sin(torch.pi * x[:, 0:1]) * torch.sin(torch.pi * x[:, 1:2])
        return -dde.grad.hessian(u, x, i=0, j=0) - dde.grad.hessian(u, x, i=1, j=1) - load

    domain = dde.geometry.Rectangle([0, 0], [1, 1])
    boundary = dde.icbc.DirichletBC(domain, lambda x: 0, lambda _, on: on)
    data = dde.data.PDE(domain, equation, boundary, num_domain=1200, num_boundary=120)
    return Recipe(data, dde.nn.FNN([2] + [50] * 4 + [1], "tanh", "Glorot uniform"), 50_000)


RECIPES: dict[str, Callable[[], Recipe]] = {"burgers": burgers, "helmholtz": helmholtz, "poisson": poisson}


class Deadline(dde.callbacks.Callback):
    """Stops at a time."""

    def __init__(self, end: float) -> None:
        super().__init__()
        self.end = end

    def on_epoch_end(self) -> None:
        if time.perf_counter() >= self.end:
            self.model.stop_training = True


def solve(problem: str, precision: int, seconds: float, threads: int, points: str, values: str) -> Answer:
    """Train for some seconds, and write the solution at given points.

    Args:
        problem: name of the recipe.
        precision: 32 or 64.
        seconds: of training, construction not counted.
        threads: of torch.
        points, values: npz files, read and written.
    """
    torch.set_num_threads(threads)
    dde.config.set_default_float(f"float{precision}")
    dde.config.set_random_seed(0)
    recipe = RECIPES[problem]()
    model = dde.Model(recipe.data, recipe.network)
    # the first compilation imports half of PyTorch's compiler; that is no training
    model.compile("adam", lr=1e-3)
    start = time.perf_counter()
    half = start + ADAM_SHARE * seconds
    model.train(iterations=recipe.iterations, display_every=10**9, callbacks=[Deadline(half)], verbose=0)
    adam = model.train_state.iteration
    dde.optimizers.config.LBFGS_options["iter_per_step"] = LBFGS_ITERATIONS
    dde.optimizers.config.LBFGS_options["fun_per_step"] = 2 * LBFGS_ITERATIONS
    dde.optimizers.config.LBFGS_options["maxiter"] = 10**9
    model.compile("L-BFGS")
    model.train(display_every=10**9, callbacks=[Deadline(start + seconds)], verbose=0)
    used = time.perf_counter() - start
    given = np.load(points)["points"].astype(f"float{precision}")
    found = np.concatenate([model.predict(part) for part in np.array_split(given, max(len(given) // 10_000, 1))])
    np.savez(values, u=found[:, 0].astype(np.float64))
    lbfgs = model.train_state.iteration - adam
    return {"seconds": used, "adam": adam, "lbfgs": lbfgs, "peak_MB": peak_MB()}


if __name__ == "__main__":
    serve(solve)
