"""The examination of an exported student: accuracy, dynamics at constant energy, speed, and a figure of each."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator

from mlff.data.material import Material
from mlff.data.records import Record
from mlff.deploy.calculator import StudentCalculator
from mlff.validate import figures
from mlff.validate.accuracy import Accuracy, measure_accuracy
from mlff.validate.distances import DistanceComparison, compare_distances
from mlff.validate.figures.accuracy import energy_parity, error_per_element, force_parity
from mlff.validate.figures.data import element_histogram, force_magnitudes, rejections
from mlff.validate.figures.dynamics import distances, energy_conservation, force_error_along, temperature
from mlff.validate.nve import run_nve
from mlff.validate.prediction import Comparison, compare, label_frames
from mlff.validate.settings import MolecularDynamicsSettings, ValidationSettings
from mlff.validate.stability import Stability, Trajectory
from mlff.validate.timing import Contender, Timing, time_side_by_side
from training.progress import Progress
from training.report.learning import Panel, learning_curves, stage_starts
from training.report.style import SavedFigure

__all__ = ["Dynamics", "examine_accuracy", "examine_dynamics", "examine_speed", "figures"]

PANELS = (
    Panel("Loss", "as weighted", training="train/loss"),
    Panel("Force MAE", "meV/Å", validation="validation/force_mae_meV_per_A"),
    Panel("Energy MAE", "meV/atom", validation="validation/energy_mae_meV_per_atom"),
)


@dataclass(frozen=True)
class Dynamics:
    """What the student's own dynamics showed; None where there was no teacher or reference to compare with."""

    stability: Stability
    along_trajectory: Accuracy | None
    distances: DistanceComparison | None


def examine_accuracy(
    calculator: BaseCalculator, material: Material, settings: ValidationSettings, progress: Progress, folder: Path
) -> tuple[Accuracy, list[SavedFigure]]:
    """The student's errors on the held-out structures.

    Args:
        calculator: the exported student.
        material: its held-out structures have labels.
        settings: size of batches.
        progress: where the user looks.
        folder: for figures.
    """
    comparison = compare(calculator, material.held_out, progress, settings.batch_size)
    accuracy = measure_accuracy(comparison)
    elements = accuracy.per_element
    return accuracy, [
        energy_parity(folder, comparison.energy, comparison.predicted_energy, comparison.n_atoms),
        force_parity(folder, comparison.forces, comparison.predicted_forces),
        error_per_element(
            folder,
            {symbol: errors.force_mae_meV_per_A for symbol, errors in elements.items()},
            {symbol: errors.force_mae_of_zero_meV_per_A for symbol, errors in elements.items()},
            {symbol: errors.atoms for symbol, errors in elements.items()},
        ),
    ]


def examine_dynamics(
    calculator: BaseCalculator,
    start: Atoms,
    held_out: Sequence[Record],
    teacher: BaseCalculator | None,
    settings: MolecularDynamicsSettings,
    progress: Progress,
    folder: Path,
    state: Path,
    seed: int,
    student: str,
    held_out_mae: float,
    check: Callable[[], None],
) -> tuple[Dynamics, list[SavedFigure]]:
    """Dynamics at constant energy through the ASE calculator, and the teacher's opinion of them.

    Args:
        calculator: the exported student.
        start: near a minimum.
        held_out: frames of the teacher's own dynamics.
        teacher: None where there is none to ask.
        settings: length and temperature.
        progress: where the user looks.
        folder: for figures.
        state: file the dynamics continue from.
        seed: of the velocities.
        student: fingerprint of the student.
        held_out_mae: meV/Å, for comparison in the figure.
        check: called where the dynamics may stop without a loss.
    """
    frames = [r.atoms for r in held_out if r.atoms.get_chemical_formula() == start.get_chemical_formula()]
    stability, trajectory = run_nve(start, calculator, settings, state, progress, seed, student, frames, check)
    saved = [
        energy_conservation(
            folder,
            trajectory.time_ps,
            trajectory.total_meV_per_atom,
            stability.drift_meV_per_atom_per_ps,
            stability.drift_standard_error_meV_per_atom_per_ps,
        ),
        temperature(folder, trajectory.time_ps, trajectory.temperature_K, settings.temperature_K),
    ]
    along, figure = _ask_teacher(calculator, teacher, trajectory, settings, progress, folder, held_out_mae)
    apart, other = _compare_distances(trajectory, frames, folder)
    return Dynamics(stability, along, apart), saved + figure + other


