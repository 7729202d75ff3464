"""What has to be settled before the first step: settings, network, structures, velocities, and what identifies them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from ase import Atoms, units
from pydantic import ValidationError

from mlff.deploy.batched_md.integrators import Integrator, Langevin, StochasticCell, VelocityVerlet
from mlff.deploy.batched_md.settings import SimulationSettings
from mlff.deploy.batched_md.systems import Systems, mobile_atoms
from mlff.deploy.batched_md.velocities import internal_directions, thermalise
from mlff.deploy.checks import require_atoms_apart, require_known_elements
from mlff.deploy.export import weights_fingerprint
from mlff.neighbors import neighbor_list
from mlff.student import PaiNN, build
from training.errors import InputError

NOT_IDENTITY = {"duration_ps", "save_seconds", "skin"}
"""Settings that may change when a simulation is called again: they do not change what has been simulated."""


def read_settings(values: dict[str, Any]) -> SimulationSettings:
    """Checked settings.

    Raises:
        InputError: with all faults, and the names of all settings.
    """
    try:
        return SimulationSettings(**values)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'settings'}: {e['msg']}" for e in error.errors())
        known = ", ".join(SimulationSettings.model_fields)
        raise InputError(f"The simulation cannot be set up: {faults}. Settings are {known}.") from error


def make_integrator(settings: SimulationSettings) -> Integrator:
    """The integrator of the ensemble, in ASE's units."""
    step = settings.time_step_fs * units.fs
    if settings.ensemble == "nve":
        return VelocityVerlet(step)
    assert settings.temperature_K is not None
    friction = settings.friction_per_ps / (1000 * units.fs)
    if settings.ensemble == "langevin":
        return Langevin(step, settings.temperature_K, friction)
    return StochasticCell(
        step,
        settings.temperature_K,
        friction,
        settings.pressure_GPa * units.GPa,
        settings.compressibility_per_GPa / units.GPa,
        settings.pressure_relaxation_ps * 1000 * units.fs,
    )


def copy_to(model: PaiNN, device: torch.device, dtype: torch.dtype) -> PaiNN:
    """The network on the device; the caller's own is left as it is."""
    copy = build(model.architecture())
    copy.kernels = model.kernels
    copy.to(next(model.parameters()).dtype).load_state_dict(model.state_dict())
    return copy.to(device=device, dtype=dtype).requires_grad_(False).eval()


def check_structures(structures: Sequence[Atoms], model: PaiNN, settings: SimulationSettings) -> list[int]:
    """Refuse what cannot be simulated, before anything is; the number of edges of every system."""
    edges = []
    for index, atoms in enumerate(structures):
        where = f"System {index} ({atoms.get_chemical_formula()})"
        mobile_atoms(index, atoms)
        if not np.isfinite(atoms.get_momenta()).all():
            raise InputError(f"{where} has a momentum that is not a finite number.")
        try:
            require_known_elements(atoms.numbers, model.elements)
            neighbors = neighbor_list(atoms.positions, atoms.cell.array, atoms.pbc, model.cutoff)
            distances = np.linalg.norm(neighbors.vectors(atoms.positions, atoms.cell.array), axis=1)
            require_atoms_apart(atoms.numbers, neighbors, distances)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        if settings.ensemble == "npt" and not atoms.pbc.all():
            raise InputError(f"{where} is not periodic in three directions; npt has no volume to change. Use langevin.")
        if settings.ensemble == "npt" and atoms.constraints:
            raise InputError(f"{where} has held atoms, which a changing cell would move. Use langevin.")
        if not atoms.has("momenta") and settings.temperature_K is None:
            raise InputError(
                f"{where} has no momenta: say with which temperature it starts, temperature_K=300 (0 starts at rest)."
            )
        edges.append(neighbors.n_edges)
    return edges


def start(structures: Sequence[Atoms], settings: SimulationSettings, device: torch.device) -> Systems:
    """The systems with velocities; every system's own depend on the seed and its place in the list alone."""
    moving: list[Atoms] = []
    directions: list[int | None] = []
    for index, atoms in enumerate(structures):
        if not atoms.has("momenta"):
            assert settings.temperature_K is not None
            atoms = atoms.copy()
            random = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(index,)))
            thermalise(atoms, settings.temperature_K, random)
            directions.append(internal_directions(atoms))
        else:
            directions.append(None)
        moving.append(atoms)
    systems = Systems.of(moving, device)
    if make_integrator(settings).conserves_momentum:
        # where the velocities are ours, momentum and rotation are zero and stay so
        for index, count in enumerate(directions):
            if count is not None:
                systems.degrees_of_freedom[index] = count
    return systems


def identify(
    structures: Sequence[Atoms], model: PaiNN, settings: SimulationSettings, device: torch.device, dtype: str
) -> dict[str, Any]:
    """What decides the trajectory."""
    digest = hashlib.sha256()
    for atoms in structures:
        held = [index for constraint in atoms.constraints for index in getattr(constraint, "index", ())]
        momenta = atoms.get_momenta() if atoms.has("momenta") else np.zeros(0)
        arrays = atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, atoms.get_masses(), momenta, held
        for array in arrays:
            digest.update(np.ascontiguousarray(array).tobytes())
    return {
        **settings.model_dump(mode="json", exclude=NOT_IDENTITY),
        "student": weights_fingerprint(model),
        "systems": digest.hexdigest(),
        "device": device.type,
        "dtype": dtype,
    }
