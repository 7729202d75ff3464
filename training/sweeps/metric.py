"""The figure that runs are compared by."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from training.errors import InputError
from training.report.summary import FILE_NAME as SUMMARY
from training.sweeps.records import Attempt


def choose_metric(asked: str | None, attempts: Sequence[Attempt]) -> str | None:
    """The figure that runs are compared by; None if no run gave any.

    Args:
        asked: by the user; the figure of the first bar, else the first figure, if None.
        attempts: complete ones.

    Raises:
        InputError: if no run has the figure that was asked for; names those there are.
    """
    known = list(dict.fromkeys(name for attempt in attempts for name in attempt.figures))
    if asked is not None:
        if known and asked not in known:
            raise InputError(f"sweep.metric={asked}: no run gives it. Known: {', '.join(known)}.")
        return asked
    for attempt in attempts:
        summary = Path(attempt.folder) / SUMMARY
        gates = json.loads(summary.read_text()).get("gates", []) if summary.exists() else []
        judged = [gate["key"] for gate in gates if gate.get("key") in attempt.figures]
        if judged:
            return str(judged[0])
    return known[0] if known else None
