"""A differential equation with everything that makes it one problem: domain, fields, equations, conditions."""

from __future__ import annotations

import inspect
from abc import ABCMeta
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pinn.ansatz import Ansatz
from pinn.conditions.condition import Condition
from pinn.conditions.periodic import Periodic
from pinn.geometry.base import Geometry
from pinn.names import call_by_name
from pinn.problem_check import complaints
from pinn.unknown import Unknown
from training.errors import ConfigurationError

if TYPE_CHECKING:
    from pinn.references.reference import Reference

__all__ = ["Problem", "Unknown"]

_GRID = {1: 1001, 2: 201, 3: 41}
"""Points per coordinate of the default evaluation grid."""

_SCATTERED = 20_000


class _Constructed(ABCMeta):
    """Keeps the arguments a problem was made from, and checks the problem once it is complete."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        problem = super().__call__(*args, **kwargs)
        bound = inspect.signature(cls.__init__).bind(problem, *args, **kwargs)  # type: ignore[misc]
        bound.apply_defaults()
        problem.arguments = {name: value for name, value in bound.arguments.items() if name != "self"}
        problem.check()
        return problem


class Problem(metaclass=_Constructed):
    """The base of every problem: a subclass sets the attributes and writes the equations.

    >>> class Heat(Problem):
    ...     title = "Heat equation"
    ...     formula = r"u_t = u_{xx}"
    ...     fields = ("u",)
    ...
    ...     def __init__(self, end: float = 0.5):
    ...         self.domain = Interval(x=(0, 1)) * Time(0, end)
    ...         self.conditions = [
    ...             Dirichlet(u=0.0, hard=True),
    ...             Initial(u=lambda x: torch.sin(torch.pi * x), hard=True),
    ...         ]
    ...
    ...     def equations(self, u):
    ...         return {"heat": u.t - u.xx}

    A problem is checked as soon as it is constructed.

    Attributes:
        title: one line for the report.
        formula: LaTeX of the equations for the report, without dollar signs.
        domain: where the equations hold; its coordinates are the problem's.
        fields: names of the unknown functions, one network output each.
        equations: method that gives the residuals of the equations by name; its arguments are any of the fields,
            coordinates and unknown parameters, matched by their names.
        conditions: on the boundary, at the start, at points.
        parameters: unknown numbers of an inverse problem, by name.
        truth: of them those whose true value is known, as it is for made-up measurements: it judges what was found.
        reference: the solution to compare with, or None.
        arguments: what the problem was constructed from, by name.
    """

    title: str = ""
    formula: str = ""
    domain: Geometry
    fields: tuple[str, ...] = ("u",)
    equations: Callable[..., dict[str, Tensor]]
    lift: Callable[..., Mapping[str, Any]] | None = None
    """Optional method that gives, by field, a function satisfying the hard conditions; arguments by name as for
    the equations (coordinates and unknown parameters). Written with torch functions. Made from the conditions
    unless given."""
    conditions: Sequence[Condition] = ()
    parameters: Mapping[str, Unknown] = {}
    truth: Mapping[str, float] = {}
    reference: Reference | None = None
    arguments: dict[str, Any]

    @property
    def coordinates(self) -> tuple[str, ...]:
        """Names of the coordinates, space first and time last; the columns of points."""
        return self.domain.coordinates

    @property
    def space(self) -> tuple[str, ...]:
        """Names of the space coordinates."""
        return self.domain.space

    @property
    def time(self) -> str | None:
        """Name of the time coordinate, or None."""
        return self.domain.time

    @property
    def target(self) -> str:
        """Dotted path of the class; with ``arguments`` it says how to construct the problem again."""
        return f"{type(self).__module__}.{type(self).__qualname__}"

    @property
    def hard_conditions(self) -> tuple[Condition, ...]:
        """Conditions that the form of the solution satisfies."""
        return tuple(condition for condition in self.conditions if condition.hard)

    @property
    def soft_conditions(self) -> tuple[Condition, ...]:
        """Conditions that become loss terms."""
        return tuple(condition for condition in self.conditions if not condition.hard)

    @property
    def periods(self) -> dict[str, float]:
        """Coordinates the network embeds exactly as periodic, with their periods."""
        found = [condition for condition in self.hard_conditions if isinstance(condition, Periodic)]
        return {condition.coordinate: condition.period(self.domain) for condition in found}

    @cached_property
    def _form(self) -> Ansatz:
        return Ansatz(self)

    def residuals(
        self,
        fields: Mapping[str, Any],
        coordinates: Mapping[str, Tensor],
        parameters: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """The residuals of the equations at points, by name.

        Args:
            fields: by name, with derivatives (`pinn.fields.Field`).
            coordinates: by name, in the shape of a field's values.
            parameters: unknown parameters by name.
        """
        return call_by_name(self.equations, {**coordinates, **(parameters or {}), **fields})

    def network_coordinates(self, coordinates: Mapping[str, Any]) -> dict[str, Any]:
        """What the networks are given in place of the coordinates: the same, but for hard Neumann and Robin conditions.

        Args:
            coordinates: tensors or jets by name.

        Returns:
            The network's inputs by name, in the order of `network_bounds`.
        """
        return self._form.network_coordinates(coordinates)

    @property
    def network_bounds(self) -> dict[str, tuple[float, float]]:
        """Names and ranges of the network's inputs."""
        return self._form.network_bounds()

    def ansatz(
        self,
        networks: Mapping[str, Any],
        coordinates: Mapping[str, Any],
        parameters: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The fields ``u = lift + factor·N`` that satisfy every hard condition, whatever the network N is.

        Args:
            networks: output of the network for each field, tensors (n, 1) or jets of width 1.
            coordinates: in the same form.
            parameters: unknown parameters by name; hard conditions may depend on them.
        """
        terms = self.ansatz_terms(coordinates, parameters, tuple(networks))
        return {name: self._form.compose(terms[name], network) for name, network in networks.items()}

    def ansatz_terms(
        self,
        coordinates: Mapping[str, Any],
        parameters: Mapping[str, Any] | None = None,
        fields: Sequence[str] | None = None,
    ) -> dict[str, tuple[Any, Any]]:
        """Lift and factor of each field, None where there is none; they do not depend on the network, so that a solver
        with frozen points needs them once.

        Args:
            coordinates: tensors or jets by name.
            parameters: unknown parameters by name.
            fields: which; None for all.
        """
        names = self.fields if fields is None else fields
        return self._form.terms(names, coordinates, parameters)

    def evaluation_points(self) -> Tensor:
        """The fixed points on which errors are stated: a regular grid, or Sobol points beyond three coordinates.

        Returns:
            (n, d) float64, inside the domain and on its boundary.
        """
        d = len(self.coordinates)
        if d not in _GRID:
            return self.domain.sample(_SCATTERED, torch.Generator().manual_seed(0), "sobol")
        axes = [torch.linspace(low, high, _GRID[d], dtype=torch.float64) for low, high in self.domain.bounds.values()]
        points = torch.cartesian_prod(*axes).reshape(-1, d)
        return points[self.domain.contains(points, 1e-12 * self.domain.extent)]

    def check(self) -> None:
        """Find every mistake that can be found without training.

        Raises:
            ConfigurationError: names all mistakes at once.
        """
        # conditions may have changed since the last time
        self.__dict__.pop("_form", None)
        found = complaints(self)
        if found:
            lines = "\n".join(f"  {line}" for line in found)
            count = "1 mistake" if len(found) == 1 else f"{len(found)} mistakes"
            raise ConfigurationError(f"The problem {type(self).__name__} has {count}:\n{lines}")

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{type(self).__name__}({arguments})"
