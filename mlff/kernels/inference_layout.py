"""What the program of inference reads and writes, and where in its arrays things begin.

``work`` holds, each for all atoms: ``s``; ``s̄`` and ``v̄`` twice, because neighbours read one while the other is
written; and per block what the reverse sweep reads again (`AT_V` and those after it). Then every thread's scratch.
"""

from __future__ import annotations

from typing import NamedTuple

from numpy import ndarray

ARRAYS = 20
"""Arrays of a program, the first entries of its table: address and size of each, in the order in which they are read
below; after them `SETTINGS` integers."""
SETTINGS = 4

PER_ATOM = 9
"""Rows of F numbers per atom in ``work`` that do not belong to a block."""
PER_BLOCK = 17
"""And those that do."""
SCRATCH = 20
"""And per atom of a task in a thread's scratch."""

# where the rows of a block begin, in rows per atom
AT_V, AT_PHI, AT_PHI_SLOPE, AT_MIXED, AT_GATES, AT_GATE_SLOPE = 0, 3, 6, 7, 13, 16

# columns of `Network.places`, where in the weights something begins
MIX, GATE_FIRST, GATE_FIRST_BIAS, GATE_SECOND, GATE_SECOND_BIAS = 0, 1, 2, 3, 4
PHI_FIRST, PHI_FIRST_BIAS, PHI_SECOND, PHI_SECOND_BIAS = 5, 6, 7, 8
MIX_BACK, GATE_FIRST_BACK, GATE_SECOND_BACK, PHI_FIRST_BACK, PHI_SECOND_BACK = 9, 10, 11, 12, 13
TABLE = 14
PLACES = 15
"""Columns; the last row, after those of the blocks, is that of the readout: first layer, its bias, transposed first
layer, second layer, its bias, zeros, species' features, species' embedding."""
READ_FIRST, READ_FIRST_BIAS, READ_BACK, READ_SECOND, READ_BIAS, ZEROS, SPECIES_PHI, SPECIES = 0, 1, 2, 3, 4, 5, 6, 7


class Network(NamedTuple):
    """A student's weights as the program reads them.

    Attributes:
        weights: (…) every matrix in panels, biases, tables, in the precision of the network.
        places: (layers + 1, PLACES) where they begin.
        sizes: channels F, layers, width of the readout, coefficients of a table.
        table: start and cutoff in Å, intervals per Å, intervals.
        levels: energy scale in eV, floor of |Vv|², and the distance in Å below which an edge is reported.
    """

    weights: ndarray
    places: ndarray
    sizes: ndarray
    table: ndarray
    levels: ndarray


class Edges(NamedTuple):
    """The wide edge list: ``start`` (n_atoms + 1), ``senders`` and ``reverse`` (n_edges), ``offsets`` (3 n_edges) Å or
    nothing, ``species`` (n_atoms) index of each atom's element."""

    start: ndarray
    senders: ndarray
    reverse: ndarray
    offsets: ndarray
    species: ndarray


class Workspace(NamedTuple):
    """Memory of the program: see this module and `mlff.kernels.numba_edges`; ``filled`` records of every
    row, ``counters`` (2 steps + 2)."""

    work: ndarray
    records: ndarray
    sums: ndarray
    slopes: ndarray
    places: ndarray
    filled: ndarray
    counters: ndarray
