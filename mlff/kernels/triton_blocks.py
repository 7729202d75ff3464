"""The node blocks of a program on a GPU, in two ways: as matrix products, or atom by atom where there are few.

Both go from the vectors after the messages of a layer to the features that the next messages send, and back.
"""

from __future__ import annotations

from typing import Any

import triton
from torch import Tensor

from mlff.kernels import triton_nodes, triton_rows
from mlff.kernels.triton_memory import Memory, Network
from mlff.kernels.triton_products import Products

ATOMS_AT_ONCE = 4
NUMBERS_AT_ONCE = 1024

INPUTS_AT_ONCE = 16
WARPS_OF_A_ROW = 8


class ByProducts:
    """cuBLAS's products, with kernels between them.

    Args:
        network: the weights.
        memory: what they work with.
        products: how the matrices are multiplied.
    """

    def __init__(self, network: Network, memory: Memory, products: Products) -> None:
        self._products = products
        self._weights, self._memory, self._layers = network.tensors, memory, network.layers
        self._atoms, self._channels = memory.scalars.shape
        block = triton.next_power_of_2(self._channels)
        self._sizes = {"F": self._channels, "BLOCK": block, "ATOMS": ATOMS_AT_ONCE}

    def forward(self, layer: int) -> None:
        """The update block of a layer and the features above; after the last layer the outputs, and ``s̄``."""
        self._update(layer)
        if layer + 1 < self._layers:
            self._features(layer + 1)
        else:
            self._read_out()

    def reverse(self, layer: int) -> None:
        """From ``s̄``, ``v̄`` and ``φ̄`` above the update block of a layer to ``s̄`` and ``v̄`` below it."""
        if layer + 1 < self._layers:
            self._features_reverse(layer + 1)
        self._update_reverse(layer)

    def _features(self, layer: int) -> None:
        m, tape = self._memory, self._memory.tapes[layer]
        self._products.dense(f"phi {layer} first", m.scalars, m.hidden)
        self._elementwise(triton_nodes.activate, m.hidden, tape.phi_slope)
        self._products.dense(f"phi {layer} second", m.hidden, tape.phi)

    def _features_reverse(self, layer: int) -> None:
        m = self._memory
        self._products.reverse(f"phi {layer} second", m.bars, m.hidden)
        self._elementwise(triton_nodes.multiply_by, m.hidden, m.tapes[layer].phi_slope)
        self._products.reverse_add(f"phi {layer} first", m.hidden, m.scalar_bar)

    def _update(self, layer: int) -> None:
        m, tape = self._memory, self._memory.tapes[layer]
        self._products.forward(f"mix {layer}", _flat(m.after), _flat(tape.mixed))
        self._of_atoms(triton_nodes.gate_input, m.scalars, tape.mixed, tape.entry, self._weights["floor"])
        self._products.dense(f"gate {layer} first", tape.entry, m.hidden)
        self._elementwise(triton_nodes.activate, m.hidden, tape.gate_slope)
        self._products.dense(f"gate {layer} second", m.hidden, tape.gates)
        changed = m.tapes[layer + 1].vectors if layer + 1 < self._layers else m.after
        self._of_atoms(
            triton_nodes.apply_gates, m.scalars, m.after, tape.mixed, tape.gates, changed, PARTS=self._parts(layer)
        )

    def _update_reverse(self, layer: int) -> None:
        m, tape, parts = self._memory, self._memory.tapes[layer], self._parts(layer)
        bars = m.bars.view(-1)[: self._atoms * parts * self._channels].view(self._atoms, -1)
        vector_bar = m.vector_bars[layer % 2]
        self._of_atoms(triton_nodes.gate_bars, m.scalar_bar, vector_bar, tape.mixed, bars, PARTS=parts)
        self._products.reverse(f"gate {layer} second", bars, m.hidden)
        self._elementwise(triton_nodes.multiply_by, m.hidden, tape.gate_slope)
        self._products.reverse(f"gate {layer} first", m.hidden, m.entry_bar)
        self._of_atoms(
            triton_nodes.mixed_bars, m.scalar_bar, vector_bar, tape.mixed, tape.gates, tape.entry, m.entry_bar,
            m.mixed_bar, PARTS=parts,
        )  # fmt: skip
        product = self._products.reverse_add if parts == 3 else self._products.reverse
        product(f"mix {layer}", _flat(m.mixed_bar), _flat(vector_bar))

    def _read_out(self) -> None:
        m, w = self._memory, self._weights
        width = m.read_hidden.shape[1]
        self._products.dense("read first", m.scalars, m.read_hidden)
        triton_nodes.read_out[(triton.cdiv(self._atoms, ATOMS_AT_ONCE),)](
            m.read_hidden, w["read second"], w["read second bias"], m.outputs, self._atoms,
            F=width, BLOCK=triton.next_power_of_2(width), ATOMS=ATOMS_AT_ONCE,
        )  # fmt: skip
        self._products.reverse("read first", m.read_hidden, m.scalar_bar)

    def _parts(self, layer: int) -> int:
        return 3 if layer + 1 < self._layers else 2

    def _elementwise(self, kernel: Any, changed: Tensor, other: Tensor) -> None:
        n = changed.numel()
        kernel[(triton.cdiv(n, NUMBERS_AT_ONCE),)](changed, other, n, SIZE=NUMBERS_AT_ONCE)

    def _of_atoms(self, kernel: Any, *tensors: Tensor, **more: int) -> None:
        kernel[(triton.cdiv(self._atoms, ATOMS_AT_ONCE),)](*tensors, self._atoms, **more, **self._sizes)


