"""What a student learns from and is judged by: labelled structures by role, with their statistics."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

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
        InputError: if there is too little for one of the roles, or reference energies are missing.
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
        notes.append("Nothing was held out, so accuracy is measured on the validation structures, which the training saw.")
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


def _references(train: Sequence[Record], settings: DataSettings) -> ReferenceEnergies:
    given = settings.isolated_energies()
    if given is None and all(r.labels is not None and r.labels.energies is not None for r in train):
        return _mean_atomic_energies(train)
    return reference_energies(train, given)


def _mean_atomic_energies(train: Sequence[Record]) -> ReferenceEnergies:
    """The mean of the teacher's own energies per atom: determined for every element, even by a single molecule."""
    numbers = np.concatenate([record.atoms.numbers for record in train])
    energies = np.concatenate([r.labels.energies for r in train if r.labels is not None and r.labels.energies is not None])
    means = {int(z): float(energies[numbers == z].mean()) for z in np.unique(numbers)}
    return ReferenceEnergies(means, len(means), "Reference energies are the means of the teacher's energies per atom.")
