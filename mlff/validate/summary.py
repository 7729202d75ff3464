"""The final numbers of a distillation for ``summary.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlff.validate.gates import sentence
from mlff.validate.results import Results
from training.report import summary
from training.report.gates import Gate


def write_summary(folder: Path, results: Results, gates: Sequence[Gate], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write the final numbers and return them.

    Args:
        folder: the run folder.
        results: what was measured; its figures keep their names, units in the keys.
        gates: as judged.
        facts: what else belongs there: phases' seconds, versions, seeds, label counts. Nested mappings are kept.

    Raises:
        InputError: if a fact bears the name of a figure, or the folder cannot be written.
    """
    per_element = None
    if results.accuracy is not None:
        elements = results.accuracy.per_element
        per_element = {element: errors.force_mae_meV_per_A for element, errors in elements.items()}
    parts = {
        "accuracy": results.accuracy,
        "stability": results.stability,
        "along_trajectory": results.along_trajectory,
        "distances": results.distances,
        "timing": results.timing,
    }
    return summary.write_summary(
        folder,
        gates,
        verdict=sentence(gates, results.stability.failure if results.stability else ""),
        figures={**results.figures(), "force_mae_per_element_meV_per_A": per_element},
        details={name: part.to_dict() if part is not None else None for name, part in parts.items()},
        facts=facts,
    )
