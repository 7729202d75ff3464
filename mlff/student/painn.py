"""PaiNN: energies, and forces and stress by a hand-written reverse sweep, as one ordinary forward function.

There is no autograd inside, so MD needs no graph, and a force loss needs a single backward pass.
The derivation is in docs/forces.md.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor

from mlff.graph import AtomGraph
from mlff.kernels import choose
from mlff.kernels.reference import EdgeList, sum_rows
from mlff.student import cutoff as cutoffs
from mlff.student import radial as radials
from mlff.student.blocks import Message, MessageTape, Update, UpdateTape
from mlff.student.layers import Perceptron, RadialFeatures

HIGHEST_ATOMIC_NUMBER = 118


class Prediction(NamedTuple):
    """What a student says of a batch.

    Attributes:
        energy: (n_structures,) eV, float64.
        forces: (n_atoms, 3) eV/Å, float64.
        energies: (n_atoms,) eV, float64; their sum is the energy.
        stress: (n_structures, 3, 3) eV/Å³ in ASE's sign, float64; zero rows for structures without a cell. None unless
            asked for.
    """

    energy: Float[Tensor, "structures"]
    forces: Float[Tensor, "atoms 3"]
    energies: Float[Tensor, "atoms"]
    stress: Float[Tensor, "structures 3 3"] | None


class Geometry(NamedTuple):
    """Edges in the network's dtype, with distances (n_edges,) Å and the radial features every filter shares."""

    edges: EdgeList
    distance: Tensor
    radial: RadialFeatures


