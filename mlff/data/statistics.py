"""What the labels look like: reference energies per element, sizes of forces and energies, elements per source.

The student learns ``E − Σ_i e(Z_i)``; the reference energies ``e(Z)`` take out what the composition alone explains,
which is a thousand times larger than what the geometry does.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from mlff.data.records import Labels, Record
from training.errors import InputError


@dataclass(frozen=True)
class ReferenceEnergies:
    """Energies e(Z) that a structure's composition alone explains.

    Attributes:
        energies: eV by atomic number, for every element of the data.
        rank: how many independent combinations of elements the data's compositions determine; equal to the number of
            elements where every e(Z) is determined. For isolated atoms it is the number of elements.
        note: where they come from and what they are good for, in words.
    """

    energies: dict[int, float]
    rank: int
    note: str

    def of(self, numbers: np.ndarray) -> float:
        """``Σ_i e(Z_i)`` in eV of a structure."""
        return float(sum(self.energies[int(z)] for z in numbers))


@dataclass(frozen=True)
class ForceStatistics:
    """Sizes of force components in eV/Å over a set of atoms.

    Attributes:
        rms: root mean square.
        mean_abs: mean of |F|, the mean absolute error of a predictor that always says zero.
        largest: largest norm of a force vector.
        atoms: how many atoms were counted.
    """

    rms: float
    mean_abs: float
    largest: float
    atoms: int


@dataclass(frozen=True)
class DataStatistics:
    """Numbers of a set of labelled structures.

    Attributes:
        structures, atoms: how many.
        forces: over all atoms.
        forces_by_element: by chemical symbol.
        energy_spread: standard deviation of ``(E − Σ e(Z)) / n_atoms`` in eV/atom.
        energy_mean_abs: mean of ``|E − Σ e(Z)| / n_atoms`` in eV/atom: the error of the composition alone.
    """

    structures: int
    atoms: int
    forces: ForceStatistics
    forces_by_element: dict[str, ForceStatistics]
    energy_spread: float
    energy_mean_abs: float

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class ElementHistogram:
    """Atoms of each element, by source.

    Attributes:
        counts: source → chemical symbol → number of atoms.
        warnings: sentences about sources whose elements look wrong.
    """

    counts: dict[str, dict[str, int]]
    warnings: tuple[str, ...]

    def hydrogen_share(self, source: str) -> float:
        """Hydrogen atoms per atom in a source."""
        return self.counts[source].get("H", 0) / max(sum(self.counts[source].values()), 1)


def reference_energies(records: Sequence[Record], isolated: Mapping[int, float] | None = None) -> ReferenceEnergies:
    """Reference energies per element, fitted to the records or taken from isolated atoms.

    The fit minimises ``Σ_s [(E_s − Σ_Z n_sZ e(Z)) / n_s]²``. Where the compositions do not determine every element (one
    molecule, a fixed formula), the solution nearest to equal energies for all atoms is taken, and the note says so.

    Args:
        records: labelled structures of the training set only.
        isolated: eV by atomic number, computed with the method of the labels.

    Raises:
        InputError: if there are no records, or ``isolated`` lacks an element of the data.
    """
    labels, elements, composition, energies = _compositions(records)
    if isolated is not None:
        lacking = [chemical_symbols[z] for z in elements if z not in isolated]
        if lacking:
            raise InputError(f"Isolated-atom energies lack {', '.join(lacking)}, which the data hold. Add them.")
        chosen = {z: float(isolated[z]) for z in elements}
        return ReferenceEnergies(chosen, len(elements), "Reference energies are those of isolated atoms, as given.")
    n_atoms = composition.sum(axis=1)
    fractions, per_atom = composition / n_atoms[:, None], energies / n_atoms
    mean = per_atom.mean()
    # the rank of the distinct compositions, so that a thousand frames of one molecule count as one
    rank = int(np.linalg.matrix_rank(np.unique(fractions, axis=0)))
    solution = _smallest_solution(fractions, per_atom - mean, rank) + mean
    chosen = dict(zip(elements, solution.tolist(), strict=True))
    return ReferenceEnergies(chosen, rank, _fit_note(rank, elements, labels))


def data_statistics(records: Sequence[Record], references: ReferenceEnergies) -> DataStatistics:
    """Sizes of forces and energies of labelled structures.

    Raises:
        InputError: if there are no records or one has no labels.
    """
    labels = _labels(records)
    forces = np.concatenate([label.forces for label in labels])
    numbers = np.concatenate([record.atoms.numbers for record in records])
    excess = np.array(
        [
            (label.energy - references.of(record.atoms.numbers)) / len(record.atoms)
            for label, record in zip(labels, records, strict=True)
        ]
    )
    return DataStatistics(
        structures=len(records),
        atoms=len(numbers),
        forces=_force_statistics(forces),
        forces_by_element={
            chemical_symbols[z]: _force_statistics(forces[numbers == z]) for z in np.unique(numbers).tolist()
        },
        energy_spread=float(excess.std()),
        energy_mean_abs=float(np.abs(excess).mean()),
    )


def element_histogram(records: Sequence[Record]) -> ElementHistogram:
    """Elements by source; a source with carbon and no hydrogen at all is warned about.

    Readers of chemical files drop implicit hydrogen easily; a network trained without it looks fine on its own data.
    """
    counted: dict[str, Counter[int]] = defaultdict(Counter)
    for record in records:
        counted[record.source].update(record.atoms.numbers.tolist())
    counts = {source: {chemical_symbols[z]: n for z, n in sorted(c.items())} for source, c in counted.items()}
    warnings = tuple(
        f"WARNING: the {sum(elements.values())} atoms of source {source!r} contain carbon ({elements['C']}) and not "
        "one hydrogen. If these are organic molecules, their hydrogen was lost on the way in: check how they were read."
        for source, elements in counts.items()
        if "C" in elements and "H" not in elements
    )
    return ElementHistogram(counts, warnings)


def _compositions(records: Sequence[Record]) -> tuple[list[Labels], list[int], np.ndarray, np.ndarray]:
    """Labels, elements ascending, atoms per structure and element (n, n_elements), energies (n,) eV."""
    labels = _labels(records)
    elements = np.unique(np.concatenate([record.atoms.numbers for record in records]))
    composition = np.array([(record.atoms.numbers[:, None] == elements).sum(axis=0) for record in records], dtype=float)
    return labels, elements.tolist(), composition, np.array([label.energy for label in labels])


def _labels(records: Sequence[Record]) -> list[Labels]:
    labels = [record.labels for record in records if record.labels is not None]
    if not records or len(labels) < len(records):
        raise InputError(f"Statistics need labels on every structure; {len(labels)} of {len(records)} have them.")
    return labels


def _smallest_solution(matrix: np.ndarray, target: np.ndarray, rank: int) -> np.ndarray:
    """The least-squares solution of smallest norm, with the singular values beyond the rank left out."""
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    return right[:rank].T @ ((left[:, :rank].T @ target) / values[:rank])


def _fit_note(rank: int, elements: Sequence[int], labels: Sequence[Labels]) -> str:
    named = ", ".join(chemical_symbols[z] for z in elements)
    if rank == len(elements):
        return f"Reference energies of {named} by least squares over {len(labels)} structures; all are determined."
    return (
        f"The data's compositions determine {rank} of {len(elements)} reference energies ({named}): their sums are "
        "right for the compositions trained on and mean nothing for others. To compare molecules of other formulas, "
        "add structures of different composition or give isolated-atom energies (data.reference_energies)."
    )


def _force_statistics(forces: np.ndarray) -> ForceStatistics:
    return ForceStatistics(
        rms=float(np.sqrt(np.mean(forces**2))),
        mean_abs=float(np.mean(np.abs(forces))),
        largest=float(np.linalg.norm(forces, axis=1).max()),
        atoms=len(forces),
    )
