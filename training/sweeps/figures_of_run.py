"""Numbers that a run has left in its folder."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.report.summary import FILE_NAME as SUMMARY
from training.run_folder import PHASES


def read_figures(folder: Path) -> dict[str, float]:
    """All numbers of ``summary.json``, or, where a run writes none, of its phases.

    Args:
        folder: of the run.
    """
    summary, phases = folder / SUMMARY, folder / PHASES
    if summary.exists():
        return _numbers(json.loads(summary.read_text()))
    if phases.exists():
        return {
            f"{phase}.{name}": value
            for phase, values in json.loads(phases.read_text()).items()
            for name, value in _numbers(values).items()
        }
    return {}


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