class PaiNN(torch.nn.Module):
    """Polarizable atom interaction neural network (Schütt, Unke, Gastegger, ICML 2021).

    Args:
        elements: atomic numbers the network knows.
        channels: F, features per atom.
        layers: message and update blocks L.
        radial: number of radial functions R.
        cutoff: radius in Å.
        basis: name of a class in `mlff.student.radial`.
        envelope: name of a class in `mlff.student.cutoff`.
        kernels: which implementation runs the message passing, see `mlff.kernels.choose`; no part of the architecture.

    Raises:
        ValueError: for an empty or impossible list of elements, a non-positive size, an unknown basis or envelope.
    """

    elements: list[int]
    reference_energies: Tensor
    energy_scale: Tensor
    element_index: Tensor

    def __init__(
        self,
        elements: Sequence[int],
        channels: int = 64,
        layers: int = 3,
        radial: int = 8,
        cutoff: float = 5.0,
        basis: str = "BesselBasis",
        envelope: str = "PolynomialCutoff",
        kernels: str = "auto",
    ) -> None:
        super().__init__()
        self.elements = sorted({int(z) for z in elements})
        if not self.elements or self.elements[0] < 1 or self.elements[-1] > HIGHEST_ATOMIC_NUMBER:
            raise ValueError(f"elements are atomic numbers from 1 to {HIGHEST_ATOMIC_NUMBER}; got {list(elements)}.")
        if channels < 1 or layers < 1:
            raise ValueError(f"channels and layers are positive; got {channels} and {layers}.")
        self.channels, self.layers, self.cutoff, self.kernels = channels, layers, float(cutoff), kernels
        self.basis = _component(radials, basis, radials.RadialBasis)(radial, self.cutoff)
        self.envelope = _component(cutoffs, envelope, cutoffs.Envelope)(self.cutoff)
        self.embedding = torch.nn.Embedding(len(self.elements), channels)
        self.messages = torch.nn.ModuleList(Message(channels, radial, initial=n == 0) for n in range(layers))
        self.updates = torch.nn.ModuleList(Update(channels, final=n == layers - 1) for n in range(layers))
        self.readout = Perceptron(channels, max(channels // 2, 1), 1)
        index = torch.full((HIGHEST_ATOMIC_NUMBER + 1,), -1)
        index[self.elements] = torch.arange(len(self.elements))
        self.register_buffer("element_index", index, persistent=False)
        self.register_buffer("reference_energies", torch.zeros(len(self.elements), dtype=torch.float64))
        self.register_buffer("energy_scale", torch.ones((), dtype=torch.float64))

    def architecture(self) -> dict[str, Any]:
        """Everything `build` needs to make this network again, as plain JSON values."""
        return {
            "elements": list(self.elements),
            "channels": self.channels,
            "layers": self.layers,
            "radial": self.basis.size,
            "cutoff": self.cutoff,
            "basis": type(self.basis).__name__,
            "envelope": type(self.envelope).__name__,
        }

    def set_reference(self, reference_energies: Mapping[int, float], energy_scale: float) -> None:
        """Fix the zero of energy and the scale of the network's output.

        Args:
            reference_energies: eV for every element the network knows.
            energy_scale: eV per unit of the network's output, positive, such as the root mean square force in eV/Å.

        Raises:
            ValueError: if an element has no reference energy or the scale is not positive and finite.
        """
        missing = [z for z in self.elements if z not in reference_energies]
        if missing:
            raise ValueError(f"No reference energy for the elements {missing}.")
        if not (math.isfinite(energy_scale) and energy_scale > 0):
            raise ValueError(f"The energy scale is a positive energy in eV; got {energy_scale}.")
        values = [float(reference_energies[z]) for z in self.elements]
        self.reference_energies.copy_(torch.tensor(values, dtype=torch.float64))
        self.energy_scale.fill_(energy_scale)

    def forward(self, graph: AtomGraph, stress: bool = False) -> Prediction:
        """Energy, forces and, if asked for, stress, without autograd.

        Args:
            graph: structures whose elements the network knows.
            stress: whether to compute the stress of periodic structures.
        """
        weight = self.embedding.weight
        kernels = choose(self.kernels, weight.device, weight.dtype, self._is_differentiated(graph))
        if kernels == "triton":
            # loads Triton, which other devices need not
            from mlff.student.on_gpu import predict_on_gpu

            found = predict_on_gpu(self, graph, stress)
            if found is not None:
                tensor = None if found.virial is None else _stress(found.virial, graph.cell)
                return Prediction(found.energy, found.forces, found.energies, tensor)
        vectors = graph.vectors()
        energies, slopes = self._energies_and_slopes(graph, vectors, kernels)
        energy = sum_rows(energies, graph.structure_index, graph.n_structures)
        # F_i = Σ_j (g_ij − g_ji), and the row of edge (i, j) holds g_ji
        forces = sum_rows(slopes.index_select(0, graph.reverse) - slopes, graph.receivers, graph.n_atoms)
        tensor = _stress(_virial(graph, vectors, slopes), graph.cell) if stress else None
        return Prediction(energy, forces, energies, tensor)

    def energies(self, graph: AtomGraph) -> Float[Tensor, "atoms"]:
        """Energies per atom alone, eV: the forward sweep in plain torch, differentiable by autograd."""
        geometry = self._geometry(graph, graph.vectors())
        output, _ = self._forward_sweep(self.element_index[graph.atomic_numbers], geometry)
        return self._to_energies(output, graph.atomic_numbers)

    def _is_differentiated(self, graph: AtomGraph) -> bool:
        """Whether derivatives of the prediction may be wanted."""
        given = itertools.chain(self.parameters(), (graph.positions, graph.cell))
        return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given)

    def _energies_and_slopes(
        self, graph: AtomGraph, vectors: Float[Tensor, "edges 3"], kernels: str
    ) -> tuple[Float[Tensor, "atoms"], Float[Tensor, "edges 3"]]:
        """Energies per atom (n_atoms,) eV and, in the row of each edge (i, j), the slope of its reverse,
        ``g_ji = ∂E/∂r_ji`` (n_edges, 3) eV/Å; both float64."""
        geometry = self._geometry(graph, vectors)
        species = self.element_index[graph.atomic_numbers]
        if kernels == "numba":
            # loads numba, which other devices need not
            from mlff.student.adjoint import outputs_and_slopes

            output, slopes = outputs_and_slopes(self, species, geometry)
        else:
            output, tapes = self._forward_sweep(species, geometry)
            slopes = self._reverse_sweep(geometry, tapes)
        return self._to_energies(output, graph.atomic_numbers), slopes.to(torch.float64) * self.energy_scale

    def _geometry(self, graph: AtomGraph, vectors: Tensor) -> Geometry:
        dtype = self.embedding.weight.dtype
        length = torch.linalg.vector_norm(vectors, dim=-1)
        distance, direction = length.to(dtype), (vectors / length.unsqueeze(-1)).to(dtype)
        atoms = torch.arange(graph.n_atoms + 1, device=vectors.device)
        row_start = torch.searchsorted(graph.receivers, atoms)
        edges = EdgeList(graph.receivers, graph.senders, graph.reverse, row_start, direction)
        return Geometry(edges, distance, RadialFeatures.of(distance, self.basis, self.envelope))

    def _forward_sweep(self, species: Tensor, geometry: Geometry) -> tuple[Tensor, list]:
        scalars, vectors = self.embedding(species), None
        tapes: list[tuple[MessageTape, UpdateTape]] = []
        for message, update in zip(self.messages, self.updates, strict=True):
            scalars, vectors, message_tape = message(scalars, vectors, geometry.radial, geometry.edges)
            scalars, vectors, update_tape = update(scalars, vectors)
            tapes.append((message_tape, update_tape))
        output, hidden = self.readout(scalars)
        return output.squeeze(-1), [*tapes, hidden]

    def _reverse_sweep(self, geometry: Geometry, tapes: list) -> Float[Tensor, "edges 3"]:
        """``∂(Σ output)/∂r`` of the reverse of every edge, (n_edges, 3): ``d̄ n + (n̄ − n (n·n̄)) / d``."""
        *blocks, hidden = tapes
        scalar_bar = self.readout.reverse(torch.ones_like(hidden[:, :1]), hidden)
        vector_bar = None
        distance_bar = torch.zeros_like(geometry.distance)
        direction_bar = torch.zeros_like(geometry.edges.direction)
        sweep = zip(reversed(self.messages), reversed(self.updates), reversed(blocks), strict=True)
        for message, update, (message_tape, update_tape) in sweep:
            scalar_bar, vector_bar = cast("Update", update).reverse(scalar_bar, vector_bar, update_tape)
            scalar_bar, vector_bar, along, across = cast("Message", message).reverse(
                scalar_bar, vector_bar, message_tape, geometry.radial, geometry.edges
            )
            distance_bar, direction_bar = distance_bar + along, direction_bar + across
        # the unit vector of the reversed edge is −n
        direction = -geometry.edges.direction
        along = distance_bar.unsqueeze(-1) * direction
        across = direction_bar - direction * (direction * direction_bar).sum(dim=-1, keepdim=True)
        return along + across / geometry.distance.unsqueeze(-1)

    def _to_energies(self, output: Tensor, atomic_numbers: Tensor) -> Float[Tensor, "atoms"]:
        return (
            output.to(torch.float64) * self.energy_scale + self.reference_energies[self.element_index[atomic_numbers]]
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> PaiNN:
        """Moves as any module does; zero and scale of energy stay float64, as float32 rounds −1000 eV to 0.1 meV."""
        exact = self.reference_energies, self.energy_scale
        super()._apply(fn, recurse)
        self.reference_energies, self.energy_scale = (value.to(self.reference_energies.device) for value in exact)
        return self


def _virial(graph: AtomGraph, vectors: Tensor, slopes: Tensor) -> Float[Tensor, "structures 3 3"]:
    """``Σ r_ji ⊗ g_ji``, eV."""
    outer = -vectors.unsqueeze(-1) * slopes.unsqueeze(-2)
    return sum_rows(outer, graph.structure_index.index_select(0, graph.receivers), graph.n_structures)


def _stress(virial: Tensor, cell: Tensor) -> Float[Tensor, "structures 3 3"]:
    """The virial symmetrised and over the volume: ``dE/dε / V``; zero without a cell."""
    volume = torch.linalg.det(cell).abs().reshape(-1, 1, 1)
    symmetric = 0.5 * (virial + virial.transpose(-1, -2))
    return torch.where(volume > 0, symmetric / volume.clamp(min=1e-30), 0.0)


def _component(module: Any, name: str, base: type) -> type:
    found = getattr(module, name, None)
    if not (isinstance(found, type) and issubclass(found, base) and found is not base):
        known = sorted(
            k for k, v in vars(module).items() if isinstance(v, type) and issubclass(v, base) and v is not base
        )
        raise ValueError(f"Unknown {base.__name__} {name!r}; choose one of {', '.join(known)}.")
    return found
