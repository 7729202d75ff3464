"""Sampling: from seeds to the structures to be labelled. Teacher MD, rattled copies, and a held-out trajectory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from mlff.data.records import Record
from mlff.structures.gates import StructureGates
from mlff.structures.molecular_dynamics import (
    SegmentReport,
    SegmentTask,
    Trajectory,
    next_segment,
    read_records,
    run_segment,
)
from mlff.structures.rattle import rattle
from mlff.structures.relaxation import RelaxationTask, read_relaxed, relaxation_identity, run_relaxation
from mlff.structures.settings import StructureSettings
from mlff.teachers.labelling import Reporter, listed
from mlff.teachers.teacher import Capabilities, Teacher
from training.engines import Engine
from training.errors import InputError

HELD_OUT = "held-out"
"""Names of held-out trajectories begin with this."""

TRAINING_STREAM, HELD_OUT_STREAM, RATTLE_STREAM = 0, 1, 2
"""First number after the seed of a random stream: what it is for."""

FEWEST_HELD_OUT = 10
"""Frames without which a held-out trajectory measures nothing."""


@dataclass(frozen=True)
class PlannedTrajectory:
    """A trajectory and how its frames are called in reports."""

    trajectory: Trajectory
    source: str


def is_held_out(trajectory: str) -> bool:
    """Whether a trajectory of this name is kept from generator and trainer."""
    return trajectory.startswith(HELD_OUT)


def sample(
    seeds: Sequence[Atoms],
    teacher: Teacher,
    settings: StructureSettings,
    engine: Engine,
    folder: Path,
    progress: Reporter,
    seed: int = 0,
    capabilities: Capabilities | None = None,
) -> list[Record]:
    """Structures to be labelled: frames of teacher MD, rattled copies of them, and the held-out trajectories.

    The number of teacher calls and the expected time are said first. Everything is a function of the arguments; killed
    at any moment, the same call continues.

    Args:
        seeds: as `load_seeds` or `as_seed` give them.
        teacher: drives relaxation and MD.
        settings: how many of what.
        engine: does relaxations and segments.
        folder: keeps relaxed seeds and segments.
        progress: where the user sees it.
        seed: start of all random streams.
        capabilities: of the teacher for the first seed; found by one probe if not given.

    Returns:
        Training frames, rattled frames, held-out frames (trajectory names that `is_held_out` knows); structures that
        a gate refused are among them with their reason.

    Raises:
        InputError: if the teacher does not know of a seed's charge, or trajectories break off too early.
    """
    if not seeds:
        raise InputError("There is no seed structure.")
    _require_same_charge(seeds, teacher)
    engine = teacher.engine(engine, progress)
    required = {"energy", "forces", *(["stress"] if settings.relaxation.cell else [])}
    capabilities = capabilities or teacher.check(seeds[0], required)
    starts = _relax(seeds, teacher, settings, engine, Path(folder), progress)
    _require_sound(starts, settings)
    training, held_out = _plan(starts, settings, Path(folder), seed)
    _run([plan.trajectory for plan in training + held_out], teacher, engine, progress, capabilities)
    frames = _collect(training, teacher, progress)
    judging = _collect(held_out, teacher, progress)
    _require_frames(training, frames, held_out, judging)
    sound = [record for record in frames if not record.rejected]
    random = np.random.default_rng(np.random.SeedSequence([seed, RATTLE_STREAM]))
    rattled = rattle(sound, settings.rattle, random)
    records = frames + rattled + judging
    progress.say(_summary(sound, rattled, judging, records))
    return records


def _require_same_charge(seeds: Sequence[Atoms], teacher: Teacher) -> None:
    for number, atoms in enumerate(seeds):
        for key, default in (("charge", 0), ("multiplicity", 1)):
            implied = atoms.info.get(key, default)
            told = teacher.settings.arguments.get(key)
            if implied != default and told is None:
                raise InputError(
                    f"Seed {number} ({atoms.get_chemical_formula()}) has {key} {implied}, and teacher {teacher.name} "
                    f"does not know: add teacher.arguments.{key}={implied} (or what this calculator calls it)."
                )


def _require_sound(starts: Sequence[Atoms], settings: StructureSettings) -> None:
    for number, atoms in enumerate(starts):
        reason = StructureGates(atoms, settings.gates).refusal(atoms)
        if reason:
            raise InputError(
                f"Seed {number} ({atoms.get_chemical_formula()}) is not sound: {reason}. Give a better geometry, or "
                "widen structures.gates."
            )


def _relax(
    seeds: Sequence[Atoms],
    teacher: Teacher,
    settings: StructureSettings,
    engine: Engine,
    folder: Path,
    progress: Reporter,
) -> list[Atoms]:
    if settings.relaxation.steps == 0:
        return list(seeds)
    identities = [relaxation_identity(atoms, teacher, settings.relaxation) for atoms in seeds]
    paths = [folder / f"relaxed-{number:04d}-{identity[:12]}.safetensors" for number, identity in enumerate(identities)]
    tasks = [
        RelaxationTask(atoms, teacher, settings.relaxation, path)
        for atoms, path in zip(seeds, paths, strict=True)
        if not path.exists()
    ]
    if tasks:
        done = len(paths) - len(tasks)
        with progress.phase("Relaxation", total=len(paths), unit="seeds", done=done) as phase:
            engine.run(run_relaxation, tasks, lambda position, words: phase.advance(1, note=words))
    return [read_relaxed(path, atoms) for path, atoms in zip(paths, seeds, strict=True)]


def _plan(
    starts: Sequence[Atoms], settings: StructureSettings, folder: Path, seed: int
) -> tuple[list[PlannedTrajectory], list[PlannedTrajectory]]:
    training: list[PlannedTrajectory] = []
    held_out: list[PlannedTrajectory] = []
    for number, start in enumerate(starts):
        of_seed = f", seed {number}" if len(starts) > 1 else ""
        for level, temperature in enumerate(settings.temperatures):
            for copy in range(settings.trajectories):
                name = f"{temperature:g} K, trajectory {copy}{of_seed}"
                stream = (seed, TRAINING_STREAM, number, level, copy)
                training.append(_planned(name, start, temperature, settings.steps, stream, settings, folder))
        temperature, steps = settings.held_out.temperature, settings.held_out.steps
        name = f"{HELD_OUT} {temperature:g} K{of_seed}"
        held_out.append(_planned(name, start, temperature, steps, (seed, HELD_OUT_STREAM, number), settings, folder))
    return training, held_out


def _planned(
    name: str,
    start: Atoms,
    temperature: float,
    steps: int,
    stream: tuple[int, ...],
    settings: StructureSettings,
    folder: Path,
) -> PlannedTrajectory:
    relaxed = settings.relaxation.steps > 0
    trajectory = Trajectory(
        name=name,
        start=start,
        temperature=temperature,
        start_temperature=2 * temperature if relaxed else temperature,
        steps=steps,
        stride=settings.stride,
        timestep=settings.timestep,
        friction=settings.friction,
        thermalisation=settings.thermalisation,
        segment=settings.segment,
        seed=stream,
        gates=settings.gates,
        folder=folder / name.replace(", ", "-").replace(" ", "-"),
    )
    return PlannedTrajectory(trajectory, f"molecular dynamics at {temperature:g} K")


def _run(
    trajectories: Sequence[Trajectory],
    teacher: Teacher,
    engine: Engine,
    progress: Reporter,
    capabilities: Capabilities,
) -> None:
    """Continue every trajectory to its end, segment by segment."""
    states = [next_segment(trajectory, teacher) for trajectory in trajectories]
    # longest first, so that no long trajectory is left to one worker at the end
    todo = sorted(
        (trajectory for trajectory, (_, _, ended) in zip(trajectories, states, strict=True) if not ended),
        key=lambda trajectory: -trajectory.total_steps,
    )
    if not todo:
        return
    steps = {t.name: taken for t, (_, taken, _) in zip(trajectories, states, strict=True)}
    first = {t.name: number for t, (number, _, _) in zip(trajectories, states, strict=True)}
    total, before = sum(t.total_steps for t in trajectories), sum(steps.values())
    cost = capabilities.cost(total - before, min(engine.workers, len(todo)))
    progress.say(f"Teacher MD: {len(trajectories)} trajectories, {cost}")
    with progress.phase("Teacher MD", total=total, unit="steps", done=before) as phase:

        def follow(position: int, report: SegmentReport) -> SegmentTask | None:
            trajectory = todo[position]
            phase.advance(report.steps - steps[trajectory.name], note=report.stopped or trajectory.name)
            steps[trajectory.name] = report.steps
            if report.stopped or report.number + 1 == trajectory.n_segments:
                return None
            return SegmentTask(trajectory, teacher, report.number + 1)

        engine.run(run_segment, [SegmentTask(t, teacher, first[t.name]) for t in todo], follow)


def _collect(plans: Sequence[PlannedTrajectory], teacher: Teacher, progress: Reporter) -> list[Record]:
    collected = []
    for plan in plans:
        records, temperatures = read_records(plan.trajectory, teacher, plan.source)
        collected += records
        measured = temperatures[np.isfinite(temperatures)]
        if len(measured) and len(plans) <= 12:
            progress.say(f"  {plan.trajectory.name}: {len(records)} frames, mean temperature {measured.mean():.0f} K")
    return collected


def _require_frames(
    training: Sequence[PlannedTrajectory],
    frames: Sequence[Record],
    held_out: Sequence[PlannedTrajectory],
    judging: Sequence[Record],
) -> None:
    """Refuse to go on with next to nothing; a short held-out trajectory is enough only if it was asked for."""
    wanted = sum(plan.trajectory.steps // plan.trajectory.stride for plan in held_out)
    for what, records, needed in (("training", frames, 1), (HELD_OUT, judging, min(FEWEST_HELD_OUT, wanted))):
        usable = sum(not record.rejected for record in records)
        if usable < needed:
            reasons = Counter(record.rejected for record in records if record.rejected)
            raise InputError(
                f"Teacher MD gave {usable} usable {what} frames, because trajectories stopped early: {listed(reasons)}"
                ". Lower the temperatures or structures.timestep, check teacher and source, and start afresh "
                "(run.resume=false)."
            )


def _summary(
    sound: Sequence[Record], rattled: Sequence[Record], judging: Sequence[Record], records: Sequence[Record]
) -> str:
    reasons = Counter(record.rejected for record in records if record.rejected)
    refused = f"; {reasons.total():,} rejected: {listed(reasons)}" if reasons else "; none rejected"
    held = sum(not record.rejected for record in judging)
    return f"Structures: {len(sound):,} MD frames, {len(rattled):,} rattled, {held:,} held out{refused}."
