"""An emulator as one file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pinn.networks import MLP, build
from pinn.spectra.emulator import Emulator
from pinn.spectra.grid import LogGrid
from training.errors import InputError, LimbeckError
from training.model_file import ModelFile, ModelMetadata, require_usable

KIND = "spectrum emulator"
FORMAT_VERSION = 1


class EmulatorMetadata(ModelMetadata):
    """The JSON document beside the weights."""

    kind: Literal["spectrum emulator"]
    network: dict[str, Any]
    """What `pinn.networks.build` takes."""
    grid: dict[str, float]
    """Of `LogGrid`: Å and pixels."""
    labels: list[str]
    units: list[str]
    accuracy: dict[str, float]
    """Errors of the flux on templates that were not trained on; the continuum is 1."""


EMULATOR = ModelFile("emulator", EmulatorMetadata, FORMAT_VERSION, "python train.py experiment=spectra")

FILE_NAME = EMULATOR.file_name


def save_emulator(path: str | Path, emulator: Emulator, accuracy: Mapping[str, float]) -> None:
    """Write an emulator's weights and what there is to know about it.

    Raises:
        InputError: if a weight is not finite, or the file cannot be written.
    """
    metadata = EMULATOR.describe({"kind": KIND, **emulator.describe(), "accuracy": dict(accuracy)})
    EMULATOR.write(path, emulator.network, metadata)


def load_emulator(path: str | Path) -> tuple[Emulator, EmulatorMetadata]:
    """An emulator from its file, or from the folder of a run that holds ``emulator.safetensors``.

    Raises:
        InputError: if there is none, it is damaged, foreign or written by a newer Limbeck, or its weights do not fit.
    """
    path = EMULATOR.locate(path)
    document, tensors = EMULATOR.read(path)
    metadata = EMULATOR.metadata(document, path)
    try:
        network = build(metadata.network)
        grid = LogGrid(
            metadata.grid["first"], metadata.grid["last"], int(metadata.grid["pixels"]), int(metadata.grid["padding"])
        )
        assert isinstance(network, MLP)
    except (LimbeckError, KeyError, AssertionError) as error:
        raise InputError(f"The emulator that {path} describes cannot be built: {error}") from error
    require_usable(tensors, network, path)
    network.load_state_dict(tensors)
    return Emulator(network.requires_grad_(False), grid, metadata.labels, metadata.units), metadata
