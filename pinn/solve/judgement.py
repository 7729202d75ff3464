"""How good a solution is while it is trained: its error against the reference, and its residual on fixed points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from pinn.jets.layout import JetLayout
from pinn.residuals import fields_at
from pinn.solve.results import RELATIVE_L2, RESIDUAL
from pinn.solve.system import PointGroup, System
from pinn.solve.trial import Trial
from training.errors import InputError

SEED = 20240229
"""Of the points on which the residual is measured; they are the same in every run."""


class Rows(NamedTuple):
    """A batch of a validation: which points."""

    kind: Literal["reference", "residual"]
    start: int
    stop: int


class Judge:
    """Measures relative L2 errors on the problem's evaluation points, and residuals on fixed points of the domain.

    Args:
        system: the problem.
        residual_points: on which the residual is measured.
        chunk: points evaluated together, at most.

    Attributes:
        points: (n, d) float64, where errors are stated.
        reference: per field (n,) float64; empty without a reference.

    Raises:
        InputError: if a reference value is not finite.
    """

    def __init__(self, system: System, residual_points: int, chunk: int) -> None:
        problem = system.problem
        self.system, self.chunk = system, chunk
        self.points = problem.evaluation_points()
        self.reference = {} if problem.reference is None else problem.reference.values(self.points)
        _require_finite(self.reference, problem.title)
        interior = problem.domain.sample(residual_points, torch.Generator().manual_seed(SEED), "sobol")
        self._values = PointGroup(self.points, JetLayout(problem.coordinates), ())
        self._residuals = system.equation_points(interior)

    @property
    def names(self) -> tuple[str, ...]:
        """The metrics of a validation."""
        errors = [f"{RELATIVE_L2}_{name}" for name in self.reference]
        return (*errors, RELATIVE_L2, RESIDUAL) if errors else (RESIDUAL,)

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __iter__(self) -> Iterator[Rows]:
        if self.reference:
            yield from _rows("reference", len(self.points), self.chunk)
        yield from _rows("residual", len(self._residuals), self.chunk)

    def values(self, trial: Trial) -> dict[str, Tensor]:
        """The fields on the evaluation points: (n,) each, without graph."""
        parts = [self._fields(trial, rows) for rows in _rows("reference", len(self.points), self.chunk)]
        return {name: torch.cat([part[name] for part in parts]) for name in self.system.problem.fields}

    def sums(self, trial: Trial, rows: Rows) -> dict[str, tuple[Tensor, Tensor | float]]:
        """Squared errors over squared references, or squared residuals over their number, of a batch."""
        if rows.kind == "residual":
            with torch.no_grad():
                found = self.system.residuals(trial, self._residuals, rows.start, rows.stop)
            return {f"residual/{name}": (value.square().sum(), float(len(value))) for name, value in found.items()}
        fields = self._fields(trial, rows)
        sums: dict[str, tuple[Tensor, Tensor | float]] = {}
        for name, reference in self.reference.items():
            exact = reference[rows.start : rows.stop].to(fields[name].device)
            sums[f"error/{name}"] = ((fields[name].double() - exact).square().sum(), exact.square().sum())
        return sums

    def metrics(self, means: Mapping[str, float]) -> dict[str, float]:
        """``relative_l2`` of the worst field, ``relative_l2_<field>`` and ``residual_rms``, from means of squares."""
        errors = {name.removeprefix("error/"): v**0.5 for name, v in means.items() if name.startswith("error/")}
        squares = [value for name, value in means.items() if name.startswith("residual/")]
        found = {f"{RELATIVE_L2}_{name}": error for name, error in errors.items()}
        if errors:
            found[RELATIVE_L2] = max(errors.values())
        found[RESIDUAL] = sum(squares) ** 0.5
        return found

    def _fields(self, trial: Trial, rows: Rows) -> dict[str, Tensor]:
        problem = self.system.problem
        with torch.no_grad():
            prepared = self._values.prepared(problem, trial, rows.start, rows.stop)
            fields = fields_at(trial.network, prepared, trial.values(problem))
        return {name: field.value for name, field in fields.items()}


def describe_errors(metrics: Mapping[str, float]) -> str:
    """Error and residual on one line."""
    residual = f"residual {metrics[RESIDUAL]:.3g}"
    return f"relative L2 error {metrics[RELATIVE_L2]:.3g}, {residual}" if RELATIVE_L2 in metrics else residual


def _require_finite(reference: Mapping[str, Tensor], title: str) -> None:
    for name, values in reference.items():
        bad = int((~values.isfinite()).sum())
        if bad:
            raise InputError(
                f"The reference of {title} is not finite at {bad} of {len(values)} evaluation points of {name}, so no "
                "error can be stated. Check the arguments of the problem (problem.…)."
            )


def _rows(kind: Any, n: int, chunk: int) -> Iterator[Rows]:
    for start in range(0, n, chunk):
        yield Rows(kind, start, min(start + chunk, n))
