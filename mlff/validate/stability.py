"""What dynamics at constant energy showed, as figures and as curves."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from ase import Atoms

from mlff.validate.accuracy import MEV
from mlff.validate.drift import fit_drift


@dataclass(frozen=True)
class Stability:
    """What the dynamics showed. None where the run ended too early to say."""

    survived: bool
    failure: str
    """Empty, or why and when the dynamics stopped."""
    duration_ps: float
    timestep_fs: float
    temperature_mean_K: float | None
    temperature_std_K: float | None
    """Spread of the instantaneous temperature; natural for a small system."""
    drift_meV_per_atom_per_ps: float | None
    drift_standard_error_meV_per_atom_per_ps: float | None
    fluctuation_meV_per_atom: float | None
    """Standard deviation of the total energy about its line."""
    largest_excursion_meV_per_atom: float | None
    """Largest distance of the total energy from its first value."""
    drift_over_kinetic_spread: float | None
    """Total drift over the run, against the standard deviation of the kinetic energy."""
    bonds: int
    largest_bond_deviation_A: float | None
    """Zero where there is no bond to break."""
    seconds_per_step: float | None
    relaxation_steps: int
    relaxation_fmax_eV_per_A: float | None
    """Largest force on any atom in the structure the dynamics started from; None if there is none."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; units are in the keys."""
        return asdict(self)


@dataclass(frozen=True)
class Trajectory:
    """The judged part of the dynamics.

    Attributes:
        n_atoms: in every frame.
        time_ps: (n_samples,).
        potential_eV, kinetic_eV: (n_samples,).
        temperature_K: (n_samples,), from the kinetic energy and the moving degrees of freedom.
        frame_time_ps: (n_frames,).
        frames: structures at these times, without calculator.
    """

    n_atoms: int
    time_ps: np.ndarray
    potential_eV: np.ndarray
    kinetic_eV: np.ndarray
    temperature_K: np.ndarray
    frame_time_ps: np.ndarray
    frames: list[Atoms]

    @property
    def total_meV_per_atom(self) -> np.ndarray:
        """(n_samples,) total energy relative to its first value."""
        total = self.potential_eV + self.kinetic_eV
        return MEV * (total - total[:1]) / self.n_atoms


def measure_stability(trajectory: Trajectory, **facts: Any) -> Stability:
    """The figures of a trajectory.

    Args:
        trajectory: as far as it came.
        facts: the other fields of `Stability`. A run that failed gets no drift: what came before proves nothing.
    """
    figures: dict[str, Any] = dict.fromkeys(_ENERGY_FIGURES)
    if len(trajectory.time_ps):
        figures["temperature_mean_K"] = float(trajectory.temperature_K.mean())
        figures["temperature_std_K"] = float(trajectory.temperature_K.std())
    if facts["survived"]:
        drift = fit_drift(trajectory.time_ps, trajectory.total_meV_per_atom)
        kinetic_spread = float(np.std(MEV * trajectory.kinetic_eV / trajectory.n_atoms))
        whole = abs(drift.slope) * float(trajectory.time_ps[-1] - trajectory.time_ps[0])
        figures |= {
            "drift_meV_per_atom_per_ps": drift.slope,
            "drift_standard_error_meV_per_atom_per_ps": drift.standard_error,
            "fluctuation_meV_per_atom": drift.fluctuation,
            "largest_excursion_meV_per_atom": drift.largest_excursion,
            "drift_over_kinetic_spread": whole / kinetic_spread if kinetic_spread > 0 else None,
        }
    return Stability(**figures, **facts)


_ENERGY_FIGURES = (
    *(
        "temperature_mean_K",
        "temperature_std_K",
        "drift_meV_per_atom_per_ps",
        "drift_standard_error_meV_per_atom_per_ps",
    ),
    *("fluctuation_meV_per_atom", "largest_excursion_meV_per_atom", "drift_over_kinetic_spread"),
)
