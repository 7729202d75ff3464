"""Worker of `gpu_md_step.py`: steps of a student, or of SchNetPack's PaiNN, of one architecture on one GPU.

python gpu_worker.py limbeck | eager | schnetpack
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path as Folder
from typing import Any

import numpy as np
import torch
from ase import Atoms, io, units
from md_systems import Path, build
from md_worker import CHANNELS, CUTOFF, ELEMENTS, LAYERS, RADIAL, schnetpack_network
from peers import Answer, serve

ASPIRIN = Folder(__file__).parents[1] / "mlff" / "structures" / "library" / "aspirin.xyz"

QUIET = 1e-4
"""eV per unit of output: random weights must not tear a molecule apart while its steps are timed."""

ROUND = 40
"""Steps before a box of water starts again where it was: without forces its atoms would fly into each other."""


def structure(name: str) -> Atoms:
    """A molecule, or "water n", a periodic box with n molecules along an edge."""
    if name == "aspirin":
        return io.read(ASPIRIN)
    return build("H2O" if name == "water" else name)


def student(kernels: str, device: torch.device) -> Any:
    """A student of random weights with SchNetPack's basis and envelope."""
    from mlff.student import PaiNN

    torch.manual_seed(0)
    basis, envelope = "GaussianBasis", "CosineCutoff"
    model = PaiNN(ELEMENTS, CHANNELS, LAYERS, RADIAL, CUTOFF, basis=basis, envelope=envelope, kernels=kernels)
    model.set_reference(dict.fromkeys(ELEMENTS, 0.0), QUIET)
    return model.to(device).requires_grad_(False)


def calculator(side: str, device: torch.device) -> Any:
    """Behind ASE."""
    if side == "schnetpack":
        return schnetpack(device)
    from mlff import StudentCalculator
    from mlff.deploy.export import save_student

    with tempfile.TemporaryDirectory() as folder:
        file = Folder(folder) / "student.safetensors"
        about = {"teacher": {}, "licence": "", "data_fingerprint": "", "accuracy": {}}
        save_student(file, student("auto", torch.device("cpu")), about)
        made = StudentCalculator(file, device=str(device), kernels="auto" if side == "limbeck" else "torch")
    if side == "eager":
        made.model.kernels = "reference"
    return made


def schnetpack(device: torch.device) -> Any:
    """SchNetPack's PaiNN behind its own ASE calculator."""
    from schnetpack.interfaces import SpkCalculator
    from schnetpack.transform import MatScipyNeighborList

    with tempfile.TemporaryDirectory() as folder:
        file = Folder(folder) / "model"
        torch.save(schnetpack_network(), file)
        return SpkCalculator(
            str(file),
            MatScipyNeighborList(cutoff=CUTOFF),
            energy_key="energy",
            force_key="forces",
            energy_unit="eV",
            position_unit="Ang",
            device=str(device),
        )


def moving(name: str, copies: int, device: torch.device) -> Any:
    """Copies of a structure with velocities: those of a box as at 300 K, those of molecules so slow that they stay."""
    from mlff.deploy.batched_md.systems import Systems

    atoms = structure(name)
    temperature = 300.0 if atoms.pbc.any() else 3.0
    systems = []
    for seed in range(copies):
        copy = atoms.copy()
        spread = np.sqrt(units.kB * temperature / copy.get_masses())[:, None]
        # even within ±√3 times the thermal speed, so that no two atoms meet
        copy.set_velocities(spread * np.random.default_rng(seed).uniform(-(3**0.5), 3**0.5, size=(len(copy), 3)))
        systems.append(copy)
    return Systems.of(systems, device)


class Looked:
    """Velocity Verlet that looks at every step, with the network in eager torch."""

    def __init__(self, systems: Any, device: torch.device) -> None:
        from mlff.deploy.batched_md.forces import Surface
        from mlff.deploy.batched_md.integrators import VelocityVerlet

        self.systems, self.noise = systems, torch.Generator(device)
        self.surface = Surface(student("reference", device), systems, 1.0, [0])
        self.integrator, self.forces = VelocityVerlet(0.5 * units.fs), self.surface()

    def run(self, steps: int) -> None:
        """Move the systems."""
        for _ in range(steps):
            self.integrator.begin(self.systems, self.forces, self.noise)
            self.forces = self.surface()
            self.integrator.finish(self.systems, self.forces)


class Steps:
    """What this side is asked."""

    def __init__(self, side: str, device: torch.device) -> None:
        self.side, self.device = side, device
        self.paths: dict[str, Path] = {}
        self.loops: dict[tuple[str, int], tuple[Any, Any, Any]] = {}

    def __call__(self, task: str, **request: Any) -> Answer:
        """Seconds of steps through ASE ("ase") or on the device ("loop"), or the floors of the program ("floors")."""
        with torch.inference_mode():
            tasks: dict[str, Callable[..., Answer]] = {"ase": self.ase, "loop": self.loop, "floors": self.floors}
            return tasks[task](**request)

    def ase(self, system: str, steps: int) -> Answer:
        """Forces and energy read after every move; neighbour list and copies are inside the clock."""
        if system not in self.paths:
            atoms = structure(system)
            # a calculator for every structure, whose neighbour list lasts
            atoms.calc = calculator(self.side, self.device)
            self.paths[system] = Path(atoms)
            self.paths[system].atoms = atoms
        path, seconds = self.paths[system], []
        for _ in range(steps):
            path.move(path.atoms)
            start = time.perf_counter()
            path.atoms.get_forces()
            path.atoms.get_potential_energy()
            seconds.append(time.perf_counter() - start)
        return {
            "seconds": seconds,
            "n_atoms": len(path.atoms),
            "largest_force": float(abs(path.atoms.get_forces()).max()),
        }

    def loop(self, system: str, copies: int, rounds: int, steps: int) -> Answer:
        """Seconds per step of constant-energy dynamics on the device, each round from the same start."""
        if (system, copies) not in self.loops:
            systems = moving(system, copies, self.device)
            start = systems.positions.clone(), systems.velocities.clone()
            if self.side == "limbeck":
                from mlff.deploy.batched_md.recorded import RecordedDynamics

                dynamics: Any = RecordedDynamics(student("auto", self.device), systems, 0.5 * units.fs)
            else:
                dynamics = Looked(systems, self.device)
            self.loops[system, copies] = dynamics, systems, start
        dynamics, systems, (positions, velocities) = self.loops[system, copies]
        seconds = []
        for _ in range(rounds):
            systems.positions, systems.velocities = positions.clone(), velocities.clone()
            torch.cuda.synchronize()
            began = time.perf_counter()
            dynamics.run(steps)
            torch.cuda.synchronize()
            seconds.append((time.perf_counter() - began) / steps)
        return {"seconds": seconds, "n_atoms": systems.n_atoms}

    def floors(self, system: str, copies: int) -> Answer:
        """What a step costs without Python, and what it could cost at best."""
        from gpu_floors import floors

        return floors(student("auto", self.device), moving(system, copies, self.device))


if __name__ == "__main__":
    serve(Steps(sys.argv[1], torch.device("cuda")))
