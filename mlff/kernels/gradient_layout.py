"""Numbers that the parts of the gradient's program agree on: what it is told, and what lies where in its memory.

Everything that the program computes with is one flat array, ``work``, in the precision of the weights: matrices in
panels, biases, features of edges, what the sweeps leave behind, gradients.
"""

import numpy as np

# parts of features and of gates; as numbers of numpy, because numba compiles a function anew for a Python three
TWO, THREE = np.int64(2), np.int64(3)

# what the program is told: sizes, then where in ``work`` things begin
CHANNELS, LAYERS, HIDDEN, RADIAL, RADIAL_PITCH, ATOMS, CAPACITY, PER_TASK, THREADS, EDGES, GRADIENT = range(11)
SCALARS, BLOCKS, READ, OUTPUTS, D_OUTPUTS, DIRECTION, VALUES, SLOPES, SUMS, D_SUMS = range(11, 21)
PAIR_VALUES, PAIR_SLOPES, FILTERS, FILTER_SLOPES, GRADIENTS, SCRATCH, EDGE_SCRATCH, EDGE_ROOM = range(21, 29)
FLOOR, STEP, ANSWER, PAIRS, WORK, ITEM, MULTIPLY, ADD_TRANSPOSED = range(29, 37)
SETTINGS = 37

# columns of the list of parameters: address; parts, numbers in a part, and those padded, of outputs and inputs;
# panels forward and back, or rows; derivative; place in the result; whether the derivative is transposed
ADDRESS, OUT_PARTS, OUT, OUT_PADDED, IN_PARTS, IN, IN_PADDED, FORWARD, BACK, ROWS, BY, RESULT, TRANSPOSED = range(13)
COLUMNS = 13

# places of a perceptron: matrices in panels as they multiply rows from the right, biases, derivatives
FIRST, FIRST_BIAS, FIRST_BACK, SECOND, SECOND_BIAS, SECOND_BACK = 0, 1, 2, 3, 4, 5
BY_FIRST, BY_FIRST_BIAS, BY_SECOND, BY_SECOND_BIAS = 6, 7, 8, 9
PERCEPTRON = 10

# places of a block; the row after the last block is that of the readout, the embedding and a row of zeros
PHI_PLACES, GATE_PLACES, MIX, MIX_BACK, BY_MIX, FILTER, BY_FILTER = 0, 10, 20, 21, 22, 23, 24
PLACES = 25
READ_PLACES, EMBEDDING, BY_EMBEDDING, ZEROS = 0, 20, 22, 23

# rows of F numbers per atom of a block, one kind behind the other; three kinds of an activation follow one another
V, PHI_VALUE, PHI_SLOPE, PHI, V_MID, ENTRY, MIXED = 0, 3, 4, 6, 9, 12, 14
GATE_VALUE, GATE_SLOPE, GATES = 20, 21, 23
S_BAR, V_BAR, GATE_BAR, GATE_BEFORE, ENTRY_BAR, MIXED_BAR = 26, 27, 30, 33, 35, 37
S_BAR_MID, V_BAR_MID, PHI_BAR, PHI_BEFORE = 43, 44, 47, 50
D_PHI_BAR, D_V, D_PRODUCT = 52, 55, 58
PER_BLOCK = 59
# derivatives of the loss that take the place of what nobody reads once they are there
D_S_BAR, D_V_BAR, D_MIXED, D_GATES, D_GATE_HIDDEN, D_PHI, D_PHI_HIDDEN = 26, 27, 37, 30, 33, 47, 50
D_S_MID, D_V_MID, D_NORM = 34, 9, 51
SCRATCH_ROWS = 20
"""Rows of F numbers per atom of a task that a thread needs for itself."""
