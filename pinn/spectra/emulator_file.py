"""An emulator as one file: weights and a JSON document in safetensors, without pickle, whole or absent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from pinn.networks import MLP, build
from pinn.spectra.emulator import Emulator
from pinn.spectra.grid import LogGrid
from training.errors import InputError, LimbeckError
from training.files import write_atomically

METADATA_KEY = "limbeck"
FILE_NAME = "emulator.safetensors"
KIND = "spectrum emulator"
FORMAT_VERSION = 1


class EmulatorMetadata(BaseModel):
    """The JSON document beside the weights; further keys are kept as they are."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    kind: str
    format_version: int
    """Raised when a reader of the former version would misread the file."""
    network: dict[str, Any]
    """What `pinn.networks.build` takes."""
    grid: dict[str, float]
    """Of `LogGrid`: Å and pixels."""
    labels: list[str]
    units: list[str]
    accuracy: dict[str, float]
    """Errors of the flux on templates that were not trained on; the continuum is 1."""
    created: dict[str, str]
    """When, and with which versions."""


def save_emulator(path: str | Path, emulator: Emulator, accuracy: Mapping[str, float]) -> None:
    """Write an emulator's weights and what there is to know about it.

    Raises:
        InputError: if a weight is not finite, or the file cannot be written.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in emulator.network.state_dict().items()}
    wrong = [name for name, value in tensors.items() if not bool(torch.isfinite(value).all())]
    if wrong:
        raise InputError(f"The emulator is not written: {', '.join(wrong)} holds values that are not finite.")
    created = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "limbeck": version("limbeck"),
        "torch": version("torch"),
    }
    document = {
        "kind": KIND,
        "format_version": FORMAT_VERSION,
        **emulator.describe(),
        "accuracy": dict(accuracy),
        "created": created,
    }
    content = save(tensors, metadata={METADATA_KEY: json.dumps(document, ensure_ascii=False, allow_nan=False)})

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    write_atomically(Path(path), write)


def load_emulator(path: str | Path) -> tuple[Emulator, EmulatorMetadata]:
    """An emulator from its file, or from the folder of a run that holds ``emulator.safetensors``.

    Raises:
        InputError: if there is none, it is damaged, foreign or written by a newer Limbeck, or its weights do not fit.
    """
    path = Path(path)
    file = path / FILE_NAME if path.is_dir() else path
    if not file.is_file():
        raise InputError(
            f"There is no emulator at {file}: `python train.py experiment=spectra` trains one and leaves it in its run "
            "folder."
        )
    try:
        with safe_open(file, framework="pt") as content:
            text = (content.metadata() or {}).get(METADATA_KEY, "")
            tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file} is not a whole safetensors file ({error}); copy or export it again.") from error
    metadata = _metadata(text, file)
    try:
        network = build(metadata.network)
        grid = LogGrid(
            metadata.grid["first"], metadata.grid["last"], int(metadata.grid["pixels"]), int(metadata.grid["padding"])
        )
        assert isinstance(network, MLP)
        network.load_state_dict(tensors)
        return Emulator(network.requires_grad_(False), grid, metadata.labels, metadata.units), metadata
    except (LimbeckError, KeyError, RuntimeError, AssertionError) as error:
        raise InputError(f"The weights in {file} do not fit the emulator that it describes: {error}") from error


def _metadata(text: str, file: Path) -> EmulatorMetadata:
    try:
        document = json.loads(text)
    except json.JSONDecodeError:
        document = None
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise InputError(f"{file} is no spectrum emulator that Limbeck wrote.")
    if document.get("format_version", 0) > FORMAT_VERSION:
        raise InputError(
            f"{file} was written by a newer Limbeck (format {document['format_version']}; this one reads up to "
            f"{FORMAT_VERSION}). Update Limbeck: pip install --upgrade limbeck."
        )
    try:
        return EmulatorMetadata.model_validate(document)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InputError(f"The metadata in {file} are not those of an emulator: {faults}.") from error
