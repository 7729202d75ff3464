"""The folder of a simulation: one process at a time, nothing of somebody else's, files that fit the saved state."""

from __future__ import annotations

import fcntl
import os
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from ase import units

from mlff.deploy.batched_md.groups import Forces
from mlff.deploy.batched_md.integrators import pressure, temperature
from mlff.deploy.batched_md.observables import FILES, Observation, write_observations
from mlff.deploy.batched_md.settings import SimulationSettings
from mlff.deploy.batched_md.systems import Systems
from mlff.deploy.batched_md.trajectory import FORMATS, Cast, Frame, Writer, cut_file
from training.errors import InputError

STATE, SUMMARY, TRAJECTORY, LOCK = "state.safetensors", "summary.json", "trajectory", ".lock"


class SimulationFolder:
    """A folder locked by this process; use it as a context manager.

    Args:
        path: made if it is not there.

    Raises:
        InputError: if it cannot be written, another process works in it, or it holds files but no simulation.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise InputError(f"The folder {self.path} cannot be written: {error.strerror}. Choose another.") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._require_own()
        except BlockingIOError as error:
            os.close(self._lock)
            raise InputError(f"Another process simulates in {self.path}. Wait for it, or choose another.") from error
        except InputError:
            os.close(self._lock)
            raise

    @property
    def state(self) -> Path:
        return self.path / STATE

    @property
    def summary(self) -> Path:
        return self.path / SUMMARY

    def _require_own(self) -> None:
        for file in self.path.glob(".*.partial"):
            file.unlink()
        if not self.state.exists() and any(file.name != LOCK for file in self.path.iterdir()):
            raise InputError(f"The folder {self.path} holds files but no simulation. Choose an empty or another one.")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)


class Output:
    """Frames and observations of a simulation, written by a thread; use it as a context manager.

    Args:
        folder: where.
        systems: whose.
        settings: formats and time step.
        written: how much of each file belongs to the saved state; the rest is cut off.
    """

    def __init__(
        self, folder: SimulationFolder, systems: Systems, settings: SimulationSettings, written: dict[str, int]
    ) -> None:
        self._time_step_ps = settings.time_step_fs / 1000
        self._observables = folder.path / FILES[settings.observables]
        self._writer = Writer()
        self._files = None
        if self._observables.exists():
            cut_file(self._observables, written.get(self._observables.name, 0))
        if settings.trajectory is not None:
            (folder.path / TRAJECTORY).mkdir(exist_ok=True)
            cast = Cast(
                names=systems.names,
                first=systems.first.cpu().numpy(),
                numbers=systems.numbers.cpu().numpy(),
                masses=systems.masses[:, 0].cpu().numpy(),
                pbc=systems.pbc.cpu().numpy(),
            )
            self._files = FORMATS[settings.trajectory](folder.path / TRAJECTORY, cast)
            self._files.cut(written)

    def __enter__(self) -> Self:
        self._writer.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.__exit__(kind, error, trace)

    def frame(self, step: int, systems: Systems, forces: Forces) -> None:
        """Keep the systems as they are; they reach the disk in the background."""
        if self._files is None:
            return
        frame = Frame(
            step=step,
            time_ps=step * self._time_step_ps,
            positions=systems.positions.cpu().numpy(),
            velocities=systems.velocities.cpu().numpy(),
            forces=forces.forces.cpu().numpy(),
            cell=systems.cell.cpu().numpy(),
            energy=forces.energy[:, 0].cpu().numpy(),
            alive=systems.alive[:, 0].cpu().numpy(),
        )
        self._writer.put(partial(self._files.write, [frame]))

    def observe(self, step: int, systems: Systems, forces: Forces) -> float:
        """Note energies, temperatures, pressures and volumes of the living; returns their mean temperature in K."""
        alive = systems.alive[:, 0].cpu().numpy()
        potential, kinetic = forces.energy[:, 0].cpu().numpy(), systems.kinetic_energy()[:, 0].cpu().numpy()
        kelvin = temperature(systems)[:, 0].cpu().numpy()
        volume = systems.volume()[:, 0].cpu().numpy()
        GPa = np.full(len(alive), np.nan)
        if forces.stress is not None:
            GPa = pressure(systems, forces)[:, 0].cpu().numpy() / units.GPa
        rows = [
            Observation(
                step=step,
                time_ps=round(step * self._time_step_ps, 9),
                system=int(n),
                potential_eV=float(potential[n]),
                kinetic_eV=float(kinetic[n]),
                total_eV=float(potential[n] + kinetic[n]),
                temperature_K=float(kelvin[n]),
                pressure_GPa=None if np.isnan(GPa[n]) else float(GPa[n]),
                volume_A3=None if np.isnan(GPa[n]) else float(volume[n]),
            )
            for n in np.flatnonzero(alive)
        ]
        self._writer.put(partial(write_observations, self._observables, rows))
        return float(kelvin[alive].mean()) if alive.any() else 0.0

    def written(self) -> dict[str, int]:
        """Wait for the disk; how much of each file there is."""
        self._writer.wait()
        counts = self._files.written() if self._files is not None else {}
        if self._observables.exists():
            counts[self._observables.name] = self._observables.stat().st_size
        return counts
