"""A trained network as one file, and the solution that is read from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pinn.networks import build
from pinn.problem import Problem
from pinn.solve.metadata import NETWORK, NetworkMetadata, describe
from pinn.solve.solution import Solution, Values
from pinn.solve.trial import Trial
from training.configuration import instantiate
from training.errors import ConfigurationError, InputError
from training.model_file import require_usable

__all__ = ["Solution", "Values", "load", "save_network"]

FILE_NAME = NETWORK.file_name

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
    NETWORK.write(path, trial, describe(problem, trial, accuracy))


def load(path: str | Path, problem: Problem | None = None) -> Solution:
    """A solution from its file, in the precision in which it was written, on the CPU.

    Args:
        path: a file that a run wrote, or the folder of a run that holds ``network.safetensors``.
        problem: the problem it solves, where that is one of your own; Limbeck's problems are constructed from the file.

    Raises:
        InputError: if there is no such file, it is damaged, foreign or written by a newer Limbeck, its weights do not
            fit the architecture it names or are not finite, or the problem is needed and missing, or another one.
    """
    path = NETWORK.locate(path)
    document, tensors = NETWORK.read(path)
    if "teacher" in document:
        raise InputError(f"{path} holds a force field, not the solution of an equation: use mlff.StudentCalculator.")
    metadata = NETWORK.metadata(document, path)
    solved = _own_problem(metadata, path) if problem is None else _same_problem(problem, metadata, path)
    try:
        trial = Trial(build(metadata.architecture), tuple(metadata.parameters))
    except (TypeError, ValueError) as error:
        raise InputError(f"The architecture in {path} cannot be built: {error}") from error
    require_usable(tensors, trial, path)
    dtype = next(tensors[name].dtype for name, _ in trial.named_parameters())
    for parameter in trial.parameters():
        parameter.data = parameter.data.to(dtype)
    trial.load_state_dict(tensors)
    return Solution(solved, trial.requires_grad_(False), metadata.model_dump(), path)


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