def _ask_teacher(
    calculator: BaseCalculator,
    teacher: BaseCalculator | None,
    trajectory: Trajectory,
    settings: MolecularDynamicsSettings,
    progress: Progress,
    folder: Path,
    held_out_mae: float,
) -> tuple[Accuracy | None, list[SavedFigure]]:
    if teacher is None or settings.teacher_frames == 0 or not trajectory.frames:
        return None, []
    chosen = np.unique(np.linspace(0, len(trajectory.frames) - 1, settings.teacher_frames).round().astype(int))
    frames = [trajectory.frames[i] for i in chosen]
    records = label_frames(teacher, frames, progress, "student", "the student's dynamics")
    comparison: Comparison = compare(calculator, records, progress)
    time = trajectory.frame_time_ps[chosen]
    errors = 1000 * comparison.force_mae_per_structure()
    return measure_accuracy(comparison), [force_error_along(folder, time, errors, held_out_mae)]


def _compare_distances(
    trajectory: Trajectory, frames: Sequence[Atoms], folder: Path
) -> tuple[DistanceComparison | None, list[SavedFigure]]:
    if len(frames) < 4 or not trajectory.frames:
        return None, []
    found = compare_distances(trajectory.frames, frames)
    curves = found.radius_A, found.student, found.teacher
    return found, [distances(folder, *curves, found.periodic, found.difference, found.noise)]


def examine_speed(
    student: StudentCalculator,
    teacher: BaseCalculator,
    teacher_name: str,
    structures: Sequence[Atoms],
    settings: ValidationSettings,
    progress: Progress,
) -> Timing:
    """Student and teacher side by side, each with the threads it would have in this process.

    Args:
        student, teacher: calculators.
        teacher_name: for the table.
        structures: held-out ones.
        settings: number of calls.
        progress: where the user looks.
    """
    assert settings.timing is not None
    student.get_potential_energy(structures[0])
    # what the numerical libraries of a teacher take unless told otherwise
    teacher_threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    contenders = [
        Contender("student", student, student.threads_used),
        Contender(teacher_name, teacher, teacher_threads),
    ]
    return time_side_by_side(contenders, structures, settings.timing, progress, settings.seed)


def draw_data(material: Material, rejected: Counter[str], folder: Path) -> list[SavedFigure]:
    """Elements by source, sizes of forces by role, and what was turned away."""
    magnitudes = {
        role: np.concatenate([np.linalg.norm(r.labels.forces, axis=1) for r in records if r.labels is not None])
        for role, records in (("training", material.train), ("held out", material.held_out))
    }
    accepted = len(material.train) + len(material.validation) + len(material.held_out)
    turned_away = rejections(folder, rejected, accepted) if rejected else None
    drawn = [element_histogram(folder, material.elements.counts), force_magnitudes(folder, magnitudes)]
    return [*drawn, turned_away] if turned_away is not None else drawn


def draw_learning(rows: Sequence[Mapping[str, Any]], stages: Sequence[str], folder: Path) -> list[SavedFigure]:
    """Learning curves over all stages.

    Args:
        rows: logged values; ``stage`` is the index of the stage.
        stages: their names in order.
        folder: for the figure.
    """
    drawn = learning_curves(folder, rows, stage_starts(rows, stages), PANELS)
    return [] if drawn is None else [drawn]
