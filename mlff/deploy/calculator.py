"""The student in ASE: `StudentCalculator`, for molecular dynamics, relaxations, vibrations, batches of structures."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from mlff.deploy.checks import has_bonds, require_atoms_apart, require_known_elements
from mlff.deploy.compiled import CompiledEvaluator, choose_kernels
from mlff.deploy.export import load_student, locate_student
from mlff.deploy.graphs import Structure, join
from mlff.graph import AtomGraph
from mlff.kernels import SPLIT
from mlff.neighbors import Neighbors, SkinNeighborList, neighbor_list
from mlff.student import Prediction
from training.errors import InputError
from training.profiling import phase

log = logging.getLogger(__name__)

FEW_EDGES = 2000
"""Below, one thread is quicker than two: the benchmark `calculator_overhead` shows where they meet."""

DTYPES = {"float32": torch.float32, "float64": torch.float64}


class StudentCalculator(Calculator):
    """An ASE calculator that asks a distilled student.

    Energies and forces are always computed together, and the stress with them as soon as it has been asked for, without
    autograd. Positions and edge vectors are float64 and energies are summed in float64, whatever the precision of the
    network. Units are ASE's: eV, Å, eV/Å, eV/Å³.

    Args:
        path: ``student.safetensors``, or the folder of a run that holds it.
        device: "cpu", "cuda", "cuda:1" …; "auto" takes a GPU if there is one and logs the choice.
        dtype: "float32", or "float64" for vibrations and tight relaxations.
        skin: Å added to the cutoff of the neighbour list, which then lasts several steps.
        threads: CPU threads during a calculation, restored after it; "auto" takes one where a structure is so small
            that sharing it out costs more than it saves, else torch's own number; None leaves torch's setting alone.
        kernels: "auto" runs single structures on the CPU as one compiled program (`mlff.kernels.inference`), which is
            compiled at the first calculation after an installation, and on a GPU as a recorded graph of Triton kernels;
            "compiled" insists on it; "torch" never does. "triton-3xtf32" is for large systems: matrix products on the
            tensor cores of a GPU in three parts of TF32, forces within 2e-6 of the largest (float32: 1e-6).

    Attributes:
        model: the network.
        metadata: what the file says of itself, see `mlff.deploy.metadata.StudentMetadata`.
        neighbors: the lasting neighbour list, with counts of `builds` and `calls`.
        threads_used: by the latest calculation.

    Raises:
        InputError: if the file is not a student, or the device or dtype is not available; at a calculation, if the
            structure has an unknown element, a position that is not finite, atoms on top of each other or a periodic
            cell without volume.
        PropertyNotImplementedError: if a stress is asked for without periodicity in three directions.
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012 (ASE's way)

    def __init__(
        self,
        path: str | Path,
        device: str = "auto",
        dtype: str = "float32",
        skin: float = 0.5,
        threads: int | str | None = "auto",
        kernels: str = "auto",
    ) -> None:
        super().__init__()
        if dtype not in DTYPES:
            raise InputError(f"The dtype is float32 or float64; got {dtype!r}.")
        if threads not in ("auto", None) and not (isinstance(threads, int) and threads >= 1):
            raise InputError(f"The number of threads is 1 or more, auto, or None for torch's own; got {threads!r}.")
        file = locate_student(path)
        self.device = choose_device(device)
        self.threads = threads
        self.threads_used = torch.get_num_threads()
        model, self.metadata = load_student(file)
        self.model = model.to(device=self.device, dtype=DTYPES[dtype]).requires_grad_(False)
        self.neighbors = SkinNeighborList(model.cutoff, skin)
        self.parameters.update(path=str(file), device=str(self.device), dtype=dtype, skin=skin)
        self._is_compiled = choose_kernels(kernels, self.device, DTYPES[dtype])
        if kernels == SPLIT:
            self.model.kernels = SPLIT
        self._evaluator: CompiledEvaluator | None = None
        self._state: tuple[bytes, ...] = ()
        self._snapshot: Atoms | None = None
        self._species: bytes | None = None
        self._graph: AtomGraph | None = None
        self._graph_edges: Neighbors | None = None
        self._with_stress = False
        self._warned = False

    def check_state(self, atoms: Atoms, tol: float = 0.0) -> list[str]:
        """What has changed since the last calculation: everything, positions alone, or nothing.

        Exact and about a hundred times quicker than ASE's comparison with a tolerance, which would otherwise cost more
        than many a neighbour list. Charges and magnetic moments do not matter to a student.
        """
        if self.atoms is None:
            return list(all_changes)
        state = _state(atoms)
        if state[1:] != self._state[1:]:
            return list(all_changes)
        return [] if state[0] == self._state[0] else ["positions"]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Energies, forces and, if asked for, stress of one structure; see the class for errors."""
        atoms = self.atoms if atoms is None else atoms
        periodic = bool(atoms.pbc.all())
        if "stress" in properties:
            _require_periodic(periodic, "The structure")
            self._with_stress = True
        state = _state(atoms)
        stress = self._with_stress and periodic
        self.results = self._answer(atoms, stress)
        self._remember(atoms, state)

    def _answer(self, atoms: Atoms, stress: bool) -> dict[str, Any]:
        """Results of one structure, of the compiled program where it is used."""
        if not self._is_compiled:
            with phase("neighbours"):
                graph = self._graph_of(atoms)
            return _results(self._predict(graph, stress), slice(None), 0)
        if self._evaluator is None:
            self._evaluator = CompiledEvaluator(self.model, self.neighbors, self._warn_without_bonds)
        usual = torch.get_num_threads()
        self.threads_used = self.threads if isinstance(self.threads, int) else usual
        answer = self._evaluator.evaluate(atoms, stress, self.threads_used)
        # at its first start numba gives the OpenMP library, which torch may share, a number of its own
        if torch.get_num_threads() != usual:
            torch.set_num_threads(usual)
        results = {
            "energy": answer.energy,
            "free_energy": answer.energy,
            "energies": answer.energies,
            "forces": answer.forces,
        }
        if answer.virial is not None:
            results["stress"] = full_3x3_to_voigt_6_stress(answer.virial / atoms.get_volume())
        return results

    def calculate_many(
        self,
        structures: Sequence[Atoms],
        properties: Sequence[str] = ("energy", "forces"),
        max_edges: int = 20_000,
    ) -> list[dict[str, Any]]:
        """Results of many structures, computed in batches; structures and calculator keep the state they are in.

        Args:
            structures: any mix of molecules and crystals.
            properties: of `implemented_properties`; "stress" needs structures that are periodic in three directions.
            max_edges: size of a batch in edges, which is what fills the memory; a larger structure goes alone.

        Returns:
            One dictionary per structure, in ASE's shapes: energy and free_energy in eV, energies (n_atoms,) eV, forces
            (n_atoms, 3) eV/Å, stress (6,) eV/Å³ in Voigt order, of which the properties asked for.

        Raises:
            InputError: as the class, naming the index of the structure.
        """
        unknown = sorted(set(properties) - set(self.implemented_properties))
        if unknown:
            raise PropertyNotImplementedError(f"{', '.join(unknown)}: a student gives {self.implemented_properties}.")
        stress = "stress" in properties
        answers = []
        for batch in self._batches(structures, stress, max_edges):
            prediction = self._predict(join(batch, self.device), stress)
            first = 0
            for n, structure in enumerate(batch):
                last = first + len(structure.numbers)
                results = _results(prediction, slice(first, last), n)
                answers.append({name: results[name] for name in properties})
                first = last
        return answers

    def _batches(self, structures: Sequence[Atoms], stress: bool, max_edges: int) -> Iterator[list[Structure]]:
        batch: list[Structure] = []
        n_edges = 0
        for index, atoms in enumerate(structures):
            if stress:
                _require_periodic(bool(atoms.pbc.all()), f"Structure {index}")
            try:
                structure = self._structure_of(atoms)
            except InputError as error:
                raise InputError(f"Structure {index}: {error}") from error
            if batch and n_edges + structure.neighbors.n_edges > max_edges:
                yield batch
                batch, n_edges = [], 0
            batch.append(structure)
            n_edges += structure.neighbors.n_edges
        if batch:
            yield batch

    def _structure_of(self, atoms: Atoms) -> Structure:
        """One checked structure with a neighbour list of its own."""
        require_known_elements(atoms.numbers, self.model.elements)
        cell = atoms.cell.array
        neighbors = neighbor_list(atoms.positions, cell, atoms.pbc, self.model.cutoff)
        distances = np.linalg.norm(neighbors.vectors(atoms.positions, cell), axis=1)
        require_atoms_apart(atoms.numbers, neighbors, distances)
        self._warn_without_bonds(atoms, neighbors, distances)
        return Structure(atoms.numbers, atoms.positions, cell, neighbors)

    def _graph_of(self, atoms: Atoms) -> AtomGraph:
        """One checked structure on the device; everything but the positions is kept while the edges are the same."""
        species = atoms.numbers.tobytes()
        is_new = species != self._species
        if is_new:
            require_known_elements(atoms.numbers, self.model.elements)
        cell = atoms.cell.array
        neighbors = self.neighbors.update(atoms.numbers, atoms.positions, cell, atoms.pbc)
        distances = self.neighbors.distances
        require_atoms_apart(atoms.numbers, neighbors, distances)
        if is_new:
            self._warn_without_bonds(atoms, neighbors, distances)
            self._species = species
        if self._graph is not None and neighbors is self._graph_edges:
            return replace(self._graph, positions=torch.tensor(atoms.positions, device=self.device))
        self._graph = join([Structure(atoms.numbers, atoms.positions, cell, neighbors)], self.device)
        self._graph_edges = neighbors
        return self._graph

    def _warn_without_bonds(self, atoms: Atoms, neighbors: Neighbors, distances: np.ndarray) -> None:
        if not self._warned and not has_bonds(atoms.numbers, neighbors, distances):
            self._warned = True
            warnings.warn(
                f"No two atoms of {atoms.get_chemical_formula()} are near enough for a bond. Positions are in Å: if "
                "they were given in bohr, multiply them by ase.units.Bohr; if the atoms are meant to be apart, go on.",
                stacklevel=2,
            )

    def _predict(self, graph: AtomGraph, stress: bool) -> Prediction:
        threads = self.threads
        if threads == "auto":
            threads = 1 if graph.n_edges < FEW_EDGES else None
        with _torch_threads(threads), torch.inference_mode(), phase("network"):
            self.threads_used = torch.get_num_threads()
            return self.model(graph, stress=stress)

    def _remember(self, atoms: Atoms, state: tuple[bytes, ...]) -> None:
        """Keep what `check_state` compares with, and `self.atoms` as other parts of ASE expect it."""
        if self._snapshot is not None and state[1:] == self._state[1:]:
            self._snapshot.positions[:] = atoms.positions
        else:
            self._snapshot = atoms.copy()
        self.atoms, self._state = self._snapshot, state

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles leave graph and program behind; they are made again at the next calculation."""
        return self.__dict__ | {"_graph": None, "_graph_edges": None, "_evaluator": None}


def choose_device(name: str) -> torch.device:
    """The device to compute on; "auto" is a GPU if there is one, and says so in the log.

    Raises:
        InputError: if the name is not that of a CPU or CUDA device of this machine.
    """
    available = torch.cuda.is_available()
    if name == "auto":
        device = torch.device("cuda" if available else "cpu")
        log.info("The student runs on %s.", torch.cuda.get_device_name() if available else "the CPU, there is no GPU")
        return device
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"There is no device {name!r}; choose auto, cpu or cuda.") from error
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"Positions need float64, which the device {name!r} may lack; choose auto, cpu or cuda.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"The device {name!r} is not available to torch {torch.__version__} here; choose auto or cpu.")
    return device


def _state(atoms: Atoms) -> tuple[bytes, ...]:
    return atoms.positions.tobytes(), atoms.numbers.tobytes(), atoms.cell.array.tobytes(), atoms.pbc.tobytes()


def _results(prediction: Prediction, atoms: slice, index: int) -> dict[str, Any]:
    """One structure's share of a prediction, in ASE's shapes."""
    energy = prediction.energy[index].item()
    results = {
        "energy": energy,
        "free_energy": energy,
        "energies": prediction.energies[atoms].cpu().numpy(),
        "forces": prediction.forces[atoms].cpu().numpy(),
    }
    if prediction.stress is not None:
        results["stress"] = full_3x3_to_voigt_6_stress(prediction.stress[index].cpu().numpy())
    return results


def _require_periodic(periodic: bool, what: str) -> None:
    if not periodic:
        raise PropertyNotImplementedError(
            f"{what} is not periodic in three directions, so it has no stress; ask for energy and forces, or set its "
            "cell and pbc."
        )


@contextlib.contextmanager
def _torch_threads(threads: int | str | None) -> Iterator[None]:
    usual = torch.get_num_threads()
    if not isinstance(threads, int) or threads == usual:
        yield
        return
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(usual)
