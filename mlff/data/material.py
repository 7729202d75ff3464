"""What a student learns from and is judged by: labelled structures by role, with their statistics."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols

from mlff.data.records import Record
from mlff.data.settings import DataSettings
from mlff.data.shards import fingerprint
from mlff.data.split import Way, split_by_trajectory, without_geometries_of
from mlff.data.statistics import (
    DataStatistics,
    ElementHistogram,
    ReferenceEnergies,
    data_statistics,
    element_histogram,
    reference_energies,
)
from training.errors import InputError


@dataclass(frozen=True)
class Material:
    """Labelled structures by role.

    Attributes:
        train, validation: what the network learns from, and what its progress is followed on.
        held_out: what only the final judgement sees; the validation structures where nothing was held out.
        references: energies per element, from the training structures.
        statistics: of the training structures.
        elements: by source, of all structures.
        fingerprint: SHA-256 of the training structures and their labels.
        notes: how all this was chosen, a sentence each.
    """

    train: list[Record]
    validation: list[Record]
    held_out: list[Record]
    references: ReferenceEnergies
    statistics: DataStatistics
    elements: ElementHistogram
    fingerprint: str
    notes: tuple[str, ...]


def prepare(
    records: Sequence[Record],
    settings: DataSettings,
    seed: int,
    held_out: Collection[str] = (),
    test: Sequence[Record] = (),
) -> Material:
    """Divide labelled structures and measure them.

    Args:
        records: all of them labelled and accepted.
        settings: how to divide them and where reference energies come from.
        seed: of random choices.
        held_out: names of trajectories for the final judgement.
        test: structures for the final judgement from elsewhere.

    Raises:
        InputError: if there is too little for one of the roles, an element occurs in none of the training structures,
            or reference energies are missing.
    """
    notes = []
    if test:
        records, note = without_geometries_of(records, test)
        notes += [note] if note else []
    way: Way = settings.split
    split = split_by_trajectory(records, held_out, settings.validation, way, seed)
    train, validation, judged = ([records[i] for i in part] for part in (split.train, split.validation, split.test))
    judged = [*judged, *test]
    notes.append(split.note)
    if not judged:
        judged = validation
        notes.append(
            "Nothing was held out, so accuracy is measured on the validation structures, which the training saw."
        )
    _require_trained_elements(train, {"validation": validation, "held-out": judged})
    references = _references(train, settings)
    elements = element_histogram([*records, *test])
    return Material(
        train=train,
        validation=validation,
        held_out=judged,
        references=references,
        statistics=data_statistics(train, references),
        elements=elements,
        fingerprint=fingerprint(train),
        notes=(*notes, references.note, *elements.warnings),
    )


def _require_trained_elements(train: Sequence[Record], judging: Mapping[str, Sequence[Record]]) -> None:
    """The student knows the elements of its training structures only, so no other set may hold a further one."""
    known = _elements(train)
    for role, records in judging.items():
        unknown = sorted(_elements(records) - known)
        if unknown:
            example = next(record for record in records if set(unknown) & set(record.atoms.numbers.tolist()))
            symbols = ", ".join(chemical_symbols[z] for z in unknown)
            raise InputError(
                f"The {role} structures hold {symbols} ({example.atoms.get_chemical_formula()} of {example.source}), "
                f"which none of the {len(train):,} training structures has, so nothing can be learned of it. Add such "
                f"structures to the training data or leave these out; the training has "
                f"{', '.join(chemical_symbols[z] for z in sorted(known))}."
            )


def _elements(records: Sequence[Record]) -> set[int]:
    return {z for record in records for z in set(record.atoms.numbers.tolist())}


def _references(train: Sequence[Record], settings: DataSettings) -> ReferenceEnergies:
    given = settings.isolated_energies()
    if given is None and all(r.labels is not None and r.labels.energies is not None for r in train):
        return _mean_atomic_energies(train)
    return reference_energies(train, given)


def _mean_atomic_energies(train: Sequence[Record]) -> ReferenceEnergies:
    """The mean of the teacher's own energies per atom: determined for every element, even by a single molecule."""
    numbers = np.concatenate([record.atoms.numbers for record in train])
    energies = np.concatenate(
        [r.labels.energies for r in train if r.labels is not None and r.labels.energies is not None]
    )
    means = {int(z): float(energies[numbers == z].mean()) for z in np.unique(numbers)}
    return ReferenceEnergies(means, len(means), "Reference energies are the means of the teacher's energies per atom.")
