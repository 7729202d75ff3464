"""A trained network as one file: weights and a JSON document in safetensors, without pickle, whole or absent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pinn.networks import build
from pinn.problem import Problem
from pinn.solve.metadata import NetworkMetadata, describe, from_json, to_json
from pinn.solve.solution import Solution, Values
from pinn.solve.trial import Trial
from training.configuration import instantiate
from training.errors import ConfigurationError, InputError
from training.files import write_atomically

__all__ = ["Solution", "Values", "load", "save_network"]

METADATA_KEY = "limbeck"
FILE_NAME = "network.safetensors"

KNOWN_PROBLEMS = ("pinn.problems.",)
"""Problems that a file may name to be constructed when it is read; others are handed over by the caller."""


def save_network(path: str | Path, problem: Problem, trial: Trial, accuracy: Mapping[str, Any]) -> None:
    """Write a network's weights and what there is to know about them.

    Args:
        path: the file to write, usually ``network.safetensors``; replaced in one step if it exists.
        problem: that it solves.
        trial: the weights as they shall be used (the averaged ones, where training averages).
        accuracy: errors and the reference's own, as JSON values.

    Raises:
        InputError: if a weight is not finite, the accuracy is no JSON, or the file cannot be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in trial.state_dict().items()}
    _require_finite(tensors, "The network is not written")
    content = save(tensors, metadata={METADATA_KEY: to_json(describe(problem, trial, accuracy))})

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    write_atomically(Path(path), write)


def load(path: str | Path, problem: Problem | None = None) -> Solution:
    """A solution from its file, in the precision in which it was written, on the CPU.

    Args:
        path: a file that a run wrote, or the folder of a run that holds ``network.safetensors``.
        problem: the problem it solves, where that is one of your own; Limbeck's problems are constructed from the file.

    Raises:
        InputError: if there is no such file, it is damaged, foreign or written by a newer Limbeck, its weights do not
            fit the architecture it names or are not finite, or the problem is needed and missing, or another one.
    """
    path = locate(path)
    document, tensors = _read(path)
    metadata = from_json(document, str(path))
    solved = _own_problem(metadata, path) if problem is None else _same_problem(problem, metadata, path)
    try:
        trial = Trial(build(metadata.architecture), tuple(metadata.parameters))
    except (TypeError, ValueError) as error:
        raise InputError(f"The architecture in {path} cannot be built: {error}") from error
    _require_fit(tensors, trial, path)
    _require_finite(tensors, f"{path} cannot be used")
    dtype = next(tensors[name].dtype for name, _ in trial.named_parameters())
    for parameter in trial.parameters():
        parameter.data = parameter.data.to(dtype)
    trial.load_state_dict(tensors)
    return Solution(solved, trial.requires_grad_(False), metadata.model_dump(), path)


def locate(path: str | Path) -> Path:
    """The file itself, or the network in a run folder.

    Raises:
        InputError: if there is none.
    """
    path = Path(path)
    file = path / FILE_NAME if path.is_dir() else path
    if not file.is_file():
        remedy = "the run has not exported its network yet" if path.is_dir() else "check the path"
        raise InputError(f"There is no network at {file}: {remedy}.")
    return file


def _own_problem(metadata: NetworkMetadata, path: Path) -> Problem:
    record = metadata.problem
    if not record.target.startswith(KNOWN_PROBLEMS) or record.arguments is None:
        raise InputError(
            f"{path} solves {record.described} ({record.target}), which cannot be constructed from the file alone. "
            "Construct it yourself and hand it over: pinn.load(path, problem=…)."
        )
    try:
        problem = instantiate({"_target_": record.target, **record.arguments}, KNOWN_PROBLEMS)
    except ConfigurationError as error:
        raise InputError(f"The problem in {path} cannot be constructed: {error}") from error
    if not isinstance(problem, Problem):
        raise InputError(f"{path} names {record.target} as its problem, which is none.")
    return problem


def _same_problem(problem: Problem, metadata: NetworkMetadata, path: Path) -> Problem:
    for what, mine, its in (
        ("class", problem.target.rpartition(".")[2], metadata.problem.target.rpartition(".")[2]),
        ("coordinates", list(problem.coordinates), metadata.coordinates),
        ("fields", list(problem.fields), metadata.fields),
        ("unknown parameters", list(problem.parameters), list(metadata.parameters)),
        ("bounds", {name: list(ends) for name, ends in problem.domain.bounds.items()}, metadata.bounds),
    ):
        if mine != its:
            raise InputError(f"{path} solves another problem: its {what} is {its}, not {mine}.")
    return problem


def _read(path: Path) -> tuple[str, dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if METADATA_KEY not in header:
                raise InputError(
                    f"{path} is a safetensors file without Limbeck's metadata: not a network that Limbeck wrote."
                )
            return header[METADATA_KEY], {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path} is not a whole safetensors file ({error}). It may be truncated or of another format; copy or "
            "export it again."
        ) from error


def _require_fit(tensors: dict[str, Tensor], trial: Trial, path: Path) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in trial.state_dict().items()}
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
