"""What one evaluation of loss and gradients costs with jets and with nested automatic differentiation.

    python benchmarks/derivatives.py [--threads 1] [--seconds 2] [--largest 10000] [--clock wall]

Burgers' residual ``u_t + u u_x − ν u_xx`` of a perceptron, its mean square and the gradient by all weights, on points
of the unit square: nested ``torch.autograd.grad`` on all points at once, jets on all points at once, jets in chunks.
For float64 networks also the residuals' Jacobian and the normal equations. Medians and minima of alternating calls, in
milliseconds, by the clock on the wall or that of the process (for a machine with other work, one thread); the gradients
are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pinn.fields import Field, trace
from pinn.jacobian import linearize, normal_equations
from pinn.jets.jet import Jet
from pinn.networks import MLP
from pinn.residuals import PreparedPoints, accumulate, default_chunk, fields_at, prepare

VISCOSITY = 0.01 / torch.pi
CASES = [
    (2_000, 20, 3, torch.float64),
    (2_540, 20, 3, torch.float32),
    (5_000, 30, 3, torch.float64),
    (10_000, 20, 3, torch.float64),
    (10_000, 64, 4, torch.float32),
    (100_000, 128, 5, torch.float32),
]
"""Points, width, hidden layers, precision."""

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


class Burgers:
    """The equation alone, without conditions."""

    coordinates = ("x", "t")
    space = ("x",)
    fields = ("u",)

    def network_coordinates(self, coordinates: Mapping[str, Jet]) -> dict[str, Jet]:
        return dict(coordinates)

    def ansatz_terms(
        self, coordinates: Any, parameters: Any = None, fields: Any = None
    ) -> dict[str, tuple[None, None]]:
        return {"u": (None, None)}

    def equations(self, u: Field) -> dict[str, Tensor]:
        return {"burgers": u.t + u * u.x - VISCOSITY * u.xx}


class Case:
    """One network on one set of points."""

    def __init__(self, n_points: int, width: int, depth: int, dtype: torch.dtype) -> None:
        self.problem = Burgers()
        self.network = MLP(2, 1, width=width, depth=depth, bounds=[[0, 1], [0, 1]]).to(dtype)
        self.parameters = list(self.network.parameters())
        self.layout = trace(self.problem.equations, ("x", "t"), ("u",))["u"]
        self.points = torch.rand(n_points, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        self.chunk = default_chunk(self.network, self.layout)
        self.all = [prepare(self.problem, self.network, self.points, self.layout)]
        chunks = self.points.split(self.chunk)
        self.chunks = [prepare(self.problem, self.network, points, self.layout) for points in chunks]

    def residual(self, prepared: PreparedPoints) -> dict[str, Tensor]:
        fields = fields_at(self.network, prepared)
        return self.problem.equations(fields["u"])

    def jets(self, prepared: list[PreparedPoints]) -> None:
        self._clear()
        accumulate([partial(self._share, points) for points in prepared], self.parameters)

    def nested(self) -> None:
        self._clear()
        points = self.points.to(self.parameters[0].dtype).requires_grad_(True)
        u = self.network(points)
        (slope,) = torch.autograd.grad(u.sum(), points, create_graph=True)
        (curvature,) = torch.autograd.grad(slope[:, 0].sum(), points, create_graph=True)
        residual = slope[:, 1] + u[:, 0] * slope[:, 0] - VISCOSITY * curvature[:, 0]
        self._mean_square(residual).backward(inputs=self.parameters)

    def jacobian(self) -> None:
        for prepared in self.chunks:
            linearize(partial(self.residual, prepared), self.parameters).jacobian()

    def normal_equations(self) -> None:
        normal_equations([partial(self.residual, points) for points in self.chunks], self.parameters)

    def gradients(self, action: Callable[[], None]) -> Tensor:
        action()
        return torch.cat([parameter.grad.reshape(-1) for parameter in self.parameters if parameter.grad is not None])

    def _share(self, prepared: PreparedPoints) -> Tensor:
        return self._mean_square(self.residual(prepared)["burgers"])

    def _mean_square(self, residual: Tensor) -> Tensor:
        return residual.square().sum() / len(self.points)

    def _clear(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None


def alternating(
    actions: Mapping[str, Callable[[], None]], seconds: float, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Median and minimum of the milliseconds of each action, called in turn so that all meet the same machine."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(times.values()))) < 3:
        for name, action in actions.items():
            start = clock()
            action()
            times[name].append((clock() - start) * 1e3)
    return {f"{name}_ms": [round(statistics.median(t), 3), round(min(t), 3)] for name, t in times.items()}


def measure(n_points: int, width: int, depth: int, dtype: torch.dtype, seconds: float, clock: str) -> dict[str, Any]:
    """The row of one case."""
    case = Case(n_points, width, depth, dtype)
    actions: dict[str, Callable[[], None]] = {
        "nested": case.nested,
        "jets_one_batch": lambda: case.jets(case.all),
        "jets_in_chunks": lambda: case.jets(case.chunks),
    }
    found = {name: case.gradients(action) for name, action in actions.items()}
    difference = max((found["nested"] - value).abs().max().item() for value in found.values())
    if dtype == torch.float64:
        actions |= {"jacobian": case.jacobian, "normal_equations": case.normal_equations}
    for action in actions.values():
        action()
    return {
        "points": n_points,
        "width": width,
        "depth": depth,
        "dtype": str(dtype).removeprefix("torch."),
        "weights": sum(parameter.numel() for parameter in case.parameters),
        "chunk": case.chunk,
        "relative_difference_of_gradients": difference / found["nested"].abs().max().item(),
        **alternating(actions, seconds, CLOCKS[clock]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each case")
    parser.add_argument("--largest", type=int, default=100_000, help="leave out cases with more points")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = [measure(*case, arguments.seconds, arguments.clock) for case in CASES if case[0] <= arguments.largest]
    json.dump({"torch": torch.__version__, **vars(arguments), "rows": rows}, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
