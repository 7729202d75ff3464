"""Dynamics at constant energy whose steps are recorded on a GPU: between two looks nothing goes through Python.

`simulate` looks at every step, to write, to watch and to freeze; for small systems these looks are what it takes. Here
a step is one graph, many are launched one after the other, and only then does anybody ask whether an atom has come so
far that the neighbour list may lack a pair. If so, the steps since the last look are undone, the list is made where
they began, and they are taken again: the trajectory is that of a list made at every step. Small molecules get a list of
all their pairs, which lasts for ever.
"""

from __future__ import annotations

import math

import torch
import triton
from torch import Tensor

from mlff.deploy.batched_md.neighbours import Boxes, find_edges
from mlff.deploy.batched_md.systems import Systems
from mlff.deploy.compiled import gpu_student
from mlff.kernels import triton_motion
from mlff.kernels.cuda_graph import Recorded
from mlff.student import PaiNN
from training.errors import InputError

MOST_STEPS = 64
"""Steps between two looks; fewer where a list does not last so long."""

ALL_PAIRS_BELOW = 120
"""Molecules with fewer atoms get a list of all their pairs."""

EVERYWHERE = 1e4
"""Å; a list up to this distance holds all pairs."""

CAUTION = 0.7
"""Part of the way to the end of a list that is taken without a look."""

ATOMS_AT_ONCE, NUMBERS_AT_ONCE = 128, 512


class RecordedDynamics:
    """Velocity Verlet of many systems; cells do not change.

    Args:
        model: the student, on the device of the systems.
        systems: with velocities; `run` moves them.
        time_step: in ASE's unit of time.
        skin: Å beyond the cutoff in the neighbour list.

    Attributes:
        energy, forces: (n_systems,) eV of the potential and (n_atoms, 3) eV/Å, where the systems are.
        builds: how many times the neighbour list was made.
    """

    def __init__(self, model: PaiNN, systems: Systems, time_step: float, skin: float = 1.0) -> None:
        self.systems, self.builds = systems, 0
        self._age, self._moved = 0, 0.0
        largest = int(torch.diff(systems.first).max())
        if largest < ALL_PAIRS_BELOW and not bool(systems.pbc.any()):
            self._radius, self._reach = EVERYWHERE, math.inf
        else:
            self._radius, self._reach = model.cutoff + skin, 0.5 * skin
        self._student = gpu_student(model)
        self._species = model.element_index[systems.numbers]
        self._time_step = time_step
        self._boxes = Boxes(systems).at(systems)
        self._build()
        found = self._student.run(systems.positions, stress=False).copied()
        self.energy, self.forces = found.energy, found.forces

    def run(self, steps: int) -> None:
        """Move the systems.

        Raises:
            InputError: if an atom moves by half the skin within one step, or two atoms collide.
        """
        done, take = 0, 1
        while done < steps:
            take = max(1, min(take, MOST_STEPS, steps - done))
            moved = self._advance(take)
            if self._allows(moved):
                done, self._age, self._moved = done + take, self._age + take, moved
                per_step = moved / self._age
                if moved > CAUTION * self._reach:
                    self._build()
                left = CAUTION * (self._reach - self._moved)
                take = MOST_STEPS if per_step * MOST_STEPS <= left else int(left / per_step)
            elif self._age > 0:
                self._build()
            elif take == 1:
                raise InputError("An atom moves by half the skin, or to nowhere, in one step: shorten the time step.")
            else:
                take //= 2
        if not bool((self._student.program.results(False).nearest >= self._student.nearest).all()):
            raise InputError(f"Two atoms are nearer than {self._student.nearest} Å: shorten the time step.")

    def _advance(self, steps: int) -> float:
        """Take some steps, and keep them unless an atom gets further from where the list was made than the list allows.

        Returns:
            How far one has been since then, in Å; infinite where a position is not a number.
        """
        systems, program = self.systems, self._student.program
        n_atoms, memory = systems.n_atoms, program.memory
        memory.positions[:n_atoms].copy_(systems.positions)
        memory.forces[: 3 * n_atoms].copy_(self.forces.view(-1))
        self._velocities[:n_atoms].copy_(systems.velocities)
        self._farthest.fill_(self._moved**2)
        for _ in range(steps):
            self._step()
        moved = math.sqrt(float(self._farthest.max()))
        if self._allows(moved):
            systems.positions = memory.positions[:n_atoms].clone()
            systems.velocities = self._velocities[:n_atoms].clone()
            found = program.results(False).copied()
            self.energy, self.forces = found.energy, found.forces
        return moved

    def _allows(self, moved: float) -> bool:
        return moved <= self._reach and moved < math.inf

    def _build(self) -> None:
        """Make the list where the systems are; the step is recorded again if the memory grows for it."""
        systems, student = self.systems, self._student
        edges = find_edges(systems, self._boxes, self._radius)
        self.builds, self._age, self._moved = self.builds + 1, 0, 0.0
        start = torch.searchsorted(edges.receivers, torch.arange(systems.n_atoms + 1, device=systems.device))
        cells = systems.cell.index_select(0, systems.owner.index_select(0, edges.receivers))
        offsets = torch.einsum("ec,ecd->ed", edges.shifts, cells)
        growths = student.growths
        student.set_structures(self._species, start, edges.senders, edges.reverse, offsets, systems.first)
        if student.growths > growths:
            self._reserve(student.program.capacity.atoms)
        self._origin[: systems.n_atoms].copy_(systems.positions)

    @torch.inference_mode(False)
    def _reserve(self, room: int) -> None:
        """Memory for so many atoms, and a step recorded in it; made in inference mode it would serve nowhere else."""
        systems = self.systems

        def numbers(values: Tensor) -> Tensor:
            memory = torch.zeros(room, 3, dtype=torch.float64, device=systems.device)
            memory[: systems.n_atoms].copy_(values.expand(-1, 3))
            return memory

        self._velocities, self._origin = numbers(systems.velocities), numbers(systems.positions)
        self._per_mass = numbers(0.5 * self._time_step * systems.mobile / systems.masses)
        self._length = torch.full((1,), self._time_step, dtype=torch.float64, device=systems.device)
        self._farthest = self._length.new_zeros(triton.cdiv(room, ATOMS_AT_ONCE))
        self._step = Recorded(self._launch_step, systems.device)
        self._step.prepare()

    def _launch_step(self) -> None:
        """Half a kick, a drift, forces, half a kick."""
        program = self._student.program
        memory, n_atoms = program.memory, program.capacity.atoms
        triton_motion.kick_and_drift[(len(self._farthest),)](
            memory.positions, self._velocities, memory.forces, self._per_mass, self._length, self._origin,
            self._farthest, n_atoms, ATOMS=ATOMS_AT_ONCE,
        )  # fmt: skip
        program.launch(stress=False)
        triton_motion.kick[(triton.cdiv(3 * n_atoms, NUMBERS_AT_ONCE),)](
            self._velocities, memory.forces, self._per_mass, 3 * n_atoms, SIZE=NUMBERS_AT_ONCE
        )
