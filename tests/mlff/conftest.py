"""Structures that between them have every property a network must cope with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from mlff.data.dataset import collate, to_sample
from mlff.graph import AtomGraph

ELEMENTS = [1, 6, 8, 14, 29]


def rattled(atoms: Atoms, seed: int) -> Atoms:
    atoms = atoms.copy()
    atoms.rattle(0.1, seed=seed)
    return atoms


def _zoo() -> dict[str, list[Atoms]]:
    slab = bulk("Cu", cubic=True)
    slab.pbc = (True, True, False)
    slab.center(vacuum=4.0, axis=2)
    cell = [[2.9, 0.1, 0.0], [1.2, 2.8, 0.3], [0.2, -0.7, 3.1]]
    skewed = Atoms("SiC", scaled_positions=[[0, 0, 0], [0.3, 0.4, 0.45]], cell=cell, pbc=True)
    ethanol = rattled(molecule("CH3CH2OH"), 1)
    return {
        "one atom": [molecule("H")],
        "two atoms out of reach": [Atoms("H2", [[0, 0, 0], [0, 0, 30.0]])],
        "a molecule": [ethanol],
        "a crystal cell smaller than the cutoff": [rattled(bulk("Si"), 2)],
        "a skewed cell": [skewed],
        "a slab": [rattled(slab, 3)],
        "a batch of all kinds": [ethanol, molecule("O"), rattled(bulk("Si"), 4), skewed, rattled(molecule("H2O"), 5)],
    }


ZOO = _zoo()


@pytest.fixture(params=list(ZOO), ids=lambda name: name.replace(" ", "-"))
def structures(request: pytest.FixtureRequest) -> list[Atoms]:
    """Each entry of the zoo: a list of structures that make one batch."""
    return [atoms.copy() for atoms in ZOO[request.param]]


@pytest.fixture
def graph_of() -> Callable[[Sequence[Atoms], float], AtomGraph]:
    """Structures as one batch, with all edges up to a cutoff in Å."""

    def build(atoms: Sequence[Atoms], cutoff: float) -> AtomGraph:
        return AtomGraph.from_batch(collate([to_sample(a, cutoff, with_labels=False) for a in atoms]))

    return build


@pytest.fixture
def rotation() -> np.ndarray:
    """A rotation about no special axis: (3, 3)."""
    q, r = np.linalg.qr(np.random.default_rng(7).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.linalg.det(q)
