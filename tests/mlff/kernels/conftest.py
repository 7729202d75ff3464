"""The kernels of Triton run on a GPU where there is one; elsewhere Triton's interpreter runs them, slowly but truly.

Their tests are left out, loudly, where Triton is not installed: there are no wheels of it for macOS and Windows.
"""

import importlib.util

import numpy as np
import pytest
import torch
from numpy import ndarray

from mlff.kernels import triton_obstacle
from mlff.neighbors import neighbor_list

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

HAS_TRITON = importlib.util.find_spec("triton") is not None

collect_ignore_glob = [] if HAS_TRITON else ["test_triton_*.py"]


def pytest_terminal_summary(terminalreporter):
    if not HAS_TRITON:
        terminalreporter.write_line("NOT RUN: the tests of the Triton kernels; install triton for them.", yellow=True)


@pytest.fixture(scope="session")
def device() -> torch.device:
    """Where the kernels of Triton are tested."""
    obstacle = triton_obstacle(DEVICE, torch.float32)
    assert not obstacle, obstacle
    return DEVICE


@pytest.fixture
def tight(monkeypatch):
    """No room to spare, and products of many atoms: on other rows and products the interpreter would spend its time."""
    monkeypatch.setattr("mlff.kernels.cuda_graph.SMALLEST_ROOM", 1)
    monkeypatch.setattr("mlff.kernels.triton_program.FEW_ATOMS", 0)


class Cluster:
    """Random atoms in a box so small that they see their own images, the last one without any neighbour.

    Attributes:
        positions, offsets, vectors: (n, 3), (e, 3) and (e, 3) Å; edges reach 0.6 Å beyond the cutoff.
        start, senders, receivers, reverse: rows of the edges.
    """

    cutoff = 2.6

    def __init__(self, n_atoms: int, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        cell = np.array([[2.2, 0.1, 0.0], [0.3, 2.4, 0.2], [0.0, -0.2, 40.0]])
        self.positions = random.uniform(0, 1, (n_atoms, 3)) * [2.0, 2.0, 2.0]
        self.positions[-1, 2] = 20.0
        edges = neighbor_list(self.positions, cell, np.array([n_atoms > 1, n_atoms > 1, False]), self.cutoff + 0.6)
        near = np.linalg.norm(edges.vectors(self.positions, cell), axis=1)
        alone = (edges.receivers == n_atoms - 1) | (edges.senders == n_atoms - 1)
        edges = edges.keep((near > 0.5) & ~alone)
        self.receivers, self.senders, self.reverse = edges.receivers, edges.senders, edges.reverse
        self.offsets = edges.shifts @ cell
        self.vectors = edges.vectors(self.positions, cell)
        self.start = np.searchsorted(edges.receivers, np.arange(n_atoms + 1))

    @property
    def inside(self) -> ndarray:
        """(e,) the edges that are shorter than the cutoff."""
        return np.linalg.norm(self.vectors, axis=1) < self.cutoff


@pytest.fixture(scope="session")
def cluster():
    """`Cluster` of some atoms."""
    return Cluster
