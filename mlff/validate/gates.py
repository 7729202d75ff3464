"""The bars a student has to pass, and the verdict in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlff.validate.settings import GateSettings
from training.report import gates as bars
from training.report.gates import Gate, Measure

MEASURES = {
    "force_mae_meV_per_A": Measure("forces", "meV/Å"),
    "energy_mae_meV_per_atom": Measure("energy", "meV/atom"),
    "stress_mae_meV_per_A3": Measure("stress", "meV/Å³"),
    "nve_drift_meV_per_atom_per_ps": Measure("energy drift", "meV/atom/ps"),
    "nve_drift_over_kinetic_spread": Measure("drift over kinetic spread"),
    "bond_deviation_A": Measure("largest bond deviation", "Å"),
    "trajectory_force_mae_meV_per_A": Measure("forces along its own trajectory", "meV/Å"),
    "distance_mae_over_noise": Measure("distances over sampling noise"),
    "speed_up": Measure("speed-up", "×", at_least=True),
}
"""The figures a student may be judged by; their names are those of `GateSettings` and `Results.figures`."""


def judge(figures: Mapping[str, Any], settings: GateSettings) -> list[Gate]:
    """Every gate of the settings against the figures of the same names (`Results.figures`).

    A gate without a bar appears only if its figure was measured.
    """
    return bars.judge(figures, settings.model_dump(), MEASURES)


def sentence(gates: Sequence[Gate], failure: str = "") -> str:
    """The verdict on one line: what failed comes first and alone, else everything that was judged.

    Args:
        gates: as `judge` made them.
        failure: why the dynamics stopped (`Stability.failure`), empty if they did not.
    """
    return bars.sentence(gates) + (f" The dynamics stopped: {failure}." if failure else "")
