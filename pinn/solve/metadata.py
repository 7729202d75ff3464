"""What an exported network says of itself: enough to build it, to evaluate it, and to judge what it is worth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from pinn.problem import Problem
from pinn.solve.trial import Trial
from training.model_file import ModelFile, ModelMetadata

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


class NetworkMetadata(ModelMetadata):
    """The JSON document beside the weights."""

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


NETWORK = ModelFile("network", NetworkMetadata, FORMAT_VERSION, "python train.py experiment=solve")


def describe(problem: Problem, trial: Trial, accuracy: Mapping[str, Any]) -> NetworkMetadata:
    """The metadata of a trained network.

    Raises:
        InputError: if a number is not finite or no JSON.
    """
    document = {
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
    }
    return NETWORK.describe(document)


def _as_json(arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """The arguments if reading them back gives equal ones."""
    try:
        read = json.loads(json.dumps(dict(arguments), allow_nan=False))
    except (TypeError, ValueError):
        return None
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in arguments.items()}
    return read if read == plain else None
