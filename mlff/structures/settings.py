"""Settings of the structures a student learns from: seed, teacher MD, rattled copies, and the held-out trajectory."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from training.settings import Settings

Temperature = Annotated[float, Field(gt=0)]


class RelaxationSettings(Settings):
    """Relaxation of the seeds with the teacher."""

    fmax: float = Field(default=0.02, gt=0)
    """eV/Å; largest force left on an atom"""
    steps: int = Field(default=500, ge=0)
    """most steps to take; 0 starts from the seeds as they are"""
    cell: bool = False
    """whether the cell of a crystal relaxes too; needs stress"""


class HeldOutSettings(Settings):
    """The trajectory that neither the generator nor the trainer sees; accuracy is measured on it."""

    temperature: Temperature = 300.0
    """K"""
    steps: int = Field(default=1000, ge=1)
    """after its own thermalisation"""


class RattleSettings(Settings):
    """Randomly displaced copies of frames: what a student meets when it errs."""

    share: float = Field(default=0.5, ge=0)
    """rattled structures for each frame of the trajectories"""
    displacement: tuple[float, float] = (0.01, 0.1)
    """Å; smallest and largest standard deviation of a coordinate, drawn log-uniformly for each structure"""
    strain: float = Field(default=0.0, ge=0, lt=0.3)
    """largest component of a random strain of periodic cells"""

    @model_validator(mode="after")
    def _ordered(self) -> RattleSettings:
        smallest, largest = self.displacement
        if not 0 < smallest <= largest:
            raise ValueError(f"displacement goes from a positive length in Å to a larger one; got {self.displacement}")
        return self


class GateSettings(Settings):
    """What counts as a sound structure."""

    min_distance: float = Field(default=0.5, gt=0, lt=1)
    """closest allowed pair, as a share of the sum of the covalent radii"""
    max_bond: float = Field(default=1.5, gt=1)
    """longest bond, as a multiple of the sum of the covalent radii; a molecule that falls apart is rejected"""
    fragments: bool = False
    """whether molecules may fall apart, as reactions need"""


class StructureSettings(Settings):
    """Where structures come from; sizes are counted for each seed."""

    source: str = "aspirin"
    """aspirin, a molecule of ASE, smiles:…, bulk:…, or a file that ASE reads, whose frames are so many seeds"""
    supercell: tuple[int, int, int] = (1, 1, 1)
    """repetitions of a periodic seed along its lattice vectors"""
    temperatures: list[Temperature] = Field(default_factory=lambda: [300.0, 500.0], min_length=1)
    """K, of the thermostat"""
    trajectories: int = Field(default=2, ge=1)
    """at each temperature"""
    steps: int = Field(default=800, ge=1)
    """of each trajectory, after thermalisation"""
    stride: int = Field(default=5, ge=1)
    """steps from one frame to the next"""
    timestep: float = Field(default=1.0, gt=0, le=10)
    """fs"""
    friction: float = Field(default=10.0, gt=0)
    """1/ps, of the Langevin thermostat"""
    thermalisation: int = Field(default=100, ge=0)
    """steps of each trajectory that are not used"""
    segment: int = Field(default=50, ge=1)
    """steps between two saved states: what a killed run loses at most"""
    held_out: HeldOutSettings = HeldOutSettings()
    rattle: RattleSettings = RattleSettings()
    relaxation: RelaxationSettings = RelaxationSettings()
    gates: GateSettings = GateSettings()

    @model_validator(mode="after")
    def _some_frames(self) -> StructureSettings:
        for steps, where in ((self.steps, "steps"), (self.held_out.steps, "held_out.steps")):
            if steps < self.stride:
                raise ValueError(f"{where}={steps} with stride={self.stride} gives no frame; take more steps")
        if any(count < 1 for count in self.supercell):
            raise ValueError(f"supercell={list(self.supercell)}: every direction is repeated at least once")
        return self
