"""The table of a survey's fits: one row for each spectrum, as CSV for people and as numpy's npz for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pinn.fitting.result import FitResult
from pinn.spectra.model import rotation_of
from training.files import write_atomically, write_text_atomically


def columns(fitted: FitResult, continuum: bool = True) -> dict[str, np.ndarray]:
    """Every column by name: parameters with standard errors, v sin i, χ², how the fit ended.

    Args:
        fitted: the last parameter is the squared rotation.
        continuum: whether to give the continuum's coefficients too.
    """
    found: dict[str, np.ndarray] = {"spectrum": np.arange(len(fitted))}
    for place, name in enumerate(fitted.names):
        found[name] = fitted.parameters[:, place].numpy()
        found[f"{name}_error"] = fitted.errors[:, place].numpy()
    rotation, error = rotation_of(fitted.parameters[:, -1], fitted.errors[:, -1])
    found |= {"rotation": rotation.numpy(), "rotation_error": error.numpy()}
    found |= {"chi2": fitted.chi2.numpy(), "dof": fitted.dof.numpy(), "iterations": fitted.iterations.numpy()}
    found["status"] = np.array(fitted.words)
    if continuum:
        for place in range(fitted.coefficients.shape[1]):
            found[f"continuum_{place}"] = fitted.coefficients[:, place].numpy()
    return found


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
