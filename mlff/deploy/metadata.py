"""What an exported student says of itself: enough to build it, to judge it, and to know whose knowledge it holds."""

from __future__ import annotations

from typing import Any

from ase.data import chemical_symbols
from pydantic import Field

from mlff.student import PaiNN
from training.errors import InputError
from training.model_file import ModelFile, ModelMetadata

FORMAT_VERSION = 1

UNITS = {
    "length": "Å",
    "energy": "eV",
    "forces": "eV/Å",
    "stress": "eV/Å³, positive when the energy rises with the strain (ASE)",
}


class StudentMetadata(ModelMetadata):
    """The JSON document beside the weights."""

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


STUDENT = ModelFile("student", StudentMetadata, FORMAT_VERSION, "python train.py")

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
        "architecture": model.architecture(),
        "units": UNITS,
        "elements": symbols,
        "reference_energies": dict(zip(symbols, model.reference_energies.tolist(), strict=True)),
        "energy_scale": model.energy_scale.item(),
    }
    twice = sorted(set(own) & set(given))
    if twice:
        raise InputError(f"The metadata keys {', '.join(twice)} are read from the model; leave them out.")
    return STUDENT.describe(own | given)
