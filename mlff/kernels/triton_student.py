"""A student on a GPU, for one set of structures after another: memory that grows, graphs that are recorded again."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

import torch
from numpy import ndarray
from torch import Tensor

from mlff.kernels.cuda_graph import Capacity, Recorded
from mlff.kernels.inference import Answer
from mlff.kernels.triton_memory import Network
from mlff.kernels.triton_program import Program, Results

if TYPE_CHECKING:
    from mlff.kernels.inference import Weights

log = logging.getLogger(__name__)


class TritonStudent:
    """Evaluates structures that are loaded once and move often.

    A step is one launch of a recorded graph. Structures that fit into the memory there is use the graph there is; for
    larger ones the memory grows, and the next step records another, which takes a fraction of a second and is logged.

    Args:
        weights: of the student.
        dtype: float32 or float64, of the features; positions, energies and forces are float64.
        device: a GPU; the CPU where Triton interprets its kernels.
        split: whether float32 products are split for tensor cores (`mlff.kernels.triton_products`).

    Attributes:
        nearest: Å; a structure with a shorter edge gets no answer.
        growths: how many times the memory was made, the first time included.
    """

    def __init__(self, weights: Weights, dtype: torch.dtype, device: torch.device, split: bool = False) -> None:
        self.device, self.dtype, self.split, self.nearest = device, dtype, split, weights.nearest
        self.growths = 0
        with self._here():
            self._network = Network(weights, dtype, device, split)
        self._program: Program | None = None
        self._recorded: dict[bool, Recorded] = {}

    @property
    def program(self) -> Program:
        """What holds the loaded structures; another one when the memory grows.

        Raises:
            RuntimeError: before any structure was loaded.
        """
        if self._program is None:
            raise RuntimeError("No structure has been loaded: call set_structures first.")
        return self._program

    def load_weights(self, weights: Weights) -> None:
        """Replace the weights; recorded graphs stay.

        Raises:
            ValueError: if the architecture differs.
        """
        with self._here():
            self._network.load(weights)

    def reserve(self, needed: Capacity) -> None:
        """Memory for so much; what there is, if it is enough. What was loaded is forgotten when it grows."""
        room = Capacity(0, 0, 0) if self._program is None else self._program.capacity
        if room.holds(needed):
            return
        room = room.grown_for(needed)
        again = "; the next step records its graph again" if self._recorded else ""
        log.info("Memory on %s for %d atoms and %d edges%s.", self.device, room.atoms, room.edges, again)
        # first let go of the old, or both would have to fit
        self._program, self._recorded = None, {}
        with self._here():
            self._program = Program(self._network, room)
            self._copied_in = self._of_host(3 * room.atoms)
            self._copied_out = self._of_host(len(self._program.memory.answers))
        self.growths += 1

    def set_structures(
        self, species: Tensor, start: Tensor, senders: Tensor, reverse: Tensor, offsets: Tensor, first: Tensor
    ) -> None:
        """Load structures, as `mlff.kernels.triton_program.Program.load` takes them."""
        self.reserve(Capacity(len(species), len(senders), len(first) - 1))
        with self._here():
            self.program.load(species, start, senders, reverse, offsets, first)
        parts = self.program.results_in(self._copied_out, stress=True)
        self._seen = [part.numpy() for part in parts if part is not None]

    def run(self, positions: Tensor, stress: bool) -> Results:
        """Results on the device, which the next run overwrites; nobody has looked yet whether atoms are too near.

        Args:
            positions: (n_atoms, 3) Å, float64, on the device.
            stress: whether to compute the virials.
        """
        program = self.program
        with self._here():
            program.memory.positions[: program.loaded.atoms].copy_(positions)
            self._launch(stress)
        return program.results(stress)

    def set_structure(
        self, species: ndarray, start: ndarray, senders: ndarray, reverse: ndarray, offsets: ndarray
    ) -> None:
        """Load one structure, as `mlff.kernels.inference.CompiledStudent.set_structure` takes it."""
        self.set_structures(
            torch.from_numpy(species), torch.from_numpy(start), torch.from_numpy(senders), torch.from_numpy(reverse),
            torch.from_numpy(offsets), torch.tensor([0, len(species)]),
        )  # fmt: skip

    def evaluate(self, positions: ndarray, stress: bool, threads: int = 1) -> Answer | None:
        """The answer for the loaded structure; nothing if an edge is shorter than the nearest two atoms may be.

        Args:
            positions: (n_atoms, 3) Å, float64.
            stress: whether to compute the virial.
            threads: of the CPU; not used.
        """
        program = self.program
        n_atoms = program.loaded.atoms
        self._copied_in.numpy()[: 3 * n_atoms].reshape(-1, 3)[:] = positions
        with self._here():
            program.memory.positions.view(-1).copy_(self._copied_in, non_blocking=True)
            self._launch(stress)
            self._copied_out.copy_(program.memory.answers, non_blocking=True)
            if self.device.type == "cuda":
                torch.cuda.current_stream().synchronize()
        energy, forces, energies, virial, nearest = self._seen
        if not nearest[0] >= self.nearest:
            return None
        return Answer(float(energy[0]), forces.copy(), energies.copy(), virial[0].copy() if stress else None)

    def _launch(self, stress: bool) -> None:
        if stress not in self._recorded:
            self._recorded[stress] = Recorded(partial(self.program.launch, stress), self.device)
        self._recorded[stress]()

    @contextmanager
    def _here(self) -> Iterator[None]:
        """On the current device, where Triton launches; memory made in inference mode could not be written outside."""
        on_device = torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()
        with torch.inference_mode(False), torch.no_grad(), on_device:
            yield

    def _of_host(self, size: int) -> Tensor:
        """Memory of the host from which the GPU copies by itself."""
        return torch.zeros(size, dtype=torch.float64, pin_memory=self.device.type == "cuda")
