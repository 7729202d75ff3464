"""Tables of fits: CSV for people, numpy's npz for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from training.files import write_atomically, write_text_atomically


def write_csv(path: Path, table: Mapping[str, np.ndarray]) -> None:
    """One line for each row; numbers with nine digits, empty where there is none.

    Raises:
        InputError: if the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table)
    for row in zip(*(column.tolist() for column in table.values()), strict=True):
        writer.writerow([_cell(value) for value in row])
    write_text_atomically(path, text.getvalue())


def write_npz(path: Path, table: Mapping[str, np.ndarray], **more: np.ndarray) -> None:
    """The columns as arrays of their names, and further arrays; read with ``numpy.load`` without pickle.

    Raises:
        InputError: if the file cannot be written.
    """

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez_compressed(file, **dict(table), **more)  # type: ignore[arg-type]

    write_atomically(path, write)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.9g}"
    return str(value)
