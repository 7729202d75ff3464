"""The watch for systems that break: found on the device at every step, told to the user at the next observation."""

from __future__ import annotations

import torch
from ase import units
from jaxtyping import Int
from torch import Tensor

from mlff.deploy.batched_md.groups import Forces
from mlff.deploy.batched_md.systems import Systems
from mlff.deploy.checks import SMALLEST_DISTANCE

REASONS = {
    1: "an energy or force is not a finite number",
    2: f"two atoms came nearer than {SMALLEST_DISTANCE} Å",
    3: "its temperature rose above {largest_temperature_K:,.0f} K",
}

Kept = tuple[Tensor, Tensor, Tensor, Forces]


class Watch:
    """Finds systems that fail and freezes them where they were before the failing step; the others do not notice.

    Args:
        systems: in motion.
        largest_temperature_K: a hotter system has exploded.

    Attributes:
        reason: (n_systems, 1) key of `REASONS`, zero while all is well.
        step: (n_systems, 1) the step that failed.
    """

    reason: Int[Tensor, "systems 1"]
    step: Int[Tensor, "systems 1"]

    def __init__(self, systems: Systems, largest_temperature_K: float) -> None:
        self.largest_temperature_K = largest_temperature_K
        self.reason = torch.zeros(systems.n_systems, 1, dtype=torch.int64, device=systems.device)
        self.step = torch.zeros_like(self.reason)
        self._hottest = 0.5 * units.kB * largest_temperature_K * systems.degrees_of_freedom.clamp(min=1)

    def judge(self, systems: Systems, forces: Forces, before: Kept, step: int) -> Forces:
        """Look at the systems after a step.

        Args:
            systems: after the step; those that fail, or have failed, are put back.
            forces: at their positions.
            before: positions, velocities, cell and forces before the step.
            step: its number.

        Returns:
            The forces, those of frozen systems as they were before.
        """
        finite = torch.isfinite(systems.sum(forces.forces.abs().sum(dim=1, keepdim=True)) + forces.energy)
        apart = forces.closest >= SMALLEST_DISTANCE
        # a kinetic energy that is not a number is not below the bound either
        calm = systems.kinetic_energy() <= self._hottest
        fine = finite & apart & calm
        reason = torch.where(finite, torch.where(apart, 3, 2), 1)
        fails = systems.alive & ~fine
        self.reason = torch.where(fails, reason, self.reason)
        self.step = torch.where(fails, step, self.step)
        systems.alive = systems.alive & fine
        return self._freeze(systems, forces, before)

    def _freeze(self, systems: Systems, forces: Forces, before: Kept) -> Forces:
        positions, velocities, cell, known = before
        alive, atoms = systems.alive, systems.spread(systems.alive)
        systems.positions = torch.where(atoms, systems.positions, positions)
        systems.velocities = torch.where(atoms, systems.velocities, velocities)
        if systems.cell is not cell:
            systems.cell = torch.where(alive.unsqueeze(2), systems.cell, cell)
        stress = forces.stress
        if stress is not None and known.stress is not None:
            stress = torch.where(alive.unsqueeze(2), stress, known.stress)
        return Forces(
            energy=torch.where(alive, forces.energy, known.energy),
            forces=torch.where(atoms, forces.forces, known.forces),
            stress=stress,
            closest=forces.closest,
        )

    def describe(self, system: int) -> str:
        """Why and when a system failed; empty if it did not."""
        reason = int(self.reason[system])
        if not reason:
            return ""
        words = REASONS[reason].format(largest_temperature_K=self.largest_temperature_K)
        return f"{words} at step {int(self.step[system])}"
