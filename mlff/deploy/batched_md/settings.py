"""Settings of a batched simulation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from training.settings import Settings


class SimulationSettings(Settings):
    """What `mlff.deploy.simulate` and ``python -m mlff.deploy`` take; times in fs and ps, temperatures in K."""

    ensemble: Literal["nve", "langevin", "npt"] = "nve"
    """nve: constant energy, velocity Verlet. langevin: constant temperature, BAOAB. npt: constant temperature and
    pressure, the same with stochastic rescaling of the cell, for systems that are periodic in three directions."""

    duration_ps: float = Field(gt=0)
    """Length. A finished simulation that is called again with a larger one goes on."""

    time_step_fs: float = Field(default=0.5, gt=0)
    """About a tenth of the period of the fastest vibration: 0.5 with hydrogen, 2 without."""

    temperature_K: float | None = Field(default=None, ge=0)
    """Of the bath, and of the velocities of systems that come without momenta."""

    friction_per_ps: float = Field(default=1.0, ge=0)
    """Of the bath. 1 disturbs the motion little and takes some ps to reach the temperature; 10 and more is quick."""

    pressure_GPa: float = 0.0
    """Of the surroundings, for npt; one atmosphere is 0.0001."""

    compressibility_per_GPa: float = Field(default=0.46, gt=0)
    """A guess, for npt: it sets how quickly volumes change, not where they end. 0.46 is water, crystals have 0.01."""

    pressure_relaxation_ps: float = Field(default=1.0, gt=0)
    """How quickly the pressure relaxes, for npt, if the compressibility is right."""

    seed: int = Field(default=0, ge=0, lt=2**32)
    """Of velocities and noise."""

    skin: float = Field(default=0.5, ge=0)
    """Å beyond the cutoff in the neighbour list, which then lasts several steps; changes the speed alone."""

    max_edges: int | None = Field(default=None, ge=1)
    """Systems go through the network in groups of at most so many edges, or alone; unless given, as many as suit a
    processor's caches (20,000), or a GPU (1,000,000). Memory and speed depend on it."""

    largest_temperature_K: float = Field(default=20_000.0, gt=0)
    """A system that becomes hotter counts as exploded."""

    trajectory: Literal["extxyz", "traj", "hdf5"] | None = "extxyz"
    """Format of the frames: extxyz, ASE's own (traj), HDF5 (needs h5py), or none."""

    frame_every: int = Field(default=100, ge=1)
    """Steps between frames."""

    observables: Literal["csv", "jsonl"] = "csv"
    """Format of energies, temperatures, pressures and volumes."""

    observe_every: int = Field(default=100, ge=1)
    """Steps between observations. Failures are looked for at every step, and told at these."""

    save_seconds: float = Field(default=20.0, ge=0)
    """How often the state is saved; a killed simulation loses at most this much time and nothing else."""

    @property
    def steps(self) -> int:
        return round(1000 * self.duration_ps / self.time_step_fs)

    @model_validator(mode="after")
    def _complete(self) -> SimulationSettings:
        if self.ensemble != "nve" and not self.temperature_K:
            raise ValueError(f"the ensemble {self.ensemble} needs a temperature above zero: temperature_K=300")
        if self.steps < 1:
            raise ValueError(f"duration_ps={self.duration_ps} is shorter than one step of {self.time_step_fs} fs")
        return self
