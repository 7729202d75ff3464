"""A student as a model of torch-sim, whose integrators, optimizers and batching then use it.

torch-sim is the package ``torch-sim-atomistic`` and needs Python 3.12; Limbeck does without it. Written against its
version 0.6.1 and tested with the validator that comes with it.

    import torch_sim
    from mlff.deploy.torch_sim import torch_sim_model

    model = torch_sim_model("checkpoints/reference/aspirin_gfn2")
    final = torch_sim.integrate(system=atoms, model=model, integrator=torch_sim.Integrator.nve, n_steps=1000,
                                temperature=300, timestep=0.0005)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mlff.deploy.batched_md.forces import Surface
from mlff.deploy.batched_md.preparation import copy_to
from mlff.deploy.batched_md.systems import Systems
from mlff.deploy.calculator import DTYPES, choose_device
from mlff.deploy.checks import require_known_elements
from mlff.deploy.export import load_student
from mlff.student import PaiNN
from training.errors import InputError


class State(Protocol):
    """What a student reads of torch-sim's ``SimState``.

    Attributes:
        positions: (n_atoms, 3) Å.
        cell: (n_systems, 3, 3) Å, lattice vectors as **columns**.
        pbc: (3,) the same for all systems.
        atomic_numbers: (n_atoms,).
        system_idx: (n_atoms,) ascending.
    """

    positions: Float[Tensor, "atoms 3"]
    cell: Float[Tensor, "systems 3 3"]
    pbc: Bool[Tensor, "3"]
    atomic_numbers: Int[Tensor, "atoms"]
    system_idx: Int[Tensor, "atoms"]


class StudentOnStates:
    """Energies, forces and stress of torch-sim's states.

    The neighbour list lasts over calls with the same atoms. Unlike `StudentCalculator` it does not refuse atoms on top
    of each other, because one system of a batch would stop all.

    Args:
        model: the student, on the device of the states.
        skin: Å beyond the cutoff in the neighbour list.
    """

    def __init__(self, model: PaiNN, skin: float = 0.5) -> None:
        self.model, self.skin = model, skin
        self._surface: Surface | None = None

    def __call__(self, state: State, forces: bool = True, stress: bool = False) -> dict[str, Tensor]:
        """What torch-sim asks of a model, in the precision of the positions.

        Args:
            state: not changed.
            forces: whether to return them.
            stress: whether to compute it; zero for systems without a cell.

        Returns:
            ``energy`` (n_systems,) eV, and if asked for ``forces`` (n_atoms, 3) eV/Å and ``stress`` (n_systems, 3, 3)
            eV/Å³, positive when the energy rises with the strain.

        Raises:
            InputError: if the student does not know an element.
        """
        surface = self._surface_of(state)
        surface.systems.positions = state.positions.detach().to(torch.float64)
        surface.systems.cell = _rows(state)
        with torch.no_grad():
            found = surface(stress=stress)
        dtype = state.positions.dtype
        answer = {"energy": found.energy[:, 0].to(dtype)}
        if forces:
            answer["forces"] = found.forces.to(dtype)
        if found.stress is not None:
            answer["stress"] = found.stress.to(dtype)
        return answer

    def _surface_of(self, state: State) -> Surface:
        """The surface of the last call if the atoms are the same, else another."""
        known = self._surface
        if known is not None and _same(known.systems, state):
            return known
        require_known_elements(state.atomic_numbers.cpu().numpy(), self.model.elements)
        self._surface = Surface(self.model, systems_of(state), self.skin, [0])
        return self._surface


def systems_of(state: State) -> Systems:
    """The atoms of a state as the batched dynamics see them, at rest."""
    n_systems, n_atoms = state.cell.shape[0], state.positions.shape[0]
    device = state.positions.device
    counts = torch.bincount(state.system_idx, minlength=n_systems)
    one = torch.ones(n_atoms, 1, dtype=torch.float64, device=device)
    alive = torch.ones(n_systems, 1, dtype=torch.bool, device=device)
    return Systems(
        names=[str(n) for n in range(n_systems)],
        numbers=state.atomic_numbers.clone().long(),
        masses=one,
        mobile=one,
        owner=state.system_idx.clone(),
        first=torch.cat([counts.new_zeros(1), torch.cumsum(counts, 0)]),
        pbc=state.pbc.to(device).expand(n_systems, 3).clone(),
        positions=state.positions.detach().to(torch.float64),
        velocities=torch.zeros(n_atoms, 3, dtype=torch.float64, device=device),
        cell=_rows(state),
        degrees_of_freedom=3.0 * counts.unsqueeze(1).to(torch.float64),
        alive=alive,
        included=alive.clone(),
    )


def torch_sim_model(
    student: str | Path | PaiNN,
    device: str = "auto",
    precision: str = "float32",
    dtype: torch.dtype = torch.float64,
    compute_stress: bool = True,
) -> Any:
    """A ``torch_sim.models.interface.ModelInterface`` that asks a student.

    Args:
        student: ``student.safetensors``, the folder of a run that holds it, or a network.
        device: "cpu", "cuda", …; "auto" takes a GPU if there is one.
        precision: of the network, "float32" or "float64".
        dtype: of torch-sim's states.
        compute_stress: whether every call computes the stress.

    Raises:
        InputError: if torch-sim is not installed, or an argument is not usable.
    """
    try:
        from torch_sim.models.interface import ModelInterface
    except ImportError as error:
        raise InputError(
            f"torch-sim cannot be imported ({error}). It needs Python 3.12 or later: pip install 'limbeck[torch-sim]'. "
            "Without it, mlff.deploy.simulate runs many systems at once, too."
        ) from error
    if precision not in DTYPES:
        raise InputError(f"The precision is float32 or float64; got {precision!r}.")
    where = choose_device(device)
    model = student if isinstance(student, PaiNN) else load_student(student)[0]
    model = copy_to(model, where, DTYPES[precision])
    on_states = StudentOnStates(model)

    class StudentModel(ModelInterface):
        def __init__(self) -> None:
            super().__init__()
            self._device, self._dtype = where, dtype
            self._compute_forces, self._compute_stress = True, compute_stress
            self.student = model

        @ModelInterface.compute_stress.setter
        def compute_stress(self, value: bool) -> None:
            """Whether every call computes the stress."""
            self._compute_stress = value

        @ModelInterface.compute_forces.setter
        def compute_forces(self, value: bool) -> None:
            """Whether every call returns forces."""
            self._compute_forces = value

        def forward(self, state: State, **_: object) -> dict[str, Tensor]:
            """Energies, forces and stress of a state."""
            return on_states(state, forces=self._compute_forces, stress=self._compute_stress)

    return StudentModel()


def _rows(state: State) -> Float[Tensor, "systems 3 3"]:
    """Lattice vectors as rows."""
    return state.cell.detach().to(torch.float64).transpose(1, 2).contiguous()


def _same(systems: Systems, state: State) -> bool:
    """Whether only positions and cells may differ."""
    return (
        systems.numbers.shape == state.atomic_numbers.shape
        and systems.n_systems == state.cell.shape[0]
        and torch.equal(systems.numbers, state.atomic_numbers.long())
        and torch.equal(systems.owner, state.system_idx)
        and torch.equal(systems.pbc[0], state.pbc.to(systems.device))
    )
