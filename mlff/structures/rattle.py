"""Rattled structures: frames with every coordinate displaced a little, and cells strained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from ase import Atoms

from mlff.data.records import Record
from mlff.structures.settings import RattleSettings


def rattle(frames: Sequence[Record], settings: RattleSettings, random: np.random.Generator) -> list[Record]:
    """Displaced copies of randomly chosen frames.

    Args:
        frames: parents; a parent is taken twice only when all have been taken once.
        settings: how many for each frame, and how far.
        random: stream of random numbers.

    Returns:
        round(share · len(frames)) records in the order of their parents, each on the trajectory of its parent.
    """
    count = round(settings.share * len(frames))
    rounds = [random.permutation(len(frames)) for _ in range(-(-count // max(1, len(frames))))]
    chosen = np.sort(np.concatenate([np.empty(0, dtype=np.int64), *rounds])[:count])
    return [
        replace(
            frames[index],
            atoms=displaced(frames[index].atoms, settings, random),
            source=f"rattled {frames[index].source}",
        )
        for index in chosen
    ]


def displaced(atoms: Atoms, settings: RattleSettings, random: np.random.Generator) -> Atoms:
    """A copy with every coordinate moved by N(0, σ²), σ log-uniform between the two bounds; periodic cells strained.

    The strain is symmetric, because a rotation of the cell teaches nothing; its diagonal is uniform in ± ``strain``.
    """
    moved = atoms.copy()
    if settings.strain > 0 and atoms.pbc.all():
        components = random.uniform(-settings.strain, settings.strain, size=(3, 3))
        strain = (components + components.T) / 2
        moved.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    smallest, largest = np.log(settings.displacement)
    sigma = np.exp(random.uniform(smallest, largest))
    moved.positions += random.normal(scale=sigma, size=moved.positions.shape)
    return moved
