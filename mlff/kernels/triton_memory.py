"""What a student's program on a GPU works with: its weights, and arrays of a fixed capacity."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from numpy import ndarray
from torch import Tensor

from mlff.kernels.cuda_graph import Capacity
from mlff.kernels.triton_edges import TABLE_SCALE
from mlff.kernels.triton_products import stacked

if TYPE_CHECKING:
    from mlff.kernels.inference import Block, Dense, Weights


class Network:
    """The weights on the device; `load` replaces their values in place, so recorded graphs use the new ones.

    Args:
        weights: of the student, float64.
        dtype: of the features, float32 or float64.
        device: where they go.
        split: whether float32 products are split for tensor cores (`mlff.kernels.triton_products`).
    """

    def __init__(self, weights: Weights, dtype: torch.dtype, device: torch.device, split: bool = False) -> None:
        self.dtype, self.device, self.split = dtype, device, split
        self.layers, self.channels = len(weights.blocks), weights.embedding.shape[1]
        self.intervals = weights.radial.intervals
        self.tensors: dict[str, Tensor] = {}
        for name, values in self._values(weights):
            self.tensors[name] = values.clone(memory_format=torch.contiguous_format)

    def load(self, weights: Weights) -> None:
        """Take the weights of another student of the same architecture.

        Raises:
            ValueError: if the architecture differs.
        """
        values = dict(self._values(weights))
        differing = [
            name for name in self.tensors.keys() | values.keys()
            if name not in values or name not in self.tensors or values[name].shape != self.tensors[name].shape
        ]  # fmt: skip
        if differing:
            raise ValueError(f"These weights belong to another architecture: {', '.join(sorted(differing))} differ.")
        for name, value in values.items():
            self.tensors[name].copy_(value)

    def _values(self, weights: Weights) -> Iterator[tuple[str, Tensor]]:
        radial = weights.radial
        levels = [radial.start, radial.cutoff, 1 / radial.spacing, weights.scale]
        yield "levels", torch.tensor(levels, dtype=torch.float64, device=self.device)
        yield "references", torch.tensor(weights.references, dtype=torch.float64, device=self.device)
        yield "floor", self._tensor([weights.floor])
        yield "embedding", self._tensor(weights.embedding)
        yield from self._dense("read", weights.readout)
        for n, block in enumerate(weights.blocks):
            yield from self._block(n, block, weights)

    def _block(self, n: int, block: Block, weights: Weights) -> Iterator[tuple[str, Tensor]]:
        filters = weights.radial.coefficients @ block.filter.T
        yield f"table {n}", self._tensor(filters / int(TABLE_SCALE))
        yield from self._both_ways(f"mix {n}", block.mix)
        yield from self._dense(f"gate {n}", block.gate)
        if n > 0:
            yield from self._dense(f"phi {n}", block.phi)
            return
        first, second = block.phi
        hidden = torch.from_numpy(weights.embedding @ first.weight.T + first.bias)
        yield "phi of species", self._tensor(torch.nn.functional.silu(hidden).numpy() @ second.weight.T + second.bias)

    def _dense(self, name: str, layers: tuple[Dense, Dense]) -> Iterator[tuple[str, Tensor]]:
        for place, layer in zip(("first", "second"), layers, strict=True):
            yield from self._both_ways(f"{name} {place}", layer.weight)
            yield f"{name} {place} bias", self._tensor(layer.bias)

    def _both_ways(self, name: str, weight: ndarray) -> Iterator[tuple[str, Tensor]]:
        """A matrix (outputs, inputs) as it is and turned: its rows are long where kernels read it."""
        for called, matrix in ((name, weight), (f"{name} turned", weight.T)):
            yield called, self._tensor(matrix)
            if self.split:
                yield f"{called} split", stacked(self._tensor(matrix).contiguous())

    def _tensor(self, values: Any) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float64).to(device=self.device, dtype=self.dtype)


class Records(NamedTuple):
    """What `mlff.kernels.triton_geometry.measure` writes."""

    counts: Tensor
    sender: Tensor
    knot: Tensor
    place: Tensor
    unit: Tensor
    wide: Tensor


class Tape(NamedTuple):
    """What the reverse sweep of a block reads again; the first block has no features, slope and vectors."""

    phi: Tensor
    phi_slope: Tensor
    vectors: Tensor
    mixed: Tensor
    entry: Tensor
    gate_slope: Tensor
    gates: Tensor


class Memory:
    """All arrays of a program, for a capacity.

    Attributes:
        positions, offsets: (atoms, 3) and (edges, 3) Å, float64.
        start, senders, reverse, species, first: the structures as `Program.load` describes them, int32.
        vector_bars: ``v̄`` above the block n in the one with the number n % 2, below it in the other.
        answers: everything that is read back, one behind the other, float64; ``parts`` are the lengths.
    """

    def __init__(self, capacity: Capacity, network: Network) -> None:
        n, e, k, f = capacity.atoms, capacity.edges, capacity.structures, network.channels

        def integers(size: int) -> Tensor:
            return torch.zeros(size, dtype=torch.int32, device=network.device)

        def exact(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=network.device)

        def features(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=network.dtype, device=network.device)

        self.positions, self.offsets = exact(n, 3), exact(e, 3)
        self.start, self.senders, self.reverse = integers(n + 1), integers(e), integers(e)
        self.species, self.first = integers(n), integers(k + 1)
        unit, wide = features(e, 4), integers(e)
        self.records = Records(integers(n), integers(e), integers(e), features(e), unit, wide)
        self.sums, self.slopes, self.closest, self.virials = exact(e, 4), exact(e, 3), exact(n), exact(n, 9)
        self.answers = exact(4 * n + 11 * k)
        self.parts = [n, 3 * n, k, k, 9 * k]
        self.energies, self.forces, self.energy, self.nearest, self.virial = self.answers.split(self.parts)
        self.scalars, self.after, self.outputs = features(n, f), features(n, 3, f), features(n)
        self.hidden = features(n, f)
        self.read_hidden = features(n, network.tensors["read first"].shape[0])
        self.scalar_bar, self.vector_bars = features(n, f), (features(n, 3, f), features(n, 3, f))
        self.bars, self.entry_bar, self.mixed_bar = features(n, 3 * f), features(n, 2 * f), features(n, 3, 2 * f)
        self.tapes = []
        for layer in range(network.layers):
            gates = network.tensors[f"gate {layer} second"].shape[0]
            own = n if layer > 0 else 0
            self.tapes.append(
                Tape(
                    phi=features(own, 3 * f), phi_slope=features(own, f), vectors=features(own, 3, f),
                    mixed=features(n, 3, 2 * f), entry=features(n, 2 * f), gate_slope=features(n, f),
                    gates=features(n, gates),
                )
            )  # fmt: skip
