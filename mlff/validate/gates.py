"""The bars a student has to pass, and the verdict in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mlff.validate.settings import GateSettings


@dataclass(frozen=True)
class Gate:
    """One bar and what was measured against it.

    Attributes:
        key: the figure's name in ``summary.json`` and in the config.
        name: the figure in words.
        value: what was measured; None if it was not.
        bar: the bar; None if the figure is reported without being judged.
        unit: of both; empty for a ratio.
        at_least: whether the value has to reach the bar; otherwise it must not exceed it.
    """

    key: str
    name: str
    value: float | None
    bar: float | None
    unit: str
    at_least: bool = False

    @property
    def passed(self) -> bool | None:
        """None where there is no bar; a bar without a finite measurement fails."""
        if self.bar is None:
            return None
        if self.value is None or not math.isfinite(self.value):
            return False
        return self.value >= self.bar if self.at_least else self.value <= self.bar

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        value = "not measured" if self.value is None else f"{figure(self.value)}{unit}"
        bar = "" if self.bar is None else f" ({'at least' if self.at_least else 'bar'} {self.bar:g})"
        return f"{self.name} {value}{bar}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "passed": self.passed}


_IN_WORDS: dict[str, tuple[str, str, bool]] = {
    "force_mae_meV_per_A": ("forces", "meV/Å", False),
    "energy_mae_meV_per_atom": ("energy", "meV/atom", False),
    "stress_mae_meV_per_A3": ("stress", "meV/Å³", False),
    "nve_drift_meV_per_atom_per_ps": ("energy drift", "meV/atom/ps", False),
    "nve_drift_over_kinetic_spread": ("drift over kinetic spread", "", False),
    "bond_deviation_A": ("largest bond deviation", "Å", False),
    "trajectory_force_mae_meV_per_A": ("forces along its own trajectory", "meV/Å", False),
    "distance_mae_over_noise": ("distances over sampling noise", "", False),
    "speed_up": ("speed-up", "×", True),
}


def judge(figures: Mapping[str, Any], settings: GateSettings) -> list[Gate]:
    """Every gate of the settings against the figures of the same names (`Results.figures`).

    A gate without a bar appears only if its figure was measured.
    """
    gates = []
    for key, (name, unit, at_least) in _IN_WORDS.items():
        bar, value = getattr(settings, key), figures.get(key)
        if bar is not None or value is not None:
            gates.append(Gate(key, name, value, bar, unit, at_least))
    return gates


def all_passed(gates: Sequence[Gate]) -> bool:
    """Whether no gate failed; gates without a bar do not count."""
    return all(gate.passed is not False for gate in gates)


def sentence(gates: Sequence[Gate], failure: str = "") -> str:
    """The verdict on one line: what failed comes first and alone, else everything that was judged.

    Args:
        gates: as `judge` made them.
        failure: why the dynamics stopped (`Stability.failure`), empty if they did not.
    """
    stopped = f" The dynamics stopped: {failure}." if failure else ""
    judged = [gate for gate in gates if gate.passed is not None]
    failed = [gate for gate in judged if not gate.passed]
    if not judged:
        return f"No gate was set: the figures are reported, not judged.{stopped}"
    if failed:
        rest = f" The other {len(judged) - len(failed)} passed." if len(judged) > len(failed) else ""
        return f"FAILED {len(failed)} of {len(judged)} gates: {', '.join(map(str, failed))}.{rest}{stopped}"
    return f"{_count(len(judged))} passed: {', '.join(map(str, judged))}.{stopped}"


def figure(value: float) -> str:
    """A measured number with three significant digits, as people write it: 14.8, 0.00612, 1230."""
    if not math.isfinite(value):
        return "not a number"
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    if magnitude < -4:
        return f"{value:.1e}"
    return f"{value:.{max(0, 2 - magnitude)}f}"


def _count(n: int) -> str:
    return "The only gate" if n == 1 else f"All {n} gates"
