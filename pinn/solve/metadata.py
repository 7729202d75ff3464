"""What an exported network says of itself: enough to build it, to evaluate it, and to judge what it is worth."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from pinn.problem import Problem
from pinn.solve.trial import Trial
from training.errors import InputError

FORMAT_VERSION = 1


class ProblemRecord(BaseModel):
    """How to construct the problem again."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    target: str
    """Dotted path of the class."""
    arguments: dict[str, Any] | None
    """By name; null where they are no JSON."""
    described: str
    """The same for people."""


class NetworkMetadata(BaseModel):
    """The JSON document beside the weights; further keys are kept as they are."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    format_version: int
    """Raised when a reader of the former version would misread the file."""
    problem: ProblemRecord
    title: str
    coordinates: list[str]
    """Space first, time last."""
    bounds: dict[str, list[float]]
    """Lowest and highest value of each coordinate."""
    fields: list[str]
    architecture: dict[str, Any]
    """What `pinn.networks.build` takes."""
    parameters: dict[str, float]
    """Unknown parameters of an inverse problem, as found."""
    accuracy: dict[str, Any]
    """Errors against the reference and the reference's own; empty where nothing was measured."""
    created: dict[str, str]
    """When, and with which versions."""


def describe(problem: Problem, trial: Trial, accuracy: Mapping[str, Any]) -> NetworkMetadata:
    """The metadata of a trained network.

    Raises:
        InputError: if a number is not finite or no JSON.
    """
    document = {
        "format_version": FORMAT_VERSION,
        "problem": {
            "target": problem.target,
            "arguments": _as_json(problem.arguments),
            "described": repr(problem),
        },
        "title": problem.title,
        "coordinates": list(problem.coordinates),
        "bounds": {name: list(ends) for name, ends in problem.domain.bounds.items()},
        "fields": list(problem.fields),
        "architecture": trial.network.architecture(),
        "parameters": {name: value.item() for name, value in trial.values(problem).items()},
        "accuracy": dict(accuracy),
        "created": {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "limbeck": version("limbeck"),
            "torch": version("torch"),
            "python": platform.python_version(),
        },
    }
    return _validated(document, "The metadata of the network")


def to_json(metadata: NetworkMetadata) -> str:
    """The document as text.

    Raises:
        InputError: if a value is no JSON.
    """
    try:
        return json.dumps(metadata.model_dump(), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"The metadata of a network are plain JSON values: {error}.") from error


def from_json(text: str, origin: str) -> NetworkMetadata:
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
        raise InputError(f"The metadata in {origin} are not readable ({error}); export the network again.") from error
    written = document.get("format_version") if isinstance(document, dict) else None
    if isinstance(written, int) and written > FORMAT_VERSION:
        raise InputError(
            f"{origin} was written by a newer Limbeck (format {written}; this one, {version('limbeck')}, reads up to "
            f"{FORMAT_VERSION}). Update Limbeck: pip install --upgrade limbeck."
        )
    if isinstance(document, dict) and "teacher" in document:
        raise InputError(f"{origin} holds a force field, not the solution of an equation: use mlff.StudentCalculator.")
    return _validated(document, f"The metadata in {origin}")


def _as_json(arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """The arguments if reading them back gives equal ones."""
    try:
        read = json.loads(json.dumps(dict(arguments), allow_nan=False))
    except (TypeError, ValueError):
        return None
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in arguments.items()}
    return read if read == plain else None


def _validated(document: Any, what: str) -> NetworkMetadata:
    try:
        return NetworkMetadata.model_validate(document)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'document'}: {e['msg']}" for e in error.errors())
        raise InputError(f"{what} are not those of a network: {faults}.") from error
