"""Integrators of many systems at once. Every step is ``begin``, forces at the new positions, ``finish``."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from ase import units
from torch import Tensor

from mlff.deploy.batched_md.groups import Forces
from mlff.deploy.batched_md.systems import Systems


class Integrator(Protocol):
    """One step of the equations of motion in two halves.

    Attributes:
        needs_stress: whether ``begin`` reads the stress of the forces it is given.
        conserves_momentum: whether the centre of mass keeps its velocity.
    """

    needs_stress: bool
    conserves_momentum: bool

    def begin(self, systems: Systems, forces: Forces, noise: torch.Generator) -> None:
        """Up to the new positions (and cells), which replace the old tensors; the old ones are left as they are."""

    def finish(self, systems: Systems, forces: Forces) -> None:
        """The rest of the step, with the forces at the new positions."""


class VelocityVerlet:
    """Constant energy: ``v += F/m · dt/2``, ``x += v dt``, forces, ``v += F/m · dt/2``.

    Source: Swope, Andersen, Berens, Wilson, J. Chem. Phys. 76, 637 (1982).

    Args:
        time_step: in ASE's unit of time.
    """

    needs_stress = False
    conserves_momentum = True

    def __init__(self, time_step: float) -> None:
        self.time_step = time_step

    def begin(self, systems: Systems, forces: Forces, noise: torch.Generator) -> None:
        """Half a kick and a whole drift."""
        self._kick(systems, forces)
        systems.positions = systems.positions + self.time_step * systems.velocities

    def finish(self, systems: Systems, forces: Forces) -> None:
        """The other half of the kick."""
        self._kick(systems, forces)

    def _kick(self, systems: Systems, forces: Forces) -> None:
        systems.velocities = systems.velocities + forces.forces * (0.5 * self.time_step / systems.masses)


class Langevin(VelocityVerlet):
    """Constant temperature: half a kick, half a drift, ``v = c v + √((1 − c²) kT/m) ξ``, half a drift, half a kick.

    ``c = exp(−γ dt)``; the splitting BAOAB, whose averages over positions are the most exact of its kind.
    Source: Leimkuhler, Matthews, Appl. Math. Res. Express 2013, 34.

    Args:
        time_step: in ASE's unit of time.
        temperature_K: of the bath.
        friction: γ in the inverse of ASE's unit of time.
    """

    conserves_momentum = False

    def __init__(self, time_step: float, temperature_K: float, friction: float) -> None:
        super().__init__(time_step)
        self.kT = units.kB * temperature_K
        self.keep = math.exp(-friction * time_step)

    def begin(self, systems: Systems, forces: Forces, noise: torch.Generator) -> None:
        """Kick, drift, bath, drift."""
        self._kick(systems, forces)
        half = 0.5 * self.time_step
        positions = systems.positions + half * systems.velocities
        systems.velocities = self.keep * systems.velocities + self._random(systems, noise)
        systems.positions = positions + half * systems.velocities

    def _random(self, systems: Systems, noise: torch.Generator) -> Tensor:
        drawn = torch.randn(
            systems.positions.shape, generator=noise, dtype=systems.positions.dtype, device=systems.device
        )
        return drawn * (systems.mobile * (self.kT * (1 - self.keep**2) / systems.masses).sqrt())


class StochasticCell(Langevin):
    """Constant temperature and pressure: Langevin dynamics, and cells that are scaled in all directions alike.

    ``dε = β/τ (P − P₀) dt + √(2 kT β / (V τ)) dW`` with ``ε = ln V``; positions and cell are multiplied by
    ``exp(dε/3)``, velocities divided by it. With the instantaneous pressure ``P = (2 K − V tr σ) / 3V`` of momenta that
    are scaled along, the volume has the isothermal-isobaric distribution ``∝ ∫ exp(−(H + P₀ V)/kT)`` for a small time
    step; β only sets the pace.
    Source: Bernetti, Bussi, J. Chem. Phys. 153, 114107 (2020).

    Args:
        time_step: in ASE's unit of time.
        temperature_K: of the bath.
        friction: γ in the inverse of ASE's unit of time.
        pressure: P₀ in eV/Å³.
        compressibility: β in Å³/eV.
        relaxation_time: τ in ASE's unit of time.
    """

    needs_stress = True

    def __init__(
        self,
        time_step: float,
        temperature_K: float,
        friction: float,
        pressure: float,
        compressibility: float,
        relaxation_time: float,
    ) -> None:
        super().__init__(time_step, temperature_K, friction)
        self.pressure, self.rate = pressure, compressibility / relaxation_time

    def begin(self, systems: Systems, forces: Forces, noise: torch.Generator) -> None:
        """Kick, drift, bath, drift, and the cell."""
        excess = pressure(systems, forces) - self.pressure
        volume = systems.volume()
        super().begin(systems, forces, noise)
        drawn = torch.randn(volume.shape, generator=noise, dtype=volume.dtype, device=volume.device)
        growth = self.rate * self.time_step * excess
        growth = growth + (2 * self.kT * self.rate * self.time_step / volume).sqrt() * drawn
        scale = torch.exp(growth / 3)
        of_atoms = systems.spread(scale)
        systems.positions = systems.positions * of_atoms
        systems.velocities = systems.velocities / of_atoms
        systems.cell = systems.cell * scale.unsqueeze(2)


def pressure(systems: Systems, forces: Forces) -> Tensor:
    """Instantaneous pressure (n_systems, 1) eV/Å³: kinetic part less a third of the stress; NaN without a cell."""
    assert forces.stress is not None
    volume = systems.volume()
    periodic = systems.pbc.all(dim=1, keepdim=True)
    trace = torch.diagonal(forces.stress, dim1=1, dim2=2).sum(dim=1, keepdim=True)
    return torch.where(periodic, 2 * systems.kinetic_energy() / (3 * volume) - trace / 3, torch.nan)


def temperature(systems: Systems) -> Tensor:
    """Instantaneous temperature (n_systems, 1) K: ``2 K / (f k)``; zero where nothing can move."""
    return 2 * systems.kinetic_energy() / (units.kB * systems.degrees_of_freedom.clamp(min=1))
