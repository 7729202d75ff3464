"""Energies and forces of many systems from a student, with a neighbour list that lasts several steps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from mlff.deploy.batched_md.groups import Forces, Group
from mlff.deploy.batched_md.neighbours import Boxes, find_edges
from mlff.deploy.batched_md.systems import Systems
from mlff.deploy.compiled import compile_student, gpu_student, runs_on_gpu
from mlff.student import PaiNN
from training import profiling


class Surface:
    """A student's energy surface over many systems, evaluated in groups of whole systems.

    Edges up to ``cutoff + skin`` last until a pair could have come within the cutoff unseen: until an atom has moved by
    half the skin, where a cell that is scaled takes its atoms along. On the CPU the longer edges are left out at every
    step, so the sums, and with them the trajectory, do not depend on when the list was made; so does the program on a
    GPU, while the network in torch keeps them there, where looking costs more than it saves: the envelope gives them
    nothing.

    Args:
        model: the student, on the device of the systems. It runs as a program, compiled for the CPU or recorded on a
            GPU, unless its ``kernels`` say otherwise.
        systems: in motion; the surface keeps a reference.
        skin: Å.
        groups: the first system of every group, ascending from zero; from `group_systems`.

    Attributes:
        builds, calls: how many times the list was made, and the surface evaluated.
    """

    def __init__(self, model: PaiNN, systems: Systems, skin: float, groups: Sequence[int]) -> None:
        self.model, self.systems, self.skin = model, systems, skin
        self.builds = self.calls = 0
        self._boxes = Boxes(systems)
        on_processor = systems.device.type == "cpu"
        self._filters = on_processor
        self._program = compile_student(model) if on_processor and model.kernels == "auto" else None
        bounds = [*groups, systems.n_systems]
        self._groups = [Group(systems, model, first, last) for first, last in pairwise(bounds)]
        self._recorded = gpu_student(model) if runs_on_gpu(model) else None
        self._loaded: Group | None = None
        self._positions: Tensor | None = None

    def leave_out_failed(self) -> None:
        """Systems that are no longer alive get no edges from the next call on."""
        self.systems.included = self.systems.alive.clone()
        self._positions = None

    def __call__(self, stress: bool = False) -> Forces:
        """Energies, forces and, if asked for, stress at the systems' positions."""
        self.calls += 1
        with profiling.phase("neighbours"):
            if self._is_stale():
                self._build()
        answers = [self._ask(group, stress) for group in self._groups]
        return Forces(
            energy=torch.cat([answer.energy for answer in answers]),
            forces=torch.cat([answer.forces for answer in answers]) * self.systems.mobile,
            stress=torch.cat([answer.stress for answer in answers if answer.stress is not None]) if stress else None,
            closest=torch.cat([answer.closest for answer in answers]),
        )

    def _ask(self, group: Group, stress: bool) -> Forces:
        if self._recorded is not None:
            with profiling.phase("network"):
                is_new, self._loaded = group is not self._loaded, group
                return group.run_on_gpu(self._recorded, is_new, self.systems, stress)
        if self._program is not None:
            with profiling.phase("network"):
                answer = group.run(self._program, self.systems, stress)
            if answer is not None:
                return answer
        # the compiled program has no answer where atoms are too near
        with profiling.phase("neighbours"):
            graph, closest = group.at(self.systems, self.model.cutoff, self._filters)
        with profiling.phase("network"):
            prediction = self.model(graph, stress=stress)
        return Forces(prediction.energy.unsqueeze(1), prediction.forces, prediction.stress, closest)

    def _is_stale(self) -> bool:
        if self._positions is None:
            return True
        systems = self.systems
        # a pair within the cutoff was within (cutoff + 2 · moved) / scale when the list was made
        scale = torch.where(self._volume > 0, systems.volume() / self._volume, 1.0).pow(1 / 3)
        cutoff = self.model.cutoff
        allowed = (0.5 * (self.skin + cutoff - cutoff / scale)).clamp(min=0)
        moved = systems.positions / systems.spread(scale) - self._positions
        # a position that is not a number compares false and asks for no list: its system is about to fail
        far = moved.square().sum(dim=1, keepdim=True) > systems.spread(allowed).square()
        return bool((far & systems.spread(systems.included)).any())

    def _build(self) -> None:
        systems = self.systems
        edges = find_edges(systems, self._boxes.at(systems), self.model.cutoff + self.skin)
        self.builds += 1
        self._positions = systems.positions.clone()
        self._volume = systems.volume()
        self._loaded = None
        for group in self._groups:
            group.take(edges)


def group_systems(edges: Sequence[int], max_edges: int) -> list[int]:
    """The first system of every group, so that each group has at most ``max_edges`` edges or is one system alone.

    Args:
        edges: edges of every system.
        max_edges: what fills the memory, or the processor's caches.
    """
    groups, filled = [0], 0
    for index, count in enumerate(edges):
        if filled and filled + count > max_edges:
            groups.append(index)
            filled = 0
        filled += count
    return groups
