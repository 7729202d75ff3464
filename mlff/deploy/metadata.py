"""What an exported student says of itself: enough to build it, to judge it, and to know whose knowledge it holds."""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from ase.data import chemical_symbols
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mlff.student import PaiNN
from training.errors import InputError

FORMAT_VERSION = 1

UNITS = {
    "length": "Å",
    "energy": "eV",
    "forces": "eV/Å",
    "stress": "eV/Å³, positive when the energy rises with the strain (ASE)",
}


class StudentMetadata(BaseModel):
    """The JSON document beside the weights; further keys are kept as they are."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    format_version: int
    """Raised when a reader of the former version would misread the file."""
    architecture: dict[str, Any]
    """What `mlff.student.build` takes."""
    units: dict[str, str]
    elements: list[str] = Field(min_length=1)
    """Chemical symbols the student knows."""
    reference_energies: dict[str, float]
    """eV per element, the zero of energy."""
    energy_scale: float = Field(gt=0)
    """eV per unit of the network's output."""
    teacher: dict[str, Any]
    """Name, version and settings of the calculator whose labels were learned, as `Teacher.describe` gives them."""
    licence: str
    """Under which the teacher's labels, and with them these weights, may be used."""
    data_fingerprint: str
    """Of the labels the student was trained on."""
    accuracy: dict[str, Any]
    """Errors on the held-out structures, with the unit in each name."""
    created: dict[str, str]
    """When, and with which versions."""


# what only the writer of a student can know; the model knows the rest
GIVEN = ("teacher", "licence", "data_fingerprint", "accuracy")


def describe(model: PaiNN, given: dict[str, Any]) -> StudentMetadata:
    """The metadata of a model.

    Args:
        model: its architecture, elements and zero of energy are read from it.
        given: `teacher`, `licence`, `data_fingerprint` and `accuracy`; further keys are kept.

    Raises:
        InputError: if one of the four is missing, a value has the wrong type or is no JSON, or a number is not finite.
    """
    missing = [key for key in GIVEN if key not in given]
    if missing:
        raise InputError(
            f"The metadata of the student lack {', '.join(missing)}; without them nobody can judge what it is worth."
        )
    symbols = [chemical_symbols[z] for z in model.elements]
    own = {
        "format_version": FORMAT_VERSION,
        "architecture": model.architecture(),
        "units": UNITS,
        "elements": symbols,
        "reference_energies": dict(zip(symbols, model.reference_energies.tolist(), strict=True)),
        "energy_scale": model.energy_scale.item(),
        "created": {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "limbeck": version("limbeck"),
            "torch": version("torch"),
            "python": platform.python_version(),
        },
    }
    twice = sorted(set(own) & set(given))
    if twice:
        raise InputError(f"The metadata keys {', '.join(twice)} are read from the model; leave them out.")
    return _validated(own | given, "The metadata of the student")


def to_json(metadata: StudentMetadata) -> str:
    """The document as text.

    Raises:
        InputError: if a value is no JSON, NaN and infinities included.
    """
    try:
        return json.dumps(metadata.model_dump(), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"The metadata of a student are plain JSON values: {error}.") from error


def from_json(text: str, origin: str) -> StudentMetadata:
    """The document read back.

    Args:
        text: JSON.
        origin: the file, for messages.

    Raises:
        InputError: if it is no JSON, was written by a newer version, or lacks a key.
    """
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"The metadata in {origin} are not readable ({error}); export the student again.") from error
    written = document.get("format_version") if isinstance(document, dict) else None
    if isinstance(written, int) and written > FORMAT_VERSION:
        raise InputError(
            f"{origin} was written by a newer Limbeck (format {written}; this one, {version('limbeck')}, reads up to "
            f"{FORMAT_VERSION}). Update Limbeck: pip install --upgrade limbeck."
        )
    return _validated(document, f"The metadata in {origin}")


def _validated(document: Any, what: str) -> StudentMetadata:
    try:
        return StudentMetadata.model_validate(document)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'document'}: {e['msg']}" for e in error.errors())
        raise InputError(f"{what} are not those of a student: {faults}.") from error
