"""Worker of `md_step.py`: energies and forces through ASE of a student, or of SchNetPack's PaiNN, of one architecture.

python md_worker.py limbeck | schnetpack
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path as Folder

import torch
from ase.calculators.calculator import Calculator
from md_systems import Path, build
from peers import CLOCKS, Answer, peak_MB, serve

CHANNELS, LAYERS, RADIAL, CUTOFF = 128, 3, 20, 5.0
ELEMENTS = [1, 6, 8]


def limbeck() -> Calculator:
    """A student with SchNetPack's basis and envelope."""
    from mlff import StudentCalculator
    from mlff.deploy.export import save_student
    from mlff.student import PaiNN

    basis, envelope = "GaussianBasis", "CosineCutoff"
    student = PaiNN(ELEMENTS, CHANNELS, LAYERS, RADIAL, CUTOFF, basis=basis, envelope=envelope)
    with tempfile.TemporaryDirectory() as folder:
        file = Folder(folder) / "student.safetensors"
        save_student(file, student, {"teacher": {}, "licence": "", "data_fingerprint": "", "accuracy": {}})
        return StudentCalculator(file, device="cpu")


def schnetpack() -> Calculator:
    """SchNetPack's PaiNN behind its own ASE calculator."""
    import schnetpack as spk
    from schnetpack.interfaces import SpkCalculator
    from schnetpack.transform import MatScipyNeighborList

    representation = spk.representation.PaiNN(
        n_atom_basis=CHANNELS,
        n_interactions=LAYERS,
        radial_basis=spk.nn.GaussianRBF(n_rbf=RADIAL, cutoff=CUTOFF),
        cutoff_fn=spk.nn.CosineCutoff(CUTOFF),
    )
    model = spk.model.NeuralNetworkPotential(
        representation,
        input_modules=[spk.atomistic.PairwiseDistances()],
        output_modules=[spk.atomistic.Atomwise(n_in=CHANNELS, output_key="energy"), spk.atomistic.Forces()],
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Folder(folder) / "model"
        torch.save(model, file)
        return SpkCalculator(
            str(file),
            MatScipyNeighborList(cutoff=CUTOFF),
            energy_key="energy",
            force_key="forces",
            energy_unit="eV",
            position_unit="Ang",
            device="cpu",
        )


class Steps:
    """One calculator and the structures it has met."""

    def __init__(self, side: str) -> None:
        torch.manual_seed(0)
        self.make = {"limbeck": limbeck, "schnetpack": schnetpack}[side]
        self.calculators: dict[str, Calculator] = {}
        self.paths: dict[str, Path] = {}

    def __call__(self, system: str, steps: int, clock: str) -> Answer:
        """Seconds of each of some steps of a system, forces and energy read after every move."""
        if system not in self.calculators:
            atoms = build(system)
            # a calculator for every structure, whose neighbour list lasts
            self.calculators[system] = atoms.calc = self.make()
            self.paths[system] = Path(atoms)
            self.paths[system].atoms = atoms
        path, now, seconds = self.paths[system], CLOCKS[clock], []
        atoms = path.atoms
        for _ in range(steps):
            path.move(atoms)
            start = now()
            atoms.get_forces()
            atoms.get_potential_energy()
            seconds.append(now() - start)
        return {"seconds": seconds, "peak_MB": peak_MB(), "n_atoms": len(atoms)}


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[2]))
    serve(Steps(sys.argv[1]))
