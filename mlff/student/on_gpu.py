"""A student's prediction by the Triton kernels, for graphs that are on the device already."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from mlff.graph import AtomGraph
from mlff.kernels import SPLIT
from mlff.kernels.tables import RadialTable
from mlff.kernels.triton_program import Results
from mlff.kernels.triton_student import TritonStudent
from mlff.student.weights import TOLERANCE, tabulated_radial, weights_of

if TYPE_CHECKING:
    from mlff.student.painn import PaiNN

log = logging.getLogger(__name__)

TABLE_START = 0.24
"""Å; nuclei come no closer, and whoever asks nevertheless is answered by the reference."""


@dataclass
class _Known:
    """The program of a network, its tables, and the weights it has: tensors with places in memory and versions."""

    student: TritonStudent
    radial: RadialTable
    weights: list[tuple[Tensor, int, int]]

    def has(self, weights: list[tuple[Tensor, int, int]]) -> bool:
        """Whether these are the same, and nobody has changed them."""
        return len(weights) == len(self.weights) and all(
            known is tensor and before == now
            for (known, *before), (tensor, *now) in zip(self.weights, weights, strict=True)
        )


_programs: WeakKeyDictionary[PaiNN, _Known] = WeakKeyDictionary()


def predict_on_gpu(model: PaiNN, graph: AtomGraph, stress: bool) -> Results | None:
    """What the program of a network answers; nothing where two atoms are nearer than its tables go.

    The program is kept with the network, its weights are replaced when the network's have changed.

    Args:
        model: on the device of the graph.
        graph: structures whose elements the network knows.
        stress: whether to compute the virials.

    Returns:
        Results in memory of their own.
    """
    student = _student_of(model)
    atoms = torch.arange(graph.n_atoms + 1, device=graph.positions.device)
    structures = torch.arange(graph.n_structures + 1, device=graph.positions.device)
    periodic = bool((graph.shifts != 0).any())
    student.set_structures(
        species=model.element_index[graph.atomic_numbers],
        start=torch.searchsorted(graph.receivers, atoms),
        senders=graph.senders,
        reverse=graph.reverse,
        offsets=edge_offsets(graph) if periodic else graph.positions.new_zeros(0, 3),
        first=torch.searchsorted(graph.structure_index, structures),
    )
    results = student.run(graph.positions, stress)
    if not bool((results.nearest >= student.nearest).all()):
        log.warning("Two atoms are nearer than %g Å; the reference answers for this batch.", student.nearest)
        return None
    return results.copied()


def edge_offsets(graph: AtomGraph) -> Tensor:
    """What the edges add to their senders: (n_edges, 3) Å."""
    cells = graph.cell.index_select(0, graph.structure_index.index_select(0, graph.receivers))
    return torch.einsum("ec,ecd->ed", graph.shifts, cells)


def _student_of(model: PaiNN) -> TritonStudent:
    tensors = [*model.parameters(), *model.buffers()]
    # nobody counts the changes of tensors that were made in inference mode
    counted = not any(tensor.is_inference() for tensor in tensors)
    weights = [(tensor, tensor.data_ptr(), tensor._version if counted else 0) for tensor in tensors]
    known, split = _programs.get(model), model.kernels == SPLIT
    dtype, device = model.embedding.weight.dtype, model.embedding.weight.device
    if known is None or (known.student.dtype, known.student.device, known.student.split) != (dtype, device, split):
        radial = tabulated_radial(model, TABLE_START, TOLERANCE[dtype])
        student = TritonStudent(weights_of(model, radial, nearest=TABLE_START), dtype, device, split)
        known = _programs[model] = _Known(student, radial, weights)
    elif not (counted and known.has(weights)):
        known.student.load_weights(weights_of(model, known.radial, nearest=TABLE_START))
        known.weights = weights
    return known.student
