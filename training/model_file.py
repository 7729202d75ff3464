"""A model as one file: weights and a JSON document in safetensors, without pickle, whole or absent."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from training.errors import InputError
from training.files import write_atomically

METADATA_KEY = "limbeck"
"""Of the JSON document in the header of the file."""


class ModelMetadata(BaseModel):
    """What every file says of itself; further keys are kept as they are."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    format_version: int
    """Raised when a reader of the former version would misread the file."""
    created: dict[str, str]
    """When, and with which versions."""


Metadata = TypeVar("Metadata", bound=ModelMetadata)


@dataclass(frozen=True)
class ModelFile(Generic[Metadata]):
    """One kind of model, and how its files are written and read.

    Args:
        name: of the kind, ``student`` for ``student.safetensors``.
        schema: of its document.
        format_version: that is written; later ones are not read.
        made_by: a command that makes one.
    """

    name: str
    schema: type[Metadata]
    format_version: int
    made_by: str

    @property
    def file_name(self) -> str:
        """In a run folder."""
        return f"{self.name}.safetensors"

    def describe(self, document: Mapping[str, Any]) -> Metadata:
        """The metadata of a model that is about to be written; version of the format, date and packages are added.

        Raises:
            InputError: if a value is missing, has the wrong type or is not finite.
        """
        created = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "limbeck": version("limbeck"),
            "torch": version("torch"),
            "python": platform.python_version(),
        }
        own = {"format_version": self.format_version, "created": created}
        return self._validated({**own, **document}, f"The metadata of the {self.name}")

    def write(self, path: str | Path, model: nn.Module, metadata: Metadata) -> None:
        """Write weights and metadata; a file that is there is replaced in one step.

        Raises:
            InputError: if a weight is not finite, a value is no JSON, or the file cannot be written.
        """
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        _require_finite(tensors, f"The {self.name} is not written")
        content = save(tensors, metadata={METADATA_KEY: self._as_json(metadata)})

        def write(temporary: Path) -> None:
            temporary.write_bytes(content)

        write_atomically(Path(path), write)

    def locate(self, path: str | Path) -> Path:
        """The file itself, or the one in a run folder.

        Raises:
            InputError: if there is none.
        """
        path = Path(path)
        file = path / self.file_name if path.is_dir() else path
        if not file.is_file():
            reason = f"the run has not exported its {self.name} yet" if path.is_dir() else "check the path"
            raise InputError(f"There is no {self.name} at {file}: {reason}. `{self.made_by}` makes one.")
        return file

    def read(self, path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The document, not validated yet, and the tensors of a file.

        Raises:
            InputError: if the file is damaged, foreign, or written by a newer Limbeck.
        """
        try:
            with safe_open(path, framework="pt") as file:
                text = (file.metadata() or {}).get(METADATA_KEY)
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"{path} is not a whole safetensors file ({error}). It may be truncated or of another format; copy or "
                "export it again."
            ) from error
        if text is None:
            raise InputError(
                f"{path} is a safetensors file without Limbeck's metadata: no {self.name} that Limbeck wrote."
            )
        return self._document(text, path), tensors

    def metadata(self, document: Mapping[str, Any], path: Path) -> Metadata:
        """The document of a file as its schema.

        Raises:
            InputError: if a key is missing or wrong.
        """
        return self._validated(document, f"The metadata in {path}")

    def _as_json(self, metadata: Metadata) -> str:
        try:
            return json.dumps(metadata.model_dump(), ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InputError(f"The metadata of the {self.name} must be plain JSON values: {error}.") from error

    def _document(self, text: str, path: Path) -> dict[str, Any]:
        try:
            document = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(
                f"The metadata in {path} are not readable ({error}); export the {self.name} again."
            ) from error
        if not isinstance(document, dict):
            raise InputError(f"The metadata in {path} are no table of keys and values; export the {self.name} again.")
        written = document.get("format_version")
        if isinstance(written, int) and written > self.format_version:
            raise InputError(
                f"{path} was written by a newer Limbeck (format {written}; this one, {version('limbeck')}, reads up to "
                f"{self.format_version}). Update Limbeck: pip install --upgrade limbeck."
            )
        return document

    def _validated(self, document: Mapping[str, Any], what: str) -> Metadata:
        try:
            return self.schema.model_validate(document)
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'document'}: {e['msg']}" for e in error.errors())
            raise InputError(f"{what} are wrong for {self.file_name}: {faults}.") from error


def require_usable(tensors: Mapping[str, Tensor], model: nn.Module, path: Path) -> None:
    """Refuse tensors of a file that are not the weights of the model.

    Raises:
        InputError: names what is missing, unknown, of another shape or not finite.
    """
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
    _require_finite(tensors, f"{path} cannot be used")


def _require_finite(tensors: Mapping[str, Tensor], consequence: str) -> None:
    wrong = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    if wrong:
        raise InputError(f"{consequence}: {', '.join(wrong[:3])} holds values that are not finite; training diverged.")
