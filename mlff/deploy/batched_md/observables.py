"""Energies, temperatures, pressures and volumes of all systems, streamed to one table."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

FILES = {"csv": "observables.csv", "jsonl": "observables.jsonl"}


@dataclass(frozen=True, slots=True)
class Observation:
    """One system at one moment; pressure and volume are None where it is not periodic in three directions."""

    step: int
    time_ps: float
    system: int
    potential_eV: float
    kinetic_eV: float
    total_eV: float
    temperature_K: float
    pressure_GPa: float | None
    volume_A3: float | None


COLUMNS = [field.name for field in fields(Observation)]


def write_observations(path: Path, rows: Iterable[Observation]) -> None:
    """Append rows in the format the file's name asks for; a CSV file starts with the names of its columns."""
    if path.suffix == ".jsonl":
        with path.open("a") as file:
            file.writelines(json.dumps(dict(zip(COLUMNS, astuple(row), strict=True))) + "\n" for row in rows)
        return
    starts = not path.exists()
    with path.open("a", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        if starts:
            table.writerow(COLUMNS)
        table.writerows(astuple(row) for row in rows)


def read_observables(folder: str | Path) -> dict[str, np.ndarray]:
    """The columns of a simulation's observables as arrays, one entry per system and moment; NaN where there is none.

    Raises:
        FileNotFoundError: if the folder holds none.
    """
    path = next((Path(folder) / name for name in FILES.values() if (Path(folder) / name).exists()), None)
    if path is None:
        raise FileNotFoundError(f"There are no observables in {folder}.")
    with path.open() as file:
        rows: list[dict[str, Any]] = (
            [json.loads(line) for line in file] if path.suffix == ".jsonl" else list(csv.DictReader(file))
        )
    columns = {name: [np.nan if row[name] in (None, "") else row[name] for row in rows] for name in COLUMNS}
    whole = ("step", "system")
    return {name: np.array(values, dtype=int if name in whole else float) for name, values in columns.items()}
