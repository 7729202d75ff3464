"""The log every run has: see `training.loggers.metrics_file` for the format."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.loggers.base import RunLogger
from training.loggers.metrics_file import FILE_NAME, MetricsFile, encode, metric_row, read_rows


class JsonlLogger(RunLogger):
    """Writes ``metrics.jsonl`` in the run folder; what was logged survives a killed process.

    Args:
        folder: the run folder; figures are recorded relative to it, so that the folder can be moved.
        experiment, run: see `RunLogger`.

    Attributes:
        last_step: the highest step logged, -1 before the first.
    """

    def __init__(self, folder: Path, experiment: str, run: str) -> None:
        super().__init__(experiment, run)
        self.folder = Path(folder)
        self.file = MetricsFile(self.folder / FILE_NAME)
        self.last_step = max((row["step"] for row in read_rows(self.file.path)), default=-1)

    def write(self, metrics: Mapping[str, Any], step: int) -> None:
        self.file.append(metric_row(metrics, step))
        self.last_step = max(self.last_step, step)

    def figure(self, name: str, path: Path, step: int) -> None:
        place = Path(path).resolve().relative_to(self.folder.resolve()).as_posix()
        self.file.append({"step": int(step), "time": time.time(), "figure": {"name": name, "path": place}})

    def summary(self, values: Mapping[str, Any], step: int) -> None:
        self.file.append({"step": int(step), "time": time.time(), "summary": encode(values)})

    def resume_from(self, step: int, stored: int) -> None:
        self.file.cut(step)
        self.last_step = min(self.last_step, step - 1)

    def close(self, ok: bool) -> None:
        self.file.close()
