"""Everything a finished solution was measured by: plain numbers and arrays, filled in by the run, read by the report.

Arrays are numpy, float64. Quantities are non-dimensional unless the problem states units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

RELATIVE_L2 = "relative_l2"
RESIDUAL = "residual_rms"
WEIGHT = "weight/"
PARAMETER = "parameter/"
SECONDS = "seconds"
"""Names in ``metrics.jsonl`` that the report draws: ``validation/relative_l2`` (the largest over the fields) and
``validation/relative_l2_<field>``, ``validation/residual_rms``; ``train/loss`` and ``train/<term>``; ``weight/<term>``;
``parameter/<name>``; and ``seconds``, the training time so far in every process the run needed."""


@dataclass(frozen=True)
class Evaluated:
    """Fields on a set of points.

    The points may be a full grid, a grid with holes (a disk, an L-shape), or scattered; figures find out which.

    Attributes:
        coordinates: names of the columns of ``points``.
        time: which of them is time, None if none is.
        points: (n_points, n_coordinates).
        solution: per field (n_points,).
        reference: per field (n_points,); fields without one are left out.
        residual: per equation (n_points,), signed; empty if it was not evaluated here.
    """

    coordinates: tuple[str, ...]
    time: str | None
    points: np.ndarray
    solution: Mapping[str, np.ndarray]
    reference: Mapping[str, np.ndarray] = field(default_factory=dict)
    residual: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = (len(self.points), len(self.coordinates))
        if self.points.shape != shape:
            raise ValueError(
                f"Points of {', '.join(self.coordinates)} have the shape {shape}; got {self.points.shape}."
            )
        if self.time is not None and self.time not in self.coordinates:
            raise ValueError(f"The time {self.time} is none of the coordinates {', '.join(self.coordinates)}.")
        unknown = sorted(set(self.reference) - set(self.solution))
        if unknown:
            raise ValueError(f"There is a reference for {', '.join(unknown)} but no solution.")
        for values in (self.solution, self.reference, self.residual):
            for name, array in values.items():
                if array.shape != shape[:1]:
                    raise ValueError(f"{name} has one value for each of the {shape[0]} points; got {array.shape}.")

    def error(self, name: str) -> np.ndarray:
        """Solution minus reference of a field, (n_points,)."""
        return np.asarray(self.solution[name] - self.reference[name])


@dataclass(frozen=True)
class FieldError:
    """One field against its reference on the evaluation points.

    Attributes:
        relative_l2: ``‖u − u_ref‖₂ / ‖u_ref‖₂``.
        largest: largest absolute difference.
        reference_largest: largest absolute value of the reference, for comparison.
        floor: the reference's own relative error; None if it is not known.
    """

    relative_l2: float
    largest: float
    reference_largest: float
    floor: float | None = None


@dataclass(frozen=True)
class FoundParameter:
    """An unknown parameter that the solution found.

    Attributes:
        value: found.
        initial: where the search began.
        truth: what made the data; None if nobody knows.
    """

    value: float
    initial: float
    truth: float | None = None

    @property
    def relative_error(self) -> float | None:
        """Difference from the truth over the truth; None without a truth or with a truth of zero."""
        return None if not self.truth else abs(self.value - self.truth) / abs(self.truth)


@dataclass(frozen=True)
class StageCost:
    """What one stage took.

    Attributes:
        optimizer: its name.
        precision: of the weights or products.
        steps: optimizer steps done.
        seconds: training time, validation included.
        points: collocation points per step.
        relative_l2: reached at its end; None without a reference.
    """

    optimizer: str
    precision: str
    steps: int
    seconds: float
    points: int
    relative_l2: float | None = None

    @property
    def ms_per_step(self) -> float:
        return 1000 * self.seconds / max(self.steps, 1)


@dataclass(frozen=True)
class PointSnapshot:
    """The collocation points at one moment.

    Attributes:
        step: counted over all stages.
        stage: its name.
        points: (n_points, n_coordinates).
        weights: (n_points,) with mean one; None if all are equal.
    """

    step: int
    stage: str
    points: np.ndarray
    weights: np.ndarray | None = None


@dataclass(frozen=True)
class Results:
    """What was measured; empty or None where it was not.

    Attributes:
        evaluation: where the error is stated (`Problem.evaluation_points`).
        errors: per field with a reference.
        floor_note: how the reference's own error was measured, a sentence.
        residual_rms: per equation, root mean square over the evaluation points.
        residual_rms_before: the same of the network before the first step, for comparison.
        condition_rms: per condition, root mean square of what is left of it on the points it was learned on; exactly
            satisfied ones are left out.
        parameters: of an inverse problem.
        maps: for the maps, where the evaluation points do not fill the domain; None: the evaluation points do.
        slices: for more than three coordinates, lines through the domain: points along the coordinate of that name.
        stages: in order.
        snapshots: collocation points over time, in order.
        seconds: of the training, all stages and all processes together.
        peak_memory_MB: largest resident memory of the process; on a GPU that of the device.
        n_parameters: weights of the network.
    """

    evaluation: Evaluated
    errors: Mapping[str, FieldError] = field(default_factory=dict)
    floor_note: str = ""
    residual_rms: Mapping[str, float] = field(default_factory=dict)
    residual_rms_before: Mapping[str, float] = field(default_factory=dict)
    condition_rms: Mapping[str, float] = field(default_factory=dict)
    parameters: Mapping[str, FoundParameter] = field(default_factory=dict)
    maps: Evaluated | None = None
    slices: Mapping[str, Evaluated] = field(default_factory=dict)
    stages: Mapping[str, StageCost] = field(default_factory=dict)
    snapshots: tuple[PointSnapshot, ...] = ()
    seconds: float | None = None
    peak_memory_MB: float | None = None
    n_parameters: int | None = None

    @property
    def floor(self) -> float | None:
        """The largest known relative error of the references; None if none is known."""
        return max((error.floor for error in self.errors.values() if error.floor is not None), default=None)

    def figures(self) -> dict[str, Any]:
        """Flat figures for gates and summary, None where not measured; the names of `GateSettings` are among them."""
        parameter_errors = [p.relative_error for p in self.parameters.values() if p.relative_error is not None]
        return {
            "relative_l2": _largest(error.relative_l2 for error in self.errors.values()),
            **{f"relative_l2_{name}": error.relative_l2 for name, error in self.errors.items()},
            "largest_error": _largest(error.largest for error in self.errors.values()),
            "reference_floor": self.floor,
            "residual_rms": _together(self.residual_rms),
            "residual_rms_before": _together(self.residual_rms_before),
            "condition_rms": _largest(self.condition_rms.values()),
            "parameter_error_percent": None if not parameter_errors else 100 * max(parameter_errors),
            **{f"parameter_{name}": parameter.value for name, parameter in self.parameters.items()},
            "minutes": None if self.seconds is None else self.seconds / 60,
            "seconds": self.seconds,
            "steps": sum(stage.steps for stage in self.stages.values()) if self.stages else None,
            "peak_memory_MB": self.peak_memory_MB,
            "evaluation_points": len(self.evaluation.points),
            "n_parameters": self.n_parameters,
        }

    def details(self) -> dict[str, Any]:
        """What stands behind the figures, nested, for ``summary.json``; no arrays."""
        return {
            "errors": {name: asdict(error) for name, error in self.errors.items()},
            "floor_note": self.floor_note,
            "residual_rms": dict(self.residual_rms),
            "residual_rms_before": dict(self.residual_rms_before),
            "condition_rms": dict(self.condition_rms),
            "parameters": {name: asdict(parameter) for name, parameter in self.parameters.items()},
            "stages": {name: {**asdict(s), "ms_per_step": s.ms_per_step} for name, s in self.stages.items()},
        }


def field_error(solution: np.ndarray, reference: np.ndarray, floor: float | None) -> FieldError:
    """A field against its reference.

    Args:
        solution, reference: (n_points,).
        floor: the reference's own relative error.
    """
    difference = solution - reference
    size = float(np.linalg.norm(reference))
    if size == 0:
        raise ValueError("A reference that is zero everywhere has no relative error; leave the field out.")
    largest, scale = float(np.abs(difference).max()), float(np.abs(reference).max())
    return FieldError(float(np.linalg.norm(difference)) / size, largest, scale, floor)


def _largest(values: Any) -> float | None:
    # not max(): a NaN must not hide behind a number
    array = np.array(list(values), dtype=float)
    return float(np.max(array)) if len(array) else None


def _together(rms: Mapping[str, float]) -> float | None:
    """Root of the sum of the squares over the equations."""
    return float(np.sqrt(np.sum(np.square(list(rms.values()))))) if rms else None
