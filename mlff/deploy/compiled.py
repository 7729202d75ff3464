"""A student in the compiled CPU program: its weights as the program reads them, and structures as ASE gives them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import NoReturn, cast

import numpy as np
import torch
from ase import Atoms
from numpy import ndarray

from mlff.deploy.checks import SMALLEST_DISTANCE, require_atoms_apart, require_known_elements
from mlff.kernels.inference import Answer, Block, CompiledStudent, Dense, Weights
from mlff.kernels.tables import RadialTable, tabulate
from mlff.neighbors import Neighbors, SkinNeighborList
from mlff.student import PaiNN
from mlff.student.blocks import NORM_FLOOR, Message, Update
from mlff.student.layers import RadialFeatures
from training.errors import InputError

log = logging.getLogger(__name__)

KERNELS = ("auto", "compiled", "torch")

TOLERANCE = {torch.float32: 1e-6, torch.float64: 5e-11}
"""Largest error of a tabulated slope, as a part of the largest slope of that radial function: below the rounding of a
network in that precision."""


class CompiledEvaluator:
    """Answers for one structure after another, with a lasting neighbour list and no work per edge outside the program.

    The weights are those the model has when the evaluator is made.

    Args:
        model: the student, on the CPU.
        lists: the neighbour list.
        look_at: called with atoms, edges and their lengths in Å whenever the list belongs to another structure.
    """

    def __init__(
        self, model: PaiNN, lists: SkinNeighborList, look_at: Callable[[Atoms, Neighbors, ndarray], None]
    ) -> None:
        self.student = compile_student(model)
        self.elements, self.element_index = model.elements, model.element_index.numpy()
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
        wide = self.lists.wide(numbers, positions, cell, atoms.pbc)
        if wide is not self._wide:
            self._wide = None
            self._set_structure(numbers, wide)
            self._wide = wide
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
    """Whether a student runs as the compiled program ("auto" where it can, "compiled", or "torch"); logged once.

    Raises:
        InputError: for an unknown name, or "compiled" where it cannot run.
    """
    if kernels not in KERNELS:
        raise InputError(f"Unknown kernels {kernels!r}; choose one of {', '.join(KERNELS)}.")
    if kernels == "torch":
        return False
    obstacle = "" if device.type == "cpu" else f"it runs on the CPU, and the student is on {device.type}"
    if obstacle and kernels == "compiled":
        raise InputError(f"The compiled program cannot be used: {obstacle}. Choose kernels='auto'.")
    _announce(obstacle, str(dtype).removeprefix("torch."))
    return not obstacle


@cache
def _announce(obstacle: str, precision: str) -> None:
    if obstacle:
        log.warning("Kernels: torch, because the compiled program cannot be used: %s.", obstacle)
    else:
        log.info("Kernels: one compiled program in %s, because the student runs on the CPU.", precision)


def compile_student(model: PaiNN) -> CompiledStudent:
    """The program of a student on the CPU, in the precision of its weights."""
    dtype = model.embedding.weight.dtype
    weights = Weights(
        embedding=_array(model.embedding.weight),
        blocks=[
            _block(cast("Message", message), cast("Update", update))
            for message, update in zip(model.messages, model.updates, strict=True)
        ],
        readout=(_dense(model.readout.first), _dense(model.readout.second)),
        radial=radial_table(model, TOLERANCE[dtype]),
        floor=NORM_FLOOR,
        nearest=SMALLEST_DISTANCE,
        scale=float(model.energy_scale),
        references=_array(model.reference_energies),
    )
    return CompiledStudent(weights, np.dtype(str(dtype).removeprefix("torch.")))


def radial_table(model: PaiNN, tolerance: float) -> RadialTable:
    """The table of a student's radial functions times their envelope, from where atoms are too near to be answered."""

    def functions(distance: ndarray) -> tuple[ndarray, ndarray]:
        features = RadialFeatures.of(torch.from_numpy(distance), model.basis, model.envelope)
        return features.values.numpy(), features.slopes.numpy()

    return tabulate(functions, 0.8 * SMALLEST_DISTANCE, model.cutoff, tolerance)


def _block(message: Message, update: Update) -> Block:
    return Block(
        phi=(_dense(message.phi.first), _dense(message.phi.second)),
        filter=_array(message.filter.weights()),
        mix=_array(update.mix.weight),
        gate=(_dense(update.gate.first), _dense(update.gate.second)),
    )


def _dense(layer: torch.nn.Linear) -> Dense:
    return Dense(_array(layer.weight), _array(layer.bias))


def _array(tensor: torch.Tensor) -> ndarray:
    return tensor.detach().to(device="cpu", dtype=torch.float64).numpy()
