"""Molecular dynamics with a teacher, in segments: each begins with a saved state and ends with one.

A segment starts from a fresh calculator and from the random stream's saved state, so a trajectory that was killed and
continued is the uninterrupted one to the last bit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mlff.data.records import Record
from mlff.structures.gates import StructureGates
from mlff.structures.settings import GateSettings
from mlff.structures.thermostat import Langevin, thermal_momenta
from mlff.teachers.gates import FAILED
from mlff.teachers.teacher import Teacher
from training.errors import InputError
from training.files import write_atomically


@dataclass(frozen=True)
class Trajectory:
    """A Langevin trajectory to be made: everything it depends on but the teacher.

    Attributes:
        name: unique in a run; a split keeps its frames together.
        start: first geometry, without velocities.
        temperature: K, of the thermostat.
        start_temperature: K, of the first velocities; from a minimum, half of it flows into the potential.
        steps: after thermalisation.
        stride: steps from one frame to the next.
        timestep: fs.
        friction: 1/ps.
        thermalisation: steps without frames at the beginning.
        segment: steps between two saved states.
        seed: entropy of its own random stream.
        gates: what ends it early.
        folder: where its segments are kept.
    """

    name: str
    start: Atoms
    temperature: float
    start_temperature: float
    steps: int
    stride: int
    timestep: float
    friction: float
    thermalisation: int
    segment: int
    seed: tuple[int, ...]
    gates: GateSettings
    folder: Path

    @property
    def total_steps(self) -> int:
        return self.thermalisation + self.steps

    @property
    def n_segments(self) -> int:
        return -(-self.total_steps // self.segment)

    def path(self, number: int) -> Path:
        """The file of a segment."""
        return self.folder / f"segment-{number:05d}.npz"

    @cached_property
    def identity(self) -> str:
        """SHA-256 of what the frames depend on, besides the teacher."""
        values = {k: v for k, v in vars(self).items() if k not in ("start", "folder", "gates", "name", "identity")}
        values["gates"] = self.gates.model_dump()
        digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
        for array in (self.start.numbers, self.start.positions, self.start.cell.array, self.start.pbc):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Segment:
    """A piece of a trajectory as it lies on the disk.

    Attributes:
        frames: (n_frames, n_atoms, 3) Å.
        temperatures: (n_frames,) K, momentary.
        positions: (n_atoms, 3) Å, at its end.
        momenta: (n_atoms, 3) in ASE's units, at its end.
        random_state: of the random stream, at its end.
        steps: taken so far, since the start of the trajectory.
        stopped: empty, or why the trajectory ends here; its last frame then is the one refused.
    """

    frames: np.ndarray
    temperatures: np.ndarray
    positions: np.ndarray
    momenta: np.ndarray
    random_state: Mapping[str, Any]
    steps: int
    stopped: str


@dataclass(frozen=True)
class SegmentTask:
    """The next segment of a trajectory."""

    trajectory: Trajectory
    teacher: Teacher
    number: int


@dataclass(frozen=True)
class SegmentReport:
    """How far a trajectory has come."""

    number: int
    steps: int
    stopped: str


def run_segment(task: SegmentTask) -> SegmentReport:
    """Continue a trajectory by one segment and save it; what a worker does."""
    trajectory = task.trajectory
    fingerprint = task.teacher.fingerprint()
    atoms, random, done = _resume(task, fingerprint)
    atoms.calc = task.teacher.calculator()
    gates = StructureGates(trajectory.start, trajectory.gates)
    dynamics = Langevin(atoms, trajectory.timestep, trajectory.temperature, trajectory.friction, random)
    frames, temperatures, stopped = [], [], ""
    last = min(done + trajectory.segment, trajectory.total_steps)
    forces, failure = _attempt(atoms.get_forces)
    while done < last and not failure:
        forces, failure = _attempt(dynamics.step, forces)
        done += 1
        used = done - trajectory.thermalisation
        if failure or used <= 0 or used % trajectory.stride:
            continue
        frames.append(atoms.get_positions())
        temperatures.append(atoms.get_temperature())
        stopped = gates.refusal(atoms) or gates.explosion(temperatures[-1], trajectory.temperature)
        if stopped:
            break
    if failure:
        frames.append(atoms.get_positions())
        temperatures.append(np.nan)
    shape = (-1, len(atoms), 3)
    segment = Segment(
        frames=np.array(frames).reshape(shape),
        temperatures=np.array(temperatures, dtype=np.float64),
        positions=atoms.get_positions(),
        momenta=atoms.get_momenta(),
        random_state=random.bit_generator.state,
        steps=done,
        stopped=failure or stopped,
    )
    _write(trajectory.path(task.number), segment, trajectory.identity, fingerprint)
    return SegmentReport(task.number, done, segment.stopped)


def next_segment(trajectory: Trajectory, teacher: Teacher) -> tuple[int, int, bool]:
    """Where a trajectory stands: number of the next segment, steps taken, and whether it has ended.

    Raises:
        InputError: if a segment is damaged or belongs to another trajectory or teacher.
    """
    number = 0
    while number < trajectory.n_segments and trajectory.path(number).exists():
        number += 1
    if number == 0:
        return 0, 0, False
    last = read_segment(trajectory, number - 1, teacher.fingerprint())
    return number, last.steps, bool(last.stopped) or number == trajectory.n_segments


def read_records(trajectory: Trajectory, teacher: Teacher, source: str) -> tuple[list[Record], np.ndarray]:
    """All frames of a finished trajectory, and their momentary temperatures in K.

    The frame at which a trajectory had to stop comes last, rejected with the reason.
    """
    records: list[Record] = []
    temperatures = []
    for number in range(trajectory.n_segments):
        if not trajectory.path(number).exists():
            break
        segment = read_segment(trajectory, number, teacher.fingerprint())
        for positions in segment.frames:
            atoms = trajectory.start.copy()
            atoms.positions = positions
            records.append(Record(atoms, trajectory.name, source))
        temperatures.append(segment.temperatures)
        if segment.stopped:
            records[-1] = Record(records[-1].atoms, trajectory.name, source, rejected=segment.stopped)
    return records, np.concatenate(temperatures)


def read_segment(trajectory: Trajectory, number: int, fingerprint: str) -> Segment:
    """A segment from its file.

    Raises:
        InputError: if the file is damaged or belongs to another trajectory or teacher; names it.
    """
    path = trajectory.path(number)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            content = {name: arrays[name] for name in arrays.files}
        described = json.loads(str(content.pop("described")))
        segment = Segment(**content, **described["state"])
    except Exception as error:
        raise InputError(f"{path} is damaged ({error}). Delete it and the same command continues before it.") from error
    if described["identity"] != trajectory.identity or described["teacher"] != fingerprint:
        raise InputError(
            f"{path} belongs to a trajectory of another teacher or with other settings. Start afresh "
            "(run.resume=false), or go back to the settings of that run."
        )
    return segment


def _write(path: Path, segment: Segment, identity: str, fingerprint: str) -> None:
    arrays: dict[str, Any] = {name: value for name, value in vars(segment).items() if isinstance(value, np.ndarray)}
    state = {name: value for name, value in vars(segment).items() if name not in arrays}
    described = json.dumps({"identity": identity, "teacher": fingerprint, "state": state})

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez(file, described=np.array(described), **arrays)

    write_atomically(path, write)


def _resume(task: SegmentTask, fingerprint: str) -> tuple[Atoms, np.random.Generator, int]:
    trajectory = task.trajectory
    random = np.random.Generator(np.random.PCG64(np.random.SeedSequence(trajectory.seed)))
    atoms = trajectory.start.copy()
    if task.number == 0:
        atoms.set_momenta(thermal_momenta(atoms, trajectory.start_temperature, random))
        return atoms, random, 0
    before = read_segment(trajectory, task.number - 1, fingerprint)
    atoms.positions = before.positions
    atoms.set_momenta(before.momenta)
    random.bit_generator.state = before.random_state
    return atoms, random, before.steps


def _attempt(function: Callable[..., np.ndarray], *arguments: np.ndarray) -> tuple[np.ndarray, str]:
    """The forces, or why the teacher has none: calculators are foreign code with errors of every kind."""
    try:
        forces = function(*arguments)
    except MemoryError:
        raise
    except Exception as error:
        return np.empty(0), f"{FAILED}: {type(error).__name__}: {error}"
    return forces, "" if np.isfinite(forces).all() else f"{FAILED}: forces not finite"
