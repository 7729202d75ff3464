"""The bars a result has to pass, and the verdict in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Measure:
    """A figure that may have a bar: its words.

    Attributes:
        name: the figure in words.
        unit: of figure and bar; empty for a ratio.
        at_least: whether the value has to reach the bar; otherwise it must not exceed it.
    """

    name: str
    unit: str = ""
    at_least: bool = False


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


def judge(figures: Mapping[str, Any], bars: Mapping[str, float | None], measures: Mapping[str, Measure]) -> list[Gate]:
    """Every measure with its bar and the figure of the same name, in the order of the measures.

    A measure without a bar appears only if its figure was measured.

    Args:
        figures: what was measured, by name; absent or None where it was not.
        bars: by name; absent or None where the figure is not judged.
        measures: the words of every figure that may have a bar.
    """
    gates = []
    for key, measure in measures.items():
        bar, value = bars.get(key), figures.get(key)
        if bar is not None or value is not None:
            gates.append(Gate(key, measure.name, value, bar, measure.unit, measure.at_least))
    return gates


def all_passed(gates: Sequence[Gate]) -> bool:
    """Whether no gate failed; gates without a bar do not count."""
    return all(gate.passed is not False for gate in gates)


def sentence(gates: Sequence[Gate]) -> str:
    """The verdict on one line: what failed comes first and alone, else everything that was judged."""
    judged = [gate for gate in gates if gate.passed is not None]
    failed = [gate for gate in judged if not gate.passed]
    if not judged:
        return "No gate was set: the figures are reported, not judged."
    if failed:
        rest = f" The other {len(judged) - len(failed)} passed." if len(judged) > len(failed) else ""
        return f"FAILED {len(failed)} of {len(judged)} gates: {', '.join(map(str, failed))}.{rest}"
    return f"{_count(len(judged))} passed: {', '.join(map(str, judged))}."


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
