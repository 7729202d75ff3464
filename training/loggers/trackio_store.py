"""The local dashboard's database: runs, curves, configs and figures of everything under one root, in trackio's format.

The database is a mirror. ``metrics.jsonl`` of each run is the record, and the mirror can be rebuilt from it at any
time; so a run and an open dashboard may both write, and each row carries an identity under which it is stored once.

trackio's own ``init`` is not used: it asks the hub for a user name, starts threads, and numbers steps by itself.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shutil
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from training.errors import ConfigurationError, InputError
from training.loggers.metrics_file import FILE_NAME, RESERVED, decode_number, read_rows

FOLDER_NAME = ".dashboard"
DEFAULT_PROJECT = "limbeck"
_BUSY_SECONDS = 30.0


class TrackioStore:
    """Writes one run into the dashboard's database.

    Args:
        root: the folder of all runs, ``checkpoints``; the database lies in its ``.dashboard``.
        project: the project runs are listed under.
        run: name of the run in the dashboard, ``<experiment>/<run>``.

    Raises:
        ConfigurationError: if trackio is not installed, or this process already uses another root's database.
    """

    def __init__(self, root: Path, project: str, run: str) -> None:
        self._storage, self._media = _open_trackio(Path(root))
        self.project = project
        self.run = run

    def write(self, rows: Sequence[Mapping[str, Any]], config: Mapping[str, Any], folder: Path) -> None:
        """Store rows of ``metrics.jsonl``; rows already there are left alone.

        Args:
            rows: as `read_rows` gives them.
            config: the resolved config of the run, flat; empty leaves the stored one in place.
            folder: the run folder, to which the paths of figures are relative.
        """
        entries = [(row_identity(self.run, row), row, self._values(row, folder)) for row in rows]
        entries = [entry for entry in entries if entry[2]]
        # final numbers may be computed again, a curve's point is not
        self._remove(identity for identity, row, _ in entries if "summary" in row)
        self._storage.bulk_log(
            project=self.project,
            run=self.run,
            run_id=self.run,
            metrics_list=[values for _, _, values in entries],
            steps=[row["step"] for _, row, _ in entries],
            timestamps=[datetime.fromtimestamp(row["time"], UTC).isoformat() for _, row, _ in entries],
            log_ids=[identity for identity, _, _ in entries],
            config=dict(config) or None,
        )

    def align(self, rows: Sequence[Mapping[str, Any]], config: Mapping[str, Any], folder: Path) -> int:
        """Make the database hold exactly these rows of the run, whatever it held before.

        Returns:
            Number of rows that were missing. Arguments as in `write`.
        """
        wanted = {row_identity(self.run, row): row for row in rows}
        known = self.identities()
        self._remove(known - wanted.keys())
        missing = [row for identity, row in wanted.items() if identity not in known]
        self.write(missing, config, folder)
        return len(missing)

    def identities(self) -> set[str]:
        """Identities of the rows of this run in the database."""
        with self._database() as database:
            found = database.execute("SELECT log_id FROM metrics WHERE run_id = ?", (self.run,)).fetchall()
        return {identity for (identity,) in found}

    def cut(self, step: int) -> None:
        """Forget the rows of ``step`` and later."""
        with self._database() as database:
            database.execute("DELETE FROM metrics WHERE run_id = ? AND step >= ?", (self.run, step))

    def runs(self) -> list[str]:
        """Names of all runs of the project in the database."""
        with self._database() as database:
            return [name for (name,) in database.execute("SELECT DISTINCT run_name FROM metrics").fetchall()]

    def forget(self, run: str) -> None:
        """Remove a run from the database, its figures too."""
        self._storage.delete_run(self.project, run, run_id=run)
        figures = self._media / self._project_folder() / run
        if figures.exists():
            shutil.rmtree(figures)

    def _remove(self, identities: Iterable[str]) -> None:
        with self._database() as database:
            database.executemany("DELETE FROM metrics WHERE log_id = ?", [(identity,) for identity in identities])

    def _values(self, row: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        if "figure" in row:
            return self._figure(row, folder)
        if "summary" in row:
            return {f"summary/{name}": value for name, value in _numbers(row["summary"])}
        return {name: decode_number(value) for name, value in row.items() if name not in RESERVED}

    def _figure(self, row: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        name, source = row["figure"]["name"], folder / row["figure"]["path"]
        if not source.is_file():
            return {}
        place = Path(self._project_folder(), self.run, str(row["step"]), f"{re.sub(r'[^A-Za-z0-9_-]', '_', name)}.png")
        (self._media / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, self._media / place)
        return {f"figures/{name}": {"_type": "trackio.image", "file_path": place.as_posix(), "caption": name}}

    def _project_folder(self) -> str:
        return self._storage.get_project_db_path(self.project).stem

    @contextlib.contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        path = self._storage.init_db(self.project)
        database = sqlite3.connect(path, timeout=_BUSY_SECONDS)
        try:
            with database:
                yield database
        finally:
            database.close()


def import_run(folder: Path, root: Path) -> int:
    """Bring the dashboard's copy of a run in line with its folder: ``metrics.jsonl``, ``config.yaml`` and figures.

    Works for finished runs, runs in progress, and runs whose database is lost or was never written.

    Args:
        folder: ``<root>/<experiment>/<run>``.
        root: the folder of all runs.

    Returns:
        Number of rows that were added.

    Raises:
        InputError: if the folder holds no ``metrics.jsonl`` or a damaged one.
    """
    folder = Path(folder)
    config, project = read_config(folder)
    store = TrackioStore(root, project, f"{folder.parent.name}/{folder.name}")
    shown = dashboard_config(config, folder.parent.name) if config else {}
    return store.align(read_rows(folder / FILE_NAME), shown, folder)


def read_config(folder: Path) -> tuple[dict[str, Any], str]:
    """The resolved config a run folder holds (empty if it holds none) and the tracker's project in it.

    Raises:
        InputError: if ``config.yaml`` is damaged.
    """
    path = folder / "config.yaml"
    if not path.exists():
        return {}, DEFAULT_PROJECT
    try:
        config = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        raise InputError(f"{path} is damaged: {error}.") from error
    tracker = config.get("tracker")
    return config, tracker.get("project", DEFAULT_PROJECT) if isinstance(tracker, Mapping) else DEFAULT_PROJECT


def dashboard_config(config: Mapping[str, Any], experiment: str) -> dict[str, Any]:
    """A config as the dashboard compares and groups it: flat names, and the experiment as the run's group."""
    flat: dict[str, Any] = {"_Group": experiment}
    flat.update(_leaves(config))
    return flat


