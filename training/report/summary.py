"""``summary.json``: the final numbers of a run in one flat file, for scripts and for the next run's comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.errors import InputError
from training.files import write_json_atomically
from training.report.gates import Gate, all_passed

FILE_NAME = "summary.json"


def write_summary(
    folder: Path,
    gates: Sequence[Gate],
    verdict: str,
    figures: Mapping[str, Any],
    details: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """Write the final numbers and return them.

    Args:
        folder: the run folder.
        gates: as judged.
        verdict: the gates in words.
        figures: what was measured, flat, units in the names; they keep their names.
        details: what stands behind the figures, nested.
        facts: what else belongs there: phases' seconds, versions, seeds. Nested mappings are kept.

    Raises:
        InputError: if a fact bears the name of a figure, or the folder cannot be written.
    """
    summary = {
        "passed": all_passed(gates),
        "verdict": verdict,
        **figures,
        "gates": [gate.to_dict() for gate in gates],
        "details": details,
    }
    clash = sorted(set(summary) & set(facts))
    if clash:
        raise InputError(f"The summary has its own {', '.join(clash)}; give these facts another name.")
    summary = plain({**summary, **facts})
    write_json_atomically(Path(folder) / FILE_NAME, summary)
    return summary


def plain(value: Any) -> Any:
    """The value as JSON has it: numpy scalars and arrays become numbers and lists, NaN and infinities null, paths text.

    Raises:
        TypeError: for a value that JSON cannot say.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, Mapping):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(entry) for entry in value]
    raise TypeError(f"{type(value).__name__} has no place in JSON: {value!r}")
