"""A student as a program on the CPU or a GPU: its weights as the program reads them, structures as ASE gives them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import torch
from ase import Atoms
from numpy import ndarray

from mlff.deploy.checks import SMALLEST_DISTANCE, require_atoms_apart, require_known_elements
from mlff.kernels import SPLIT, choose, triton_obstacle
from mlff.kernels.inference import Answer, CompiledStudent, Weights
from mlff.kernels.tables import RadialTable
from mlff.neighbors import Neighbors, SkinNeighborList
from mlff.student import PaiNN
from mlff.student.weights import TOLERANCE, tabulated_radial, weights_of
from training.errors import InputError
from training.profiling import phase

if TYPE_CHECKING:
    from mlff.kernels.triton_student import TritonStudent

log = logging.getLogger(__name__)

KERNELS = ("auto", "compiled", "torch", SPLIT)


class CompiledEvaluator:
    """Answers for one structure after another, with a lasting neighbour list and no work per edge outside the program.

    The weights are those the model has when the evaluator is made.

    Args:
        model: the student, on the CPU or a GPU.
        lists: the neighbour list.
        look_at: called with atoms, edges and their lengths in Å whenever the list belongs to another structure.
    """

    def __init__(
        self, model: PaiNN, lists: SkinNeighborList, look_at: Callable[[Atoms, Neighbors, ndarray], None]
    ) -> None:
        self.student = gpu_student(model) if runs_on_gpu(model) else compile_student(model)
        self.elements, self.element_index = model.elements, model.element_index.cpu().numpy()
        self.lists = lists
        self.look_at = look_at
        self._numbers: bytes | None = None
        self._wide: Neighbors | None = None

    def evaluate(self, atoms: Atoms, stress: bool, threads: int) -> Answer:
        """Energy, forces and, if asked for, the virial.

        Raises:
            InputError: for unknown elements, atoms on top of each other and what no neighbour list can be made of.
        """
        numbers, positions, cell = atoms.numbers, atoms.positions, atoms.cell.array
        species = numbers.tobytes()
        if species != self._numbers:
            require_known_elements(numbers, self.elements)
        with phase("neighbours"):
            wide = self.lists.wide(numbers, positions, cell, atoms.pbc)
            if wide is not self._wide:
                self._wide = None
                self._set_structure(numbers, wide)
                self._wide = wide
        with phase("network"):
            answer = self.student.evaluate(positions, stress, threads)
        if answer is None:
            self._refuse(atoms, wide)
        if species != self._numbers:
            self.look_at(atoms, wide, np.linalg.norm(wide.vectors(positions, cell), axis=1))
            self._numbers = species
        return answer

    def _set_structure(self, numbers: ndarray, wide: Neighbors) -> None:
        start = np.searchsorted(wide.receivers, np.arange(len(numbers) + 1))
        offsets = np.zeros((0, 3)) if self.lists.offsets is None else self.lists.offsets
        self.student.set_structure(self.element_index[numbers], start, wide.senders, wide.reverse, offsets)

    def _refuse(self, atoms: Atoms, wide: Neighbors) -> NoReturn:
        """Name the two atoms that are too near."""
        distances = np.linalg.norm(wide.vectors(atoms.positions, atoms.cell.array), axis=1)
        require_atoms_apart(atoms.numbers, wide, distances)
        raise InputError(f"Two atoms are {distances.min()} Å apart, nearer than {SMALLEST_DISTANCE} Å.")


def choose_kernels(kernels: str, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a student runs as a program ("auto" where it can, "compiled", split, or "torch"); logged once.

    Raises:
        InputError: for an unknown name, or a program that is insisted on where it cannot run.
    """
    if kernels not in KERNELS:
        raise InputError(f"Unknown kernels {kernels!r}; choose one of {', '.join(KERNELS)}.")
    if kernels == "torch":
        return False
    obstacle = "" if device.type == "cpu" and kernels != SPLIT else triton_obstacle(device, dtype)
    if kernels == SPLIT and dtype != torch.float32:
        obstacle = f"products of float32 are split, and the dtype is {dtype}"
    if obstacle and kernels != "auto":
        raise InputError(f"The compiled program cannot be used: {obstacle}. Choose kernels='auto'.")
    _announce(obstacle, device.type, str(dtype).removeprefix("torch."))
    return not obstacle


@cache
def _announce(obstacle: str, device: str, precision: str) -> None:
    if obstacle:
        log.warning("Kernels: torch, because the compiled program cannot be used: %s.", obstacle)
    elif device == "cpu":
        log.info("Kernels: one compiled program in %s, because the student runs on the CPU.", precision)
    else:
        log.info("Kernels: one recorded graph of Triton kernels in %s, because the student runs on a GPU.", precision)


def runs_on_gpu(model: PaiNN) -> bool:
    """Whether Triton's kernels run a student: on a GPU unless its ``kernels`` say otherwise, or where they insist."""
    weight = model.embedding.weight
    if weight.device.type == "cpu" and model.kernels not in ("triton", SPLIT):
        return False
    return choose(model.kernels, weight.device, weight.dtype) == "triton"


def compile_student(model: PaiNN) -> CompiledStudent:
    """The program of a student on the CPU, in the precision of its weights."""
    return CompiledStudent(_weights(model), np.dtype(str(model.embedding.weight.dtype).removeprefix("torch.")))


def gpu_student(model: PaiNN) -> TritonStudent:
    """The program of a student on its device, in the precision of its weights."""
    # loads Triton, which other devices need not
    from mlff.kernels.triton_student import TritonStudent

    weight = model.embedding.weight
    return TritonStudent(_weights(model), weight.dtype, weight.device, split=model.kernels == SPLIT)


def _weights(model: PaiNN) -> Weights:
    return weights_of(model, radial_table(model, TOLERANCE[model.embedding.weight.dtype]), SMALLEST_DISTANCE)


def radial_table(model: PaiNN, tolerance: float) -> RadialTable:
    """The table of a student's radial functions times their envelope, from where atoms are too near to be answered."""
    return tabulated_radial(model, 0.8 * SMALLEST_DISTANCE, tolerance)
