"""Distribution of interatomic distances: does the student visit the structures the teacher visits?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list

from training.errors import InputError

RADIUS_PERIODIC_A = 6.0
"""How far the distances of a periodic structure are counted."""


@dataclass(frozen=True)
class DistanceComparison:
    """Distributions of a student's and a teacher's dynamics, and how far apart they are.

    The difference of two distributions is ``∫ |h_a − h_b| dr``, between 0 (equal) and 2 (nothing in common); for
    periodic structures ``h`` counts the distances up to a radius, and the curves are shown as ``g(r)``.

    Attributes:
        radius_A: (n_bins,) Å, centres of the bins.
        student, teacher: (n_bins,) h(r) in 1/Å with unit area, or the dimensionless radial distribution g(r).
        periodic: whether these are g(r).
        difference: student against teacher.
        noise: what two samples of the teacher itself differ by: its first half against its second, scaled to the sizes
            of the two samples. Below or near it nothing can be told apart.
        student_frames, teacher_frames: how many structures stand behind each.
    """

    radius_A: np.ndarray
    student: np.ndarray
    teacher: np.ndarray
    periodic: bool
    difference: float
    noise: float
    student_frames: int
    teacher_frames: int

    @property
    def difference_over_noise(self) -> float | None:
        """The difference in units of the sampling noise; None where the teacher shows no noise at all."""
        return self.difference / self.noise if self.noise > 0 else None

    def to_dict(self) -> dict[str, Any]:
        """The figures without the curves."""
        figures = asdict(self)
        for curve in ("radius_A", "student", "teacher"):
            del figures[curve]
        return {**figures, "difference_over_noise": self.difference_over_noise}


def compare_distances(
    student: Sequence[Atoms], teacher: Sequence[Atoms], bin_width: float = 0.05
) -> DistanceComparison:
    """Compare two sets of frames of the same system.

    The two dynamics should be at the same temperature; a student at constant energy and a thermostatted teacher agree
    in their distances up to 1/n_atoms.

    Args:
        student: frames of the student's dynamics.
        teacher: frames of the teacher's, in their order in time, at least four.
        bin_width: Å.

    Raises:
        InputError: if there are too few frames or the systems differ.
    """
    if not student or len(teacher) < 4:
        raise InputError(
            f"Comparing distances needs frames of the student and at least four of the teacher; got {len(student)} and "
            f"{len(teacher)}."
        )
    formulas = {atoms.get_chemical_formula() for atoms in (*student, *teacher)}
    if len(formulas) > 1:
        raise InputError(f"Distances of different systems cannot be compared: {', '.join(sorted(formulas))}.")
    if len(teacher[0]) < 2:
        raise InputError("A single atom has no distances to compare.")
    periodic = bool(teacher[0].pbc.any())
    student_distances = [_distances(atoms) for atoms in student]
    teacher_distances = [_distances(atoms) for atoms in teacher]
    reach = (
        RADIUS_PERIODIC_A if periodic else max(d.max() for d in (*student_distances, *teacher_distances)) + bin_width
    )
    edges = np.arange(0.0, reach + bin_width, bin_width)
    half = len(teacher) // 2
    whole_student, whole_teacher = _density(student_distances, edges), _density(teacher_distances, edges)
    first, second = _density(teacher_distances[:half], edges), _density(teacher_distances[half:], edges)
    sizes = (1 / len(student) + 1 / len(teacher)) / (1 / half + 1 / (len(teacher) - half))
    radius = 0.5 * (edges[1:] + edges[:-1])
    return DistanceComparison(
        radius_A=radius,
        student=_radial(whole_student, student, student_distances, radius) if periodic else whole_student,
        teacher=_radial(whole_teacher, teacher, teacher_distances, radius) if periodic else whole_teacher,
        periodic=periodic,
        difference=_difference(whole_student, whole_teacher, bin_width),
        noise=_difference(first, second, bin_width) * float(np.sqrt(sizes)),
        student_frames=len(student),
        teacher_frames=len(teacher),
    )


def _distances(atoms: Atoms) -> np.ndarray:
    """Distances in Å: of every pair of a molecule; else of every ordered pair, images included, up to the radius."""
    if atoms.pbc.any():
        return neighbor_list("d", atoms, RADIUS_PERIODIC_A)
    first, second = np.triu_indices(len(atoms), k=1)
    return np.linalg.norm(atoms.positions[second] - atoms.positions[first], axis=1)


def _density(distances: Sequence[np.ndarray], edges: np.ndarray) -> np.ndarray:
    counts, _ = np.histogram(np.concatenate(distances), bins=edges)
    return counts / (max(counts.sum(), 1) * np.diff(edges))


def _radial(
    density: np.ndarray, frames: Sequence[Atoms], distances: Sequence[np.ndarray], radius: np.ndarray
) -> np.ndarray:
    """g(r): pairs per shell over those of an ideal gas of the same density in the cell's volume."""
    pairs_per_atom = np.mean([len(d) / len(atoms) for d, atoms in zip(distances, frames, strict=True)])
    number_density = np.mean([len(atoms) / atoms.get_volume() for atoms in frames])
    return density * pairs_per_atom / (4 * np.pi * radius**2 * number_density)


def _difference(first: np.ndarray, second: np.ndarray, bin_width: float) -> float:
    return float(np.abs(first - second).sum() * bin_width)