class ByRows:
    """One launch for a block, with a program for every atom.

    Args:
        network: the weights.
        memory: what they work with.
    """

    def __init__(self, network: Network, memory: Memory) -> None:
        self._weights, self._memory, self._layers = network.tensors, memory, network.layers
        atoms, channels = memory.scalars.shape
        self._grid = (atoms,)
        self._sizes = {
            "F": channels, "BLOCK": triton.next_power_of_2(channels), "INPUTS": INPUTS_AT_ONCE,
            "num_warps": WARPS_OF_A_ROW,
        }  # fmt: skip

    def forward(self, layer: int) -> None:
        """The update block of a layer and the features above; after the last layer the outputs, and ``s̄``."""
        m, w, tape = self._memory, self._weights, self._memory.tapes[layer]
        update = (
            m.scalars, m.after, w[f"mix {layer} turned"], *self._dense(f"gate {layer}"), w["floor"],
            tape.mixed, tape.entry, m.hidden, tape.gate_slope, tape.gates,
        )  # fmt: skip
        if layer + 1 < self._layers:
            above = m.tapes[layer + 1]
            triton_rows.update_and_features[self._grid](
                *update, above.vectors, *self._dense(f"phi {layer + 1}"), above.phi_slope, above.phi, **self._sizes
            )
            return
        triton_rows.update_and_output[self._grid](
            *update, w["read first"], w["read first turned"], w["read first bias"], w["read second"],
            w["read second bias"], m.read_hidden, m.outputs, m.scalar_bar, H=m.read_hidden.shape[1], **self._sizes,
        )  # fmt: skip

    def reverse(self, layer: int) -> None:
        """From ``s̄``, ``v̄`` and ``φ̄`` above the update block of a layer to ``s̄`` and ``v̄`` below it."""
        m, w, tape, is_last = self._memory, self._weights, self._memory.tapes[layer], layer + 1 == self._layers
        # the last layer has no features above it and reads none of the four
        above = (m.hidden,) * 3 if is_last else (
            w[f"phi {layer + 1} first"], w[f"phi {layer + 1} second"], m.tapes[layer + 1].phi_slope,
        )  # fmt: skip
        triton_rows.update_reverse[self._grid](
            m.scalar_bar, m.vector_bars[layer % 2], *above, m.bars, w[f"mix {layer}"], w[f"gate {layer} first"],
            w[f"gate {layer} second"], tape.mixed, tape.entry, tape.gate_slope, tape.gates, m.hidden, m.bars,
            m.mixed_bar, PARTS=2 if is_last else 3, **self._sizes,
        )  # fmt: skip

    def _dense(self, name: str) -> tuple[Tensor, ...]:
        """Both layers of a perceptron for the forward sweep."""
        w = self._weights
        return (
            w[f"{name} first turned"], w[f"{name} first bias"], w[f"{name} second turned"], w[f"{name} second bias"],
        )  # fmt: skip


def _flat(vectors: Tensor) -> Tensor:
    """(3 n_atoms, …): a row for each component of every atom."""
    return vectors.view(-1, vectors.shape[-1])
