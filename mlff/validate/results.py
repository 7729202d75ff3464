"""Everything a validation measured, and its figures under one flat set of names that gates and summary share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlff.validate.accuracy import Accuracy
from mlff.validate.distances import DistanceComparison
from mlff.validate.stability import Stability
from mlff.validate.timing import Timing


@dataclass(frozen=True)
class Results:
    """What was measured; None where it was not.

    Attributes:
        accuracy: on held-out structures.
        stability: dynamics at constant energy.
        along_trajectory: the student against the teacher on structures of these dynamics.
        distances: the student's dynamics against the teacher's.
        timing: student and teacher side by side.
    """

    accuracy: Accuracy | None = None
    stability: Stability | None = None
    along_trajectory: Accuracy | None = None
    distances: DistanceComparison | None = None
    timing: Timing | None = None

    def figures(self) -> dict[str, Any]:
        """Flat figures, units in the keys, None where not measured; the names of `GateSettings` are among them."""
        accuracy, stability, timing = self.accuracy, self.stability, self.timing
        along, distances = self.along_trajectory, self.distances
        drift = None if stability is None else stability.drift_meV_per_atom_per_ps
        return {
            "force_mae_meV_per_A": accuracy and accuracy.force_mae_meV_per_A,
            "force_rmse_meV_per_A": accuracy and accuracy.force_rmse_meV_per_A,
            "force_mae_of_zero_meV_per_A": accuracy and accuracy.force_mae_of_zero_meV_per_A,
            "energy_mae_meV_per_atom": accuracy and accuracy.energy_mae_meV_per_atom,
            "energy_rmse_meV_per_atom": accuracy and accuracy.energy_rmse_meV_per_atom,
            "energy_mae_of_constant_meV_per_atom": accuracy and accuracy.energy_mae_of_constant_meV_per_atom,
            "atom_energy_mae_meV": accuracy and accuracy.atom_energy_mae_meV,
            "stress_mae_meV_per_A3": accuracy and accuracy.stress_mae_meV_per_A3,
            "stress_mae_GPa": accuracy and accuracy.stress_mae_GPa,
            "held_out_structures": accuracy and accuracy.structures,
            "nve_survived": stability and stability.survived,
            "nve_duration_ps": stability and stability.duration_ps,
            "nve_drift_meV_per_atom_per_ps": None if drift is None else abs(drift),
            "nve_drift_standard_error_meV_per_atom_per_ps": stability
            and stability.drift_standard_error_meV_per_atom_per_ps,
            "nve_drift_over_kinetic_spread": stability and stability.drift_over_kinetic_spread,
            "nve_fluctuation_meV_per_atom": stability and stability.fluctuation_meV_per_atom,
            "nve_largest_excursion_meV_per_atom": stability and stability.largest_excursion_meV_per_atom,
            "nve_temperature_mean_K": stability and stability.temperature_mean_K,
            "nve_temperature_std_K": stability and stability.temperature_std_K,
            "nve_ms_per_step": 1000 * stability.seconds_per_step if stability and stability.seconds_per_step else None,
            "bond_deviation_A": stability and stability.largest_bond_deviation_A,
            "trajectory_force_mae_meV_per_A": along and along.force_mae_meV_per_A,
            "trajectory_energy_mae_meV_per_atom": along and along.energy_mae_meV_per_atom,
            "distance_difference": distances and distances.difference,
            "distance_noise": distances and distances.noise,
            "distance_mae_over_noise": distances and distances.difference_over_noise,
            "student_ms_per_call": timing and timing.contenders[0].median_ms,
            "student_threads": timing and timing.contenders[0].threads,
            "teacher_ms_per_call": timing and timing.contenders[-1].median_ms,
            "teacher_threads": timing and timing.contenders[-1].threads,
            "student_batched_ms_per_structure": timing and timing.batched_ms_per_structure,
            "speed_up": timing and timing.speed_up,
        }
