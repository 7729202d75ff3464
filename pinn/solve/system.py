"""A problem's residuals as a solver sees them: groups of points, each with the terms that are asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pinn.conditions.condition import Condition, ConditionPoints
from pinn.fields import Field, record
from pinn.jets.layout import JetLayout
from pinn.problem import Problem
from pinn.residuals import KEPT_BYTES, PreparedPoints, fields_at, prepare, union
from pinn.sampling.sampler import ResidualNotFinite
from pinn.solve.trial import Trial
from training.errors import ConfigurationError

TRACED_POINTS = 4
"""Points at which a condition is asked which derivatives it needs."""


class PointGroup:
    """Points that share their residuals: those of the equations, or those of one condition.

    Args:
        points: (n, d) float64, on the device of the weights.
        layout: derivatives that the residuals need.
        terms: names of the residuals.
        condition: None for the equations.
        given: what the condition knows of its points.
    """

    def __init__(
        self,
        points: Tensor,
        layout: JetLayout,
        terms: tuple[str, ...],
        condition: Condition | None = None,
        given: ConditionPoints | None = None,
    ) -> None:
        self.points, self.layout, self.terms = points, layout, terms
        self.condition, self.given = condition, given
        self.rows_per_residual = 1 if given is None else given.group
        self._prepared: dict[tuple[int, int], PreparedPoints] = {}

    def __len__(self) -> int:
        """Number of residuals of each term."""
        return len(self.points) // self.rows_per_residual

    def pick(self, rows: Tensor) -> PointGroup:
        """The group of some residuals, by their numbers (m,) int64."""
        per = self.rows_per_residual
        chosen = (rows.to(self.points.device)[:, None] * per + torch.arange(per, device=self.points.device)).reshape(-1)
        given = self.given
        if given is not None:
            normals = None if given.normals is None else given.normals[chosen]
            values = {name: value[chosen] for name, value in given.values.items()}
            given = ConditionPoints(self.points[chosen], normals, values, per)
        return PointGroup(self.points[chosen], self.layout, self.terms, self.condition, given)

    def prepared(self, problem: Problem, trial: Trial, start: int, stop: int) -> PreparedPoints:
        """The rows with everything that does not depend on weights, remembered while it takes little room."""
        key = (start, stop)
        if key not in self._prepared:
            made = prepare(problem, trial.network, self.points[start:stop], self.layout)
            width = trial.network.features.width + 2 * len(problem.fields)
            if len(self.points) * self.layout.n_parts * width * 8 > KEPT_BYTES:
                return made
            self._prepared[key] = made
        return self._prepared[key]


class System:
    """Equations and soft conditions of a problem, with the derivatives each of them asks for.

    Args:
        problem: checked.

    Attributes:
        layout: derivatives of the equations.
        equations: names of the equations' terms.
        conditions: for each soft condition its layout and the names of its terms, by the condition's name.

    Raises:
        ConfigurationError: if two terms have one name.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.layout, self.equations = self._ask(problem.residuals)
        self.conditions: dict[str, tuple[Condition, JetLayout, tuple[str, ...]]] = {}
        generator = torch.Generator().manual_seed(0)
        for condition in problem.soft_conditions:
            given = condition.sample(problem.domain, TRACED_POINTS, generator)
            layout, terms = self._ask(_at(condition, given), given.points)
            self.conditions[condition.name] = (condition, layout, terms)
        repeated = sorted(name for name in set(self.terms) if self.terms.count(name) > 1)
        if repeated:
            raise ConfigurationError(
                f"{', '.join(repeated)} names more than one equation or condition of {problem.title}; give each a name "
                "of its own (conditions: name=…)."
            )

    @property
    def terms(self) -> tuple[str, ...]:
        """All names, those of the equations first."""
        return (*self.equations, *(term for _, _, terms in self.conditions.values() for term in terms))

    def equation_points(self, points: Tensor) -> PointGroup:
        """A group on which the equations are evaluated."""
        return PointGroup(points, self.layout, self.equations)

    def condition_points(self, name: str, given: ConditionPoints) -> PointGroup:
        """A group on which a condition is evaluated."""
        condition, layout, terms = self.conditions[name]
        return PointGroup(given.points, layout, terms, condition, given)

    def residuals(self, trial: Trial, group: PointGroup, start: int, stop: int) -> dict[str, Tensor]:
        """Residuals (m,) of a group's rows by term, with graph, in the precision of the weights."""
        prepared = group.prepared(self.problem, trial, start, stop)
        parameters = trial.values(self.problem, stop - start)
        fields = fields_at(trial.network, prepared, parameters)
        if group.condition is None:
            found = self.problem.residuals(fields, prepared.columns, parameters)
        else:
            assert group.given is not None
            rows = group.given.rows(start, stop).to(next(iter(prepared.columns.values())))
            found = group.condition.residuals(fields, prepared.columns, rows, parameters)
        return {name: _values(residual) for name, residual in found.items()}

    def magnitude(self, trial: Trial, points: Tensor, scales: Mapping[str, float]) -> Tensor:
        """All equations together, ``sqrt(Σ_k w_k r_k²)`` at any points: (n,), without graph.

        Args:
            trial: the network.
            points: (n, d) float64.
            scales: w_k of each equation.

        Raises:
            ResidualNotFinite: names the equations, and the first point at which one of them is not finite.
        """
        with torch.no_grad():
            group = self.equation_points(points.to(next(trial.parameters()).device))
            found = self.residuals(trial, group, 0, len(points))
            together = torch.stack([scales[name] * found[name].square() for name in self.equations]).sum(0).sqrt()
        if not bool(together.isfinite().all()):
            raise ResidualNotFinite(self._not_finite(found, points))
        return together

    def _not_finite(self, found: Mapping[str, Tensor], points: Tensor) -> str:
        names = [name for name in self.equations if not bool(found[name].isfinite().all())]
        if not names:
            return f"the residual is too large to be squared: {max(float(r.abs().max()) for r in found.values()):.1e}"
        row = int((~found[names[0]].isfinite()).nonzero()[0])
        place = zip(self.problem.coordinates, points[row].tolist(), strict=True)
        where = ", ".join(f"{name}={value:.6g}" for name, value in place)
        return f"{', '.join(names)} {'are' if len(names) > 1 else 'is'} not finite (first at {where})"

    def values(self, trial: Trial, points: Tensor) -> Tensor:
        """All fields at any points (n, d): (n, n_fields), without graph."""
        problem = self.problem
        with torch.no_grad():
            prepared = prepare(problem, trial.network, points, JetLayout(problem.coordinates))
            fields = fields_at(trial.network, prepared, trial.values(problem))
            return torch.stack([fields[name].value for name in problem.fields], dim=1)

    def _ask(self, residuals: Any, points: Tensor | None = None) -> tuple[JetLayout, tuple[str, ...]]:
        names: list[str] = []

        def asked(fields: Mapping[str, Field], columns: Mapping[str, Tensor]) -> Mapping[str, Any]:
            ones = {name: torch.ones((), dtype=torch.float64) for name in self.problem.parameters}
            found = residuals(fields, columns, ones)
            names.extend(found)
            return dict(found)

        problem = self.problem
        layouts = record(asked, problem.coordinates, problem.fields, problem.space, points)
        return union(layouts.values()), tuple(names)


def _at(condition: Condition, given: ConditionPoints) -> Any:
    return lambda fields, columns, parameters: condition.residuals(fields, columns, given, parameters)


def _values(residual: Any) -> Tensor:
    # an equation that is nothing but a field gives the field
    return residual.value if isinstance(residual, Field) else residual
