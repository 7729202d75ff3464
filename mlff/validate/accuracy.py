"""Errors of a student on labelled structures, beside the errors of predictors that know nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from ase import units
from ase.data import chemical_symbols

from mlff.validate.prediction import Comparison

MEV = 1000.0
"""meV per eV."""


@dataclass(frozen=True)
class ElementAccuracy:
    """Force errors of one element's atoms; the mean runs over components."""

    atoms: int
    force_mae_meV_per_A: float
    force_rmse_meV_per_A: float
    force_mae_of_zero_meV_per_A: float
    """Error of predicting no force at all: the mean size of the reference components."""


@dataclass(frozen=True)
class Accuracy:
    """Errors on labelled structures. Means over structures for energies, over components for forces and stresses.

    None stands where the labels or the predictions have no such quantity; NaN where a prediction is not finite.
    """

    structures: int
    atoms: int
    energy_mae_meV_per_atom: float
    energy_rmse_meV_per_atom: float
    energy_bias_meV_per_atom: float
    """Mean of predicted minus reference: the part of the error that one constant would remove."""
    energy_mae_of_constant_meV_per_atom: float
    """Error of the best sum of one constant per element, fitted to these very labels: the strictest such predictor."""
    force_mae_meV_per_A: float
    force_rmse_meV_per_A: float
    force_mae_of_zero_meV_per_A: float
    force_rmse_of_zero_meV_per_A: float
    per_element: dict[str, ElementAccuracy]
    largest_energy_error_meV_per_atom: float
    largest_energy_error_structure: int
    largest_force_error_meV_per_A: float
    largest_force_error_structure: int
    largest_force_error_atom: int
    atom_energy_mae_meV: float | None = None
    stress_mae_meV_per_A3: float | None = None
    stress_rmse_meV_per_A3: float | None = None
    stress_mae_GPa: float | None = None
    stress_mae_of_zero_meV_per_A3: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; units are in the keys."""
        return asdict(self)


def measure_accuracy(comparison: Comparison) -> Accuracy:
    """All errors of one comparison of predictions with labels."""
    energy_error = MEV * (comparison.predicted_energy - comparison.energy) / comparison.n_atoms
    force_error = MEV * (comparison.predicted_forces - comparison.forces)
    zero_error = MEV * comparison.forces
    worst_structure = _largest(energy_error)
    worst_atom = _largest(np.abs(force_error).max(axis=1))
    structure = int(comparison.structure_index[worst_atom])
    return Accuracy(
        structures=len(energy_error),
        atoms=len(force_error),
        energy_mae_meV_per_atom=_mae(energy_error),
        energy_rmse_meV_per_atom=_rmse(energy_error),
        energy_bias_meV_per_atom=float(energy_error.mean()),
        energy_mae_of_constant_meV_per_atom=_mae(_constant_error(comparison)),
        force_mae_meV_per_A=_mae(force_error),
        force_rmse_meV_per_A=_rmse(force_error),
        force_mae_of_zero_meV_per_A=_mae(zero_error),
        force_rmse_of_zero_meV_per_A=_rmse(zero_error),
        per_element=_per_element(comparison.numbers, force_error, zero_error),
        largest_energy_error_meV_per_atom=float(energy_error[worst_structure]),
        largest_energy_error_structure=worst_structure,
        largest_force_error_meV_per_A=float(np.abs(force_error[worst_atom]).max()),
        largest_force_error_structure=structure,
        largest_force_error_atom=worst_atom - int(np.searchsorted(comparison.structure_index, structure)),
        **_atom_energy_errors(comparison),
        **_stress_errors(comparison),
    )


def error_to_truth(student_to_teacher: float, teacher_to_truth: float) -> float:
    """Expected error of the student against the truth, ``sqrt(a² + b²)``, for errors that know nothing of each other.

    The larger of the two says where the next effort pays: on the student, or on a better teacher.
    """
    return math.hypot(student_to_teacher, teacher_to_truth)


def _per_element(numbers: np.ndarray, force_error: np.ndarray, zero_error: np.ndarray) -> dict[str, ElementAccuracy]:
    per_element = {}
    for number in np.unique(numbers):
        mask = numbers == number
        per_element[chemical_symbols[number]] = ElementAccuracy(
            atoms=int(mask.sum()),
            force_mae_meV_per_A=_mae(force_error[mask]),
            force_rmse_meV_per_A=_rmse(force_error[mask]),
            force_mae_of_zero_meV_per_A=_mae(zero_error[mask]),
        )
    return per_element


def _constant_error(comparison: Comparison) -> np.ndarray:
    """Residual of the best sum of atomic constants: (n_structures,) meV/atom.

    With one composition that is the distance from the median; with several, from a least-squares fit.
    """
    per_atom = MEV * comparison.energy / comparison.n_atoms
    compositions = comparison.compositions() / comparison.n_atoms[:, None]
    if np.allclose(compositions, compositions[0]):
        return per_atom - np.median(per_atom)
    constants, *_ = np.linalg.lstsq(compositions, per_atom, rcond=None)
    return per_atom - compositions @ constants


def _atom_energy_errors(comparison: Comparison) -> dict[str, float]:
    if comparison.atom_energies is None or comparison.predicted_atom_energies is None:
        return {}
    return {"atom_energy_mae_meV": _mae(MEV * (comparison.predicted_atom_energies - comparison.atom_energies))}


def _stress_errors(comparison: Comparison) -> dict[str, float]:
    if comparison.stress is None or comparison.predicted_stress is None:
        return {}
    error = comparison.predicted_stress - comparison.stress
    return {
        "stress_mae_meV_per_A3": MEV * _mae(error),
        "stress_rmse_meV_per_A3": MEV * _rmse(error),
        "stress_mae_GPa": _mae(error) / units.GPa,
        "stress_mae_of_zero_meV_per_A3": MEV * _mae(comparison.stress),
    }


def _mae(error: np.ndarray) -> float:
    return float(np.abs(error).mean())


def _rmse(error: np.ndarray) -> float:
    return float(np.sqrt(np.square(error).mean()))


def _largest(errors: Sequence[float] | np.ndarray) -> int:
    """Index of the largest error; one that is not a number counts as the largest of all."""
    return int(np.argmax(np.nan_to_num(np.abs(errors), nan=np.inf)))
