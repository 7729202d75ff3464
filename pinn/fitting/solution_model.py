"""A trained solution as the model of a fit: some of its coordinates are the parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pinn.fields import JetField
from pinn.jets.layout import JetLayout
from pinn.names import hint
from pinn.residuals import fields_at, prepare
from pinn.solve.solution import Solution
from training.errors import InputError

POINTS = 16_384
"""Evaluated together, at most."""


class SolutionModel:
    """A field of a solution at sensors, as a function of the coordinates that differ from specimen to specimen.

    Derivatives come from the jets that trained the network, exact and in the same pass as the values.

    Args:
        solution: of a problem with the parameters among its coordinates.
        parameters: names of those coordinates, the fit's parameters.
        sensors: (m, other coordinates): where a specimen is measured, columns in the order of the problem's coordinates
            without the parameters.
        field: what is measured; the only one unless given.

    Attributes:
        names: of the parameters.
        lower, upper: (p,) the range of each that was learned, for bounds.

    Raises:
        InputError: if a name is unknown, or a sensor is outside the domain.
    """

    def __init__(
        self, solution: Solution, parameters: Sequence[str], sensors: Tensor, field: str | None = None
    ) -> None:
        problem = solution.problem
        for name in parameters:
            if name not in problem.coordinates:
                raise InputError(f"There is no coordinate {name!r}; {hint(name, problem.coordinates)}")
        self.field = problem.fields[0] if field is None else field
        if self.field not in problem.fields:
            raise InputError(f"There is no field {self.field!r}; {hint(self.field, problem.fields)}")
        self.names = tuple(parameters)
        self.work = f"{type(problem).__name__}.{self.field} by {', '.join(self.names)}"
        self._problem, self._network = problem, solution.network
        self._others = [i for i, name in enumerate(problem.coordinates) if name not in self.names]
        self._places = [problem.coordinates.index(name) for name in self.names]
        if sensors.ndim != 2 or sensors.shape[1] != len(self._others):
            names = ", ".join(problem.coordinates[i] for i in self._others)
            raise InputError(f"Sensors have a column for each of {names}; got the shape {tuple(sensors.shape)}.")
        self._sensors = sensors.double()
        ranges = problem.domain.bounds
        self.lower = torch.tensor([ranges[name][0] for name in self.names], dtype=torch.float64)
        self.upper = torch.tensor([ranges[name][1] for name in self.names], dtype=torch.float64)
        inside = problem.domain.contains(self._points((self.lower + self.upper)[None] / 2), 1e-9)
        if not bool(inside.all()):
            where = self._sensors[~inside][0].tolist()
            raise InputError(f"The sensor at {where} is outside the domain, where nothing was learned.")

    def __call__(self, parameters: Tensor) -> Tensor:
        return self._evaluate(parameters, ())[:, 0]

    def linearise(self, parameters: Tensor) -> Tensor:
        """(n, 1 + p, m): the field at the sensors, then its derivative by each parameter."""
        return self._evaluate(parameters, self.names)

    def to(self, device: Any) -> SolutionModel:
        """The same with the network on a device."""
        self._network.to(device)
        self._sensors = self._sensors.to(device)
        return self

    @torch.no_grad()
    def _evaluate(self, parameters: Tensor, derivatives: Sequence[str]) -> Tensor:
        layout = JetLayout(self._problem.coordinates, [(name,) for name in derivatives])
        unknowns = self._network.values(self._problem)
        found = []
        for points in self._points(parameters).split(POINTS):
            prepared = prepare(self._problem, self._network.network, points, layout)
            field = fields_at(self._network.network, prepared, unknowns)[self.field]
            assert isinstance(field, JetField)
            found.append(torch.stack([field.value.reshape(-1), *(field.d(name).reshape(-1) for name in derivatives)]))
        parts = torch.cat(found, dim=1).double()
        return parts.view(1 + len(derivatives), len(parameters), -1).transpose(0, 1).contiguous()

    def _points(self, parameters: Tensor) -> Tensor:
        """Every sensor of every specimen, (n m, coordinates)."""
        n, m = len(parameters), len(self._sensors)
        points = parameters.new_empty(n, m, len(self._problem.coordinates))
        points[:, :, self._others] = self._sensors
        points[:, :, self._places] = parameters[:, None, :]
        return points.view(n * m, -1)