def row_identity(run: str, row: Mapping[str, Any]) -> str:
    """What makes a row the same row: its run, step and what it holds values of."""
    names = sorted(name for name in row if name not in ("step", "time"))
    if "figure" in row:
        names.append(row["figure"]["name"])
    return f"{run}|{row['step']}|{','.join(names)}"


def is_installed() -> bool:
    """Whether the extra ``dashboard`` is installed."""
    return importlib.util.find_spec("trackio") is not None


def _open_trackio(root: Path) -> tuple[Any, Path]:
    folder = (root / FOLDER_NAME).resolve()
    if not is_installed():
        raise ConfigurationError("The local dashboard needs the package trackio: pip install 'limbeck[dashboard]'.")
    if "trackio" not in sys.modules:
        # trackio reads its place once, when it is imported
        os.environ["TRACKIO_DIR"] = str(folder)
    from trackio.sqlite_storage import SQLiteStorage
    from trackio.utils import MEDIA_DIR, TRACKIO_DIR, is_network_filesystem

    if Path(TRACKIO_DIR).resolve() != folder:
        raise ConfigurationError(
            f"This process already writes the dashboard of {Path(TRACKIO_DIR).parent}; trackio has one per process."
        )
    if is_network_filesystem(root.resolve()):
        raise ConfigurationError(f"{root} is on a network disk, where several processes cannot share a database.")
    return SQLiteStorage, Path(MEDIA_DIR)


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            yield f"{prefix}{name}", json.dumps(value, default=str)
        else:
            yield f"{prefix}{name}", value


def _numbers(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in _leaves(values):
        number = decode_number(value)
        if isinstance(number, int | float):
            yield name.replace(".", "/"), float(number)
