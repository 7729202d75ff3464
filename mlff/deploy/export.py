"""A student as one file, written by a run and read by the calculator."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from mlff.deploy.metadata import STUDENT, describe
from mlff.student import PaiNN, build
from training.errors import InputError
from training.model_file import require_usable

FILE_NAME = STUDENT.file_name


def save_student(path: str | Path, model: PaiNN, metadata: dict[str, Any]) -> None:
    """Write a student's weights and what there is to know about them.

    Args:
        path: the file to write, usually ``student.safetensors``; replaced in one step if it exists.
        model: the weights as they shall be used (the averaged ones, where training averages).
        metadata: `teacher`, `licence`, `data_fingerprint`, `accuracy` as in `mlff.deploy.metadata.StudentMetadata`, and
            any further JSON values; architecture, units, elements, reference energies and versions are added.

    Raises:
        InputError: if a weight is not finite, the metadata are incomplete or no JSON, or the file cannot be written.
    """
    STUDENT.write(path, model, describe(model, metadata))


def load_student(path: str | Path) -> tuple[PaiNN, dict[str, Any]]:
    """A student and its metadata, in the precision in which it was written, in evaluation mode on the CPU.

    Args:
        path: a file that `save_student` wrote, or the folder of a run that holds ``student.safetensors``.

    Raises:
        InputError: if there is no such file, it is damaged, foreign or written by a newer Limbeck, or its weights do
            not fit the architecture it names or are not finite.
    """
    path = locate_student(path)
    document, tensors = STUDENT.read(path)
    metadata = STUDENT.metadata(document, path).model_dump()
    try:
        model = build(metadata["architecture"])
    except (TypeError, ValueError) as error:
        raise InputError(f"The architecture in {path} cannot be built: {error}") from error
    require_usable(tensors, model, path)
    model.to(next(tensors[name].dtype for name, _ in model.named_parameters()))
    model.load_state_dict(tensors)
    return model.eval(), metadata


def weights_fingerprint(model: PaiNN) -> str:
    """SHA-256 of a student's architecture and weights, whatever else its file says."""
    digest = hashlib.sha256(repr(sorted(model.architecture().items())).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def locate_student(path: str | Path) -> Path:
    """The file itself, or the student in a run folder.

    Raises:
        InputError: if there is none.
    """
    return STUDENT.locate(path)
