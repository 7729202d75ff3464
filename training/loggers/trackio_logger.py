"""The live copy of a run for the local dashboard; see `training.loggers.trackio_store`."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from training.loggers.base import RunLogger
from training.loggers.metrics_file import FILE_NAME, encode, metric_row, read_rows
from training.loggers.trackio_store import TrackioStore, dashboard_config

FLUSH_SECONDS = 2.0
FLUSH_ROWS = 500


class TrackioLogger(RunLogger):
    """Hands rows to the dashboard's database in batches, a few milliseconds every two seconds.

    A database that cannot be written (disk full, locked) ends the mirroring with one line, not the run: the dashboard
    takes the missing rows from ``metrics.jsonl`` when it is opened.

    Args:
        store: the dashboard's database, opened for this run.
        folder: the run folder.
        experiment, run: see `RunLogger`.
        config: the resolved config of the run.
        say: receives the line about a database that cannot be written.
    """

    def __init__(
        self,
        store: TrackioStore,
        folder: Path,
        experiment: str,
        run: str,
        config: Mapping[str, Any],
        say: Callable[[str], None],
    ) -> None:
        super().__init__(experiment, run)
        self._store = store
        self._folder = Path(folder).resolve()
        self._config = dashboard_config(config, experiment)
        self._say = say
        self._rows: list[dict[str, Any]] = []
        self._flushed = time.monotonic()
        self._broken = False
        path = self._folder / FILE_NAME
        rows = read_rows(path) if path.exists() else []
        self._attempt(lambda: self._store.align(rows, self._config, self._folder))

    def write(self, metrics: Mapping[str, Any], step: int) -> None:
        self._add(metric_row(metrics, step))

    def figure(self, name: str, path: Path, step: int) -> None:
        place = Path(path).resolve().relative_to(self._folder).as_posix()
        self._add({"step": int(step), "time": time.time(), "figure": {"name": name, "path": place}})
        self._flush()

    def summary(self, values: Mapping[str, Any], step: int) -> None:
        self._add({"step": int(step), "time": time.time(), "summary": encode(values)})
        self._flush()

    def resume_from(self, step: int, stored: int) -> None:
        self._rows.clear()
        self._attempt(lambda: self._store.cut(step))

    def close(self, ok: bool) -> None:
        self._flush()

    def _add(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        if len(self._rows) >= FLUSH_ROWS or time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flush()

    def _flush(self) -> None:
        rows, self._rows = self._rows, []
        self._flushed = time.monotonic()
        if rows:
            self._attempt(lambda: self._store.write(rows, self._config, self._folder))

    def _attempt(self, action: Callable[[], object]) -> None:
        if self._broken:
            return
        try:
            action()
        except (OSError, sqlite3.Error) as error:
            self._broken = True
            self._say(
                f"The local dashboard's database cannot be written ({error}); the run goes on, and 'make dashboard' "
                "takes its values from metrics.jsonl."
            )
