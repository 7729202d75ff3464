"""Predictions of a calculator, side by side with the labels of the same structures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.stress import voigt_6_to_full_3x3_stress

from mlff.data.records import Labels, Record
from training.errors import InputError
from training.progress import Progress


@dataclass(frozen=True)
class Comparison:
    """Labels and predictions of the same structures, flat.

    Attributes:
        numbers: (n_atoms,) nuclear charges of all structures, one after the other.
        structure_index: (n_atoms,) the structure of each atom, ascending.
        n_atoms: (n_structures,) atoms per structure.
        energy, predicted_energy: (n_structures,) eV.
        forces, predicted_forces: (n_atoms, 3) eV/Å.
        atom_energies, predicted_atom_energies: (n_atoms,) eV, or None unless every structure has them.
        stress, predicted_stress: (n_structures, 3, 3) eV/Å³, or None unless every structure has it.
    """

    numbers: np.ndarray
    structure_index: np.ndarray
    n_atoms: np.ndarray
    energy: np.ndarray
    predicted_energy: np.ndarray
    forces: np.ndarray
    predicted_forces: np.ndarray
    atom_energies: np.ndarray | None = None
    predicted_atom_energies: np.ndarray | None = None
    stress: np.ndarray | None = None
    predicted_stress: np.ndarray | None = None

    def compositions(self) -> np.ndarray:
        """Atoms of each element in each structure: (n_structures, n_elements), elements ascending."""
        elements, index = np.unique(self.numbers, return_inverse=True)
        counts = np.zeros((len(self.n_atoms), len(elements)))
        np.add.at(counts, (self.structure_index, index), 1)
        return counts

    def force_mae_per_structure(self) -> np.ndarray:
        """Mean absolute error of the force components of each structure: (n_structures,) eV/Å."""
        per_atom = np.abs(self.predicted_forces - self.forces).mean(axis=1)
        return np.bincount(self.structure_index, per_atom, minlength=len(self.n_atoms)) / self.n_atoms


def compare(
    calculator: BaseCalculator, records: Sequence[Record], progress: Progress, batch_size: int = 32
) -> Comparison:
    """Ask a calculator about labelled structures and lay its answers beside the labels.

    Raises:
        InputError: if there is no structure, or one of them has no label.
    """
    if not records:
        raise InputError("There is no labelled structure to compare with; hold some out of the training data.")
    bare = [index for index, record in enumerate(records) if record.labels is None]
    if bare:
        raise InputError(
            f"Structure {bare[0]} ({records[bare[0]].source}) has no label; only labelled ones can be compared."
        )
    labels = [record.labels for record in records if record.labels is not None]
    predictions = predict(calculator, [record.atoms for record in records], progress, batch_size)
    n_atoms = np.array([len(record.atoms) for record in records])
    return Comparison(
        numbers=np.concatenate([record.atoms.numbers for record in records]),
        structure_index=np.repeat(np.arange(len(records)), n_atoms),
        n_atoms=n_atoms,
        energy=np.array([label.energy for label in labels]),
        predicted_energy=np.array([prediction.energy for prediction in predictions]),
        forces=np.concatenate([label.forces for label in labels]),
        predicted_forces=np.concatenate([prediction.forces for prediction in predictions]),
        atom_energies=_joined([label.energies for label in labels]),
        predicted_atom_energies=_joined([prediction.energies for prediction in predictions]),
        stress=_stacked([label.stress for label in labels]),
        predicted_stress=_stacked([prediction.stress for prediction in predictions]),
    )


def predict(
    calculator: BaseCalculator,
    structures: Sequence[Atoms],
    progress: Progress,
    batch_size: int = 32,
    name: str = "Predicting",
) -> list[Labels]:
    """Ask a calculator about structures: in batches where it has ``calculate_many``, one by one elsewhere.

    The structures are left as they are. Answers that are not finite are returned as they come, for the errors to show.
    """
    calculate_many: Callable[..., list[Mapping[str, Any]]] | None = getattr(calculator, "calculate_many", None)
    size = 1 if calculate_many is None else batch_size
    predictions: list[Labels] = []
    with progress.phase(name, total=len(structures), unit="structures") as phase:
        for start in range(0, len(structures), size):
            chunk = list(structures[start : start + size])
            answers = (
                [_ask(calculator, chunk[0])]
                if calculate_many is None
                else calculate_many(chunk, properties=_properties(calculator, chunk))
            )
            predictions += [_as_labels(answer, atoms) for answer, atoms in zip(answers, chunk, strict=True)]
            phase.advance(len(chunk))
    return predictions


def label_frames(
    calculator: BaseCalculator, frames: Sequence[Atoms], progress: Progress, trajectory: str, source: str
) -> list[Record]:
    """Frames with a teacher's labels, made one by one in this process.

    For a teacher that is slow or needs a pool, ``mlff.teachers.label`` does the same resumably.
    """
    labels = predict(calculator, frames, progress, name="Teacher along the student's trajectory")
    return [Record(_bare(atoms), trajectory, source, label) for atoms, label in zip(frames, labels, strict=True)]


def _ask(calculator: BaseCalculator, atoms: Atoms) -> Mapping[str, Any]:
    atoms = _bare(atoms)
    atoms.calc = calculator
    properties = _properties(calculator, [atoms])
    answer: dict[str, Any] = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
    if "energies" in properties:
        answer["energies"] = atoms.get_potential_energies()
    if "stress" in properties:
        answer["stress"] = atoms.get_stress(voigt=False)
    return answer


def _properties(calculator: BaseCalculator, structures: Sequence[Atoms]) -> list[str]:
    """What can be asked of a calculator about all of these structures; a molecule has no stress."""
    wanted = ["energy", "forces", "energies"]
    if all(atoms.pbc.all() for atoms in structures):
        wanted.append("stress")
    return [name for name in wanted if name in calculator.implemented_properties]


def _as_labels(answer: Mapping[str, Any], atoms: Atoms) -> Labels:
    stress, energies = answer.get("stress"), answer.get("energies")
    if stress is not None and atoms.pbc.all():
        stress = np.asarray(stress, dtype=float)
        stress = voigt_6_to_full_3x3_stress(stress) if stress.shape == (6,) else stress
    else:
        stress = None
    return Labels(
        energy=float(answer["energy"]),
        forces=np.array(answer["forces"], dtype=float),
        energies=None if energies is None else np.array(energies, dtype=float),
        stress=stress,
    )


def _bare(atoms: Atoms) -> Atoms:
    """A copy without calculator and constraints: constraints would zero forces that the labels have."""
    copy = atoms.copy()
    copy.set_constraint()
    return copy


def _joined(parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
    present = [part for part in parts if part is not None]
    return np.concatenate(present) if len(present) == len(parts) else None


def _stacked(parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
    present = [part for part in parts if part is not None]
    return np.stack(present) if len(present) == len(parts) else None
