"""Relaxation of a seed structure with the teacher."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

from mlff.data.records import Record
from mlff.data.shards import read_shard, write_shard
from mlff.structures.settings import RelaxationSettings
from mlff.teachers.evaluate import TeacherFailed
from mlff.teachers.teacher import Teacher
from training.errors import InputError


@dataclass(frozen=True)
class Relaxed:
    """A relaxed structure.

    Attributes:
        atoms: positions in Å, no calculator.
        steps: that it took.
        max_force: eV/Å, largest force left.
        converged: whether that is small enough.
    """

    atoms: Atoms
    steps: int
    max_force: float
    converged: bool


def relax(atoms: Atoms, teacher: Teacher, settings: RelaxationSettings) -> Relaxed:
    """Minimise the energy by BFGS.

    Args:
        atoms: not changed.
        teacher: gives the forces, and the stress if the cell relaxes too.
        settings: when to stop.

    Raises:
        TeacherFailed: if the teacher has no answer on the way.
    """
    relaxed = atoms.copy()
    relaxed.calc = teacher.calculator()
    target: Any = FrechetCellFilter(relaxed) if settings.cell and relaxed.pbc.all() else relaxed
    try:
        with BFGS(target, logfile=None) as optimizer:
            converged = optimizer.run(fmax=settings.fmax, steps=settings.steps)
            steps = optimizer.nsteps
            largest = float(np.linalg.norm(target.get_forces(), axis=1).max())
    except Exception as error:
        # calculators are foreign code with errors of every kind
        raise TeacherFailed(f"{type(error).__name__}: {error}") from error
    relaxed.calc = None
    return Relaxed(relaxed, steps, largest, bool(converged))


@dataclass(frozen=True)
class RelaxationTask:
    """A seed to be relaxed, and where its relaxed structure is kept."""

    atoms: Atoms
    teacher: Teacher
    settings: RelaxationSettings
    path: Path


def relaxation_identity(atoms: Atoms, teacher: Teacher, settings: RelaxationSettings) -> str:
    """SHA-256 of what a relaxed structure depends on."""
    digest = hashlib.sha256((teacher.fingerprint() + settings.model_dump_json()).encode())
    for array in (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, atoms.get_initial_magnetic_moments()):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def run_relaxation(task: RelaxationTask) -> str:
    """Relax a seed and keep the structure; what a worker does.

    Returns:
        what happened, in words.

    Raises:
        InputError: if the teacher fails on the way.
    """
    formula = task.atoms.get_chemical_formula()
    try:
        result = relax(task.atoms, task.teacher, task.settings)
    except TeacherFailed as error:
        raise InputError(
            f"Relaxing {formula} with {task.teacher.name} failed: {error}. Give a better geometry, or start "
            "from this one with structures.relaxation.steps=0."
        ) from error
    words = f"{formula} relaxed in {result.steps} steps to {result.max_force:.2g} eV/Å"
    if not result.converged:
        words += f", above the {task.settings.fmax:g} eV/Å asked for; MD starts from there"
    write_shard(task.path, [Record(result.atoms, "relaxed", words)])
    return words


def read_relaxed(path: Path, seed: Atoms) -> Atoms:
    """The seed, with what else it carries (magnetic moments), in its relaxed geometry."""
    (record,) = read_shard(path)
    relaxed = seed.copy()
    relaxed.set_cell(record.atoms.cell)
    relaxed.positions = record.atoms.positions
    return relaxed
