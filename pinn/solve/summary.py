"""The final numbers of a solution for ``summary.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pinn.solve.results import Results
from training.report import summary
from training.report.gates import Gate, sentence


def write_summary(folder: Path, results: Results, gates: Sequence[Gate], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write the final numbers and return them.

    Args:
        folder: the run folder.
        results: what was measured; its figures keep their names, units in the keys.
        gates: as judged.
        facts: what else belongs there: phases' seconds, versions, seeds. Nested mappings are kept.

    Raises:
        InputError: if a fact bears the name of a figure, or the folder cannot be written.
    """
    return summary.write_summary(
        folder,
        gates,
        verdict=sentence(gates),
        figures=results.figures(),
        details=results.details(),
        facts=facts,
    )
