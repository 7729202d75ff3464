"""A student as one file: weights and a JSON document in safetensors, without pickle, whole or absent."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mlff.deploy.metadata import describe, from_json, to_json
from mlff.student import PaiNN, build
from training.errors import InputError
from training.files import write_atomically

METADATA_KEY = "limbeck"
FILE_NAME = "student.safetensors"


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
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    _require_finite(tensors, "The student is not written")
    document = to_json(describe(model, metadata))
    content = save(tensors, metadata={METADATA_KEY: document})
    write_atomically(Path(path), lambda temporary: _write(temporary, content))


def load_student(path: str | Path) -> tuple[PaiNN, dict[str, Any]]:
    """A student and its metadata, in the precision in which it was written, in evaluation mode on the CPU.

    Args:
        path: a file that `save_student` wrote, or the folder of a run that holds ``student.safetensors``.

    Raises:
        InputError: if there is no such file, it is damaged, foreign or written by a newer Limbeck, or its weights do
            not fit the architecture it names or are not finite.
    """
    path = locate_student(path)
    document, tensors = _read(path)
    metadata = from_json(document, str(path)).model_dump()
    try:
        model = build(metadata["architecture"])
    except (TypeError, ValueError) as error:
        raise InputError(f"The architecture in {path} cannot be built: {error}") from error
    _require_fit(tensors, model, path)
    _require_finite(tensors, f"{path} cannot be used")
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
    path = Path(path)
    file = path / FILE_NAME if path.is_dir() else path
    if not file.is_file():
        remedy = "the run has not exported its student yet" if path.is_dir() else "check the path"
        raise InputError(f"There is no student at {file}: {remedy}.")
    return file


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _read(path: Path) -> tuple[str, dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if METADATA_KEY not in header:
                raise InputError(
                    f"{path} is a safetensors file without Limbeck's metadata: not a student that Limbeck wrote."
                )
            return header[METADATA_KEY], {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path} is not a whole safetensors file ({error}). It may be truncated or of another format; copy or "
            "export it again."
        ) from error


def _require_fit(tensors: dict[str, Tensor], model: PaiNN, path: Path) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    faults = [f"{name} is missing" for name in expected if name not in found]
    faults += [f"{name} is unknown" for name in found if name not in expected]
    faults += [
        f"{name} has the shape {found[name]} instead of {expected[name]}"
        for name in expected
        if name in found and found[name] != expected[name]
    ]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise InputError(f"The weights in {path} do not fit its architecture: {'; '.join(faults[:3])}{more}.")


def _require_finite(tensors: dict[str, Tensor], consequence: str) -> None:
    wrong = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if wrong:
        raise InputError(f"{consequence}: {', '.join(wrong[:3])} holds values that are not finite; training diverged.")
