"""Frames and observations on their way to the disk: a thread of its own, a bounded queue, files that survive a kill.

A simulation says after every saved state how much of each file belongs to it; when it goes on, the rest is cut off, so
a file holds every frame once, however often the simulation was killed.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import chemical_symbols
from ase.io.trajectory import Trajectory
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from training.errors import InputError
from training.files import write_atomically

WAITING = 16
"""Frames that may wait for the disk; the simulation then waits too, instead of filling the memory."""

STRETCH = 2**26
"""Bytes of frames in one HDF5 file."""


@dataclass(frozen=True, slots=True)
class Frame:
    """All systems at one moment, on the host.

    Attributes:
        step: steps done.
        time_ps: ps.
        positions, velocities, forces: (n_atoms, 3) Å, ASE's unit, eV/Å.
        cell: (n_systems, 3, 3) Å.
        energy: (n_systems,) eV.
        alive: (n_systems,) only these are written.
    """

    step: int
    time_ps: float
    positions: Float[ndarray, "atoms 3"]
    velocities: Float[ndarray, "atoms 3"]
    forces: Float[ndarray, "atoms 3"]
    cell: Float[ndarray, "systems 3 3"]
    energy: Float[ndarray, "systems"]
    alive: Bool[ndarray, "systems"]


@dataclass(frozen=True)
class Cast:
    """What of the systems never changes.

    Attributes:
        names: of the systems, and so of the files.
        first: (n_systems + 1,) where each system's atoms begin.
        numbers, masses: (n_atoms,) atomic numbers, amu.
        pbc: (n_systems, 3).
    """

    names: list[str]
    first: Int[ndarray, "systems_and_one"]
    numbers: Int[ndarray, "atoms"]
    masses: Float[ndarray, "atoms"]
    pbc: Bool[ndarray, "systems 3"]

    def atoms(self, system: int) -> slice:
        return slice(int(self.first[system]), int(self.first[system + 1]))


class FrameFiles(Protocol):
    """A format. All methods but the constructor are called from the writing thread."""

    def write(self, frames: list[Frame]) -> None:
        """Append frames to the files."""

    def written(self) -> dict[str, int]:
        """How much of each file there is, by its name; whatever number `cut` understands."""

    def cut(self, written: dict[str, int]) -> None:
        """Bring the files back to what `written` said, before anything is appended."""


class ExtxyzFiles:
    """One extended XYZ file per system: positions, momenta, forces; energy, time, cell. Every reader knows it."""

    def __init__(self, folder: Path, cast: Cast) -> None:
        self.folder, self.cast = folder, cast
        symbols = [chemical_symbols[z] for z in cast.numbers]
        row = "%-2s " + " ".join(["%16.10f"] * 9) + "\n"
        self._rows = [[row.replace("%-2s", s, 1) for s in symbols[cast.atoms(k)]] for k in range(len(cast.names))]
        self._pbc = [" ".join("T" if p else "F" for p in pbc) for pbc in cast.pbc]

    def write(self, frames: list[Frame]) -> None:
        """See `FrameFiles`."""
        for system, name in enumerate(self.cast.names):
            texts = [self._text(frame, system) for frame in frames if frame.alive[system]]
            if texts:
                with (self.folder / f"{name}.extxyz").open("a") as file:
                    file.write("".join(texts))

    def _text(self, frame: Frame, system: int) -> str:
        part = self.cast.atoms(system)
        momenta = frame.velocities[part] * self.cast.masses[part, None]
        columns = np.concatenate([frame.positions[part], momenta, frame.forces[part]], axis=1)
        lattice = ""
        if self.cast.pbc[system].any():
            lattice = 'Lattice="' + " ".join(f"{x:.10f}" for x in frame.cell[system].ravel()) + '" '
        head = (
            f"{lattice}Properties=species:S:1:pos:R:3:momenta:R:3:forces:R:3 energy={frame.energy[system]:.10f} "
            f'step={frame.step} time_ps={frame.time_ps:.6f} pbc="{self._pbc[system]}"'
        )
        rows = self._rows[system]
        return f"{len(rows)}\n{head}\n" + "".join(rows) % tuple(columns.ravel().tolist())

    def written(self) -> dict[str, int]:
        """Bytes."""
        return {file.name: file.stat().st_size for file in self.folder.glob("*.extxyz")}

    def cut(self, written: dict[str, int]) -> None:
        """See `FrameFiles`."""
        for file in self.folder.glob("*.extxyz"):
            cut_file(file, written.get(file.name, 0))


class TrajFiles:
    """One file in ASE's own format per system, for ``ase gui`` and ``ase.io.read``."""

    def __init__(self, folder: Path, cast: Cast) -> None:
        self.folder, self.cast = folder, cast

    def write(self, frames: list[Frame]) -> None:
        """See `FrameFiles`."""
        for system, name in enumerate(self.cast.names):
            living = [frame for frame in frames if frame.alive[system]]
            if living:
                with Trajectory(self.folder / f"{name}.traj", "a") as file:
                    for frame in living:
                        file.write(self._atoms(frame, system))

    def _atoms(self, frame: Frame, system: int) -> Atoms:
        part = self.cast.atoms(system)
        atoms = Atoms(
            self.cast.numbers[part],
            frame.positions[part],
            cell=frame.cell[system],
            pbc=self.cast.pbc[system],
            momenta=frame.velocities[part] * self.cast.masses[part, None],
            info={"step": frame.step, "time_ps": frame.time_ps},
        )
        atoms.calc = SinglePointCalculator(atoms, energy=float(frame.energy[system]), forces=frame.forces[part])
        return atoms

    def written(self) -> dict[str, int]:
        """Frames."""
        counts = {}
        for file in self.folder.glob("*.traj"):
            with Trajectory(file) as frames:
                counts[file.name] = len(frames)
        return counts

    def cut(self, written: dict[str, int]) -> None:
        """See `FrameFiles`."""
        for file in self.folder.glob("*.traj"):
            keep = written.get(file.name, 0)
            if keep == 0:
                file.unlink()
                continue
            with Trajectory(file) as frames:
                if len(frames) > keep:
                    kept = [frames[n] for n in range(keep)]
                    write_atomically(file, partial(_write_trajectory, frames=kept))


