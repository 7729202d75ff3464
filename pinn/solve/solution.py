"""A solved problem as a function of its coordinates.

>>> solution = pinn.load("network.safetensors")      # doctest: +SKIP
>>> at = solution(x=[0.0, 0.5], t=0.3)               # doctest: +SKIP
>>> at.u, at.u_x, at.u_xx                            # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pinn.fields import Derivative, JetField, spelled
from pinn.jets.layout import JetLayout
from pinn.names import hint
from pinn.problem import Problem
from pinn.residuals import fields_at, prepare
from pinn.solve.trial import Trial
from training.errors import InputError

CHUNK = 10_000
"""Points evaluated together, unless another number is asked for."""

Array = np.ndarray | Tensor


class Solution:
    """The fields of a problem at any points of its domain.

    Args:
        problem: that was solved.
        trial: the trained network.
        metadata: what the file says of itself.
        path: where it came from, None for a network in memory.

    Attributes:
        fields: names.
        coordinates: names, space first and time last.
        parameters: unknown parameters, as found; empty for a forward problem.
        metadata: see `pinn.solve.metadata.NetworkMetadata`; ``metadata["accuracy"]`` states the error.
    """

    def __init__(
        self, problem: Problem, trial: Trial, metadata: Mapping[str, Any] | None = None, path: Path | None = None
    ) -> None:
        self.problem = problem
        self.network = trial.eval()
        self.metadata = dict(metadata or {})
        self.path = path
        with torch.no_grad():
            self.parameters = {name: value.item() for name, value in trial.values(problem).items()}

    @property
    def fields(self) -> tuple[str, ...]:
        return self.problem.fields

    @property
    def coordinates(self) -> tuple[str, ...]:
        return self.problem.coordinates

    def __call__(self, *, chunk: int = CHUNK, **coordinates: Any) -> Values:
        """The solution at points; nothing is computed before a field is asked for.

        Args:
            chunk: points evaluated together, at most: it bounds the memory.
            **coordinates: a value or an array for each coordinate, of shapes that broadcast.

        Raises:
            InputError: if a coordinate is missing, unknown, or the shapes do not fit.
        """
        if chunk < 1:
            raise InputError(f"chunk={chunk} is the number of points evaluated together, at least 1.")
        points, shape, like = _points(coordinates, self.coordinates)
        return Values(self, points, shape, like, chunk)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}=…" for name in self.coordinates)
        return f"Solution of {self.problem.title}: call ({arguments}) for {', '.join(self.fields)}"


class Values:
    """Fields and derivatives at points, computed when asked for and then kept.

    ``.u``, ``.u_x``, ``.u_xt``, ``.u_laplacian``; `derivative` for coordinates with longer names. Arrays are numpy
    float64 unless a coordinate was a torch tensor, in the common shape of the coordinates. Points outside the domain,
    where the equations were never asked to hold, have no values: NaN.
    """

    def __init__(
        self, solution: Solution, points: Tensor, shape: tuple[int, ...], like: Tensor | None, chunk: int
    ) -> None:
        self._solution, self._points, self._shape = solution, points, shape
        self._like, self._chunk = like, chunk
        self._known: dict[tuple[str, Derivative | str], Array] = {}
        domain = solution.problem.domain
        self._inside = domain.contains(points, 1e-9 * domain.extent)

    def derivative(self, field: str, *coordinates: str) -> Array:
        """A field differentiated by coordinates, in any order; without any, its value.

        Raises:
            InputError: if there is no such field or coordinate.
        """
        known = self._solution.coordinates
        if field not in self._solution.fields:
            raise InputError(f"There is no field {field!r}; {hint(field, self._solution.fields)}")
        for name in coordinates:
            if name not in known:
                raise InputError(f"There is no coordinate {name!r}; {hint(name, known)}")
        return self._get(field, tuple(sorted(coordinates, key=known.index)))

    def laplacian(self, field: str) -> Array:
        """The sum of the second derivatives by the space coordinates."""
        if field not in self._solution.fields:
            raise InputError(f"There is no field {field!r}; {hint(field, self._solution.fields)}")
        return self._get(field, "laplacian")

    def __getattr__(self, name: str) -> Array:
        if name.startswith("__"):
            raise AttributeError(name)
        fields, coordinates = self._solution.fields, self._solution.coordinates
        for field in sorted(fields, key=len, reverse=True):
            if name == field:
                return self._get(field, ())
            if not name.startswith(f"{field}_"):
                continue
            written = name.removeprefix(f"{field}_")
            if written == "laplacian":
                return self._get(field, "laplacian")
            if factors := spelled(written, coordinates):
                return self.derivative(field, *factors)
        known = [*fields, *(f"{field}_{c}" for field in fields for c in coordinates)]
        raise AttributeError(f"{name} is neither a field nor a derivative of one; {hint(name, known)}")

    def __getitem__(self, name: str) -> Array:
        return getattr(self, name)

    def __repr__(self) -> str:
        return f"Values of {', '.join(self._solution.fields)} at {len(self._points)} points of shape {self._shape}"

    def _get(self, field: str, what: Derivative | str) -> Array:
        if (field, what) not in self._known:
            self._evaluate(what)
        return self._known[field, what]

    @torch.no_grad()
    def _evaluate(self, what: Derivative | str) -> None:
        """A derivative of all fields, which cost little more than one."""
        solution = self._solution
        layout = _layout(solution.problem, what)
        parts: dict[str, list[Tensor]] = {name: [] for name in solution.fields}
        inside = self._points[self._inside]
        parameters = solution.network.values(solution.problem)
        for points in inside.split(self._chunk):
            prepared = prepare(solution.problem, solution.network.network, points, layout)
            for name, field in fields_at(solution.network.network, prepared, parameters).items():
                assert isinstance(field, JetField)
                parts[name].append(field.laplacian if what == "laplacian" else field.d(*what) if what else field.value)
        for name, found in parts.items():
            values = torch.full((len(self._points),), torch.nan, dtype=torch.float64)
            if found:
                values[self._inside] = torch.cat(found).to("cpu", torch.float64)
            self._known[name, what] = self._shaped(values)

    def _shaped(self, values: Tensor) -> Array:
        values = values.reshape(self._shape)
        return values.numpy() if self._like is None else values.to(self._like)


def _layout(problem: Problem, what: Derivative | str) -> JetLayout:
    if what == "laplacian":
        return JetLayout(problem.coordinates, [(name, name) for name in problem.space])
    return JetLayout(problem.coordinates, [what] if what else [])


def _points(given: Mapping[str, Any], names: tuple[str, ...]) -> tuple[Tensor, tuple[int, ...], Tensor | None]:
    """Points (n, d) float64 on the CPU, the common shape, and a tensor to answer like, None for numpy."""
    for name in given:
        if name not in names:
            raise InputError(f"There is no coordinate {name!r}; {hint(name, names)}")
    missing = [name for name in names if name not in given]
    if missing:
        raise InputError(f"The solution is a function of {', '.join(names)}; {', '.join(missing)} is not given.")
    tensors = [value for value in given.values() if isinstance(value, Tensor)]
    like = None
    if tensors:
        floating = [value for value in tensors if value.is_floating_point()]
        dtype = floating[0].dtype if floating else torch.float64
        like = torch.empty(0, dtype=dtype, device=tensors[0].device)
    columns = []
    for name in names:
        value = given[name]
        try:
            column = value.detach().cpu().double() if isinstance(value, Tensor) else np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(f"{name} is a number or an array of numbers; got {type(value).__name__}.") from error
        columns.append(torch.as_tensor(column))
    try:
        broadcast = torch.broadcast_tensors(*columns)
    except RuntimeError as error:
        shapes = ", ".join(f"{name} {tuple(column.shape)}" for name, column in zip(names, columns, strict=True))
        raise InputError(f"The shapes of the coordinates do not fit together: {shapes}.") from error
    return torch.stack([column.reshape(-1) for column in broadcast], dim=1), tuple(broadcast[0].shape), like