def _write_trajectory(path: Path, frames: list[Atoms]) -> None:
    with Trajectory(path, "w") as file:
        for atoms in frames:
            file.write(atoms)


class Hdf5Files:
    """All systems in HDF5, one file per stretch between two saved states, or less: a killed process damages none.

    Groups are named like the systems; ``positions``, ``momenta``, ``forces`` (n_frames, n_atoms, 3) in Å, ASE's unit
    and eV/Å, ``cell`` (n_frames, 3, 3) Å, ``energy`` (n_frames,) eV, ``step``, ``time_ps``, ``numbers``.
    """

    def __init__(self, folder: Path, cast: Cast) -> None:
        self.folder, self.cast = folder, cast
        self._h5py = _h5py()
        self._waiting: list[Frame] = []

    def write(self, frames: list[Frame]) -> None:
        """See `FrameFiles`; they reach the disk when there are enough of them, or `written` asks."""
        self._waiting += frames
        if len(self._waiting) * 3 * self._waiting[0].positions.nbytes > STRETCH:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            path = self.folder / f"frames_{self._waiting[0].step:012d}.h5"
            write_atomically(path, partial(self._fill, frames=self._waiting))
            self._waiting = []

    def _fill(self, path: Path, frames: list[Frame]) -> None:
        with self._h5py.File(path, "w") as file:
            file.attrs["units"] = "Å, eV, eV/Å, ps; momenta in ASE's unit √(amu eV)"
            for system, name in enumerate(self.cast.names):
                living = [frame for frame in frames if frame.alive[system]]
                if not living:
                    continue
                part, group = self.cast.atoms(system), file.create_group(name)
                masses = self.cast.masses[part, None]
                group["numbers"], group["pbc"] = self.cast.numbers[part], self.cast.pbc[system]
                group["step"] = np.array([f.step for f in living])
                group["time_ps"] = np.array([f.time_ps for f in living])
                group["energy"] = np.array([f.energy[system] for f in living])
                group["cell"] = np.stack([f.cell[system] for f in living])
                group["positions"] = np.stack([f.positions[part] for f in living])
                group["momenta"] = np.stack([f.velocities[part] * masses for f in living])
                group["forces"] = np.stack([f.forces[part] for f in living])

    def written(self) -> dict[str, int]:
        """One for every file."""
        self._flush()
        return {file.name: 1 for file in self.folder.glob("*.h5")}

    def cut(self, written: dict[str, int]) -> None:
        """See `FrameFiles`."""
        for file in self.folder.glob("*.h5"):
            if file.name not in written:
                file.unlink()


FORMATS: dict[str, Callable[[Path, Cast], FrameFiles]] = {
    "extxyz": ExtxyzFiles,
    "traj": TrajFiles,
    "hdf5": Hdf5Files,
}


def require_format(name: str | None) -> None:
    """Refuse a format whose package is missing, before anything is computed.

    Raises:
        InputError: naming the package.
    """
    if name == "hdf5":
        _h5py()


def _h5py() -> Any:
    try:
        import h5py  # an optional package
    except ImportError as error:
        raise InputError(
            "trajectory='hdf5' needs the package h5py: pip install 'limbeck[hdf5]', or choose extxyz or traj."
        ) from error
    return h5py


def cut_file(file: Path, size: int) -> None:
    """Cut a text file back to a size in bytes; a file that is shorter has lost something and is refused.

    Raises:
        InputError: if it is shorter.
    """
    there = file.stat().st_size
    if there < size:
        raise InputError(
            f"{file} is shorter ({there} bytes) than the saved state says ({size}): it was changed or damaged. Restore "
            "it, or start afresh in another folder."
        )
    if size == 0:
        file.unlink()
    elif there > size:
        with file.open("r+b") as opened:
            opened.truncate(size)


class Writer:
    """Runs jobs of writing one after another in a thread of its own; use it as a context manager.

    An error of the thread is raised at the next call of `put` or `wait`.
    """

    def __init__(self) -> None:
        self._jobs: queue.Queue[Callable[[], None] | None] = queue.Queue(WAITING)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._jobs.put(None)
        self._thread.join()
        if kind is None:
            self._raise()

    def put(self, job: Callable[[], None]) -> None:
        """Let the thread do this after what it has been given before; waits while too much is waiting already."""
        self._raise()
        self._jobs.put(job)

    def wait(self) -> None:
        """Until everything is written."""
        self._jobs.join()
        self._raise()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                if self._error is None:
                    job()
            except Exception as error:
                self._error = error
            finally:
                self._jobs.task_done()

    def _raise(self) -> None:
        if self._error is None:
            return
        if isinstance(self._error, OSError):
            raise InputError(
                f"Writing the trajectory failed: {self._error}. Free some space or choose another folder, then call "
                "again; everything up to the last saved state is kept."
            ) from self._error
        raise self._error
