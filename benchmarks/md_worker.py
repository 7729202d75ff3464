"""Worker of `md_step.py`: energies and forces through ASE of a student, or of SchNetPack's PaiNN, of one architecture.

python md_worker.py limbeck | schnetpack THREADS [WEIGHTS]

WEIGHTS is a file that `convert_schnetpack.py` wrote, for ours, or SchNetPack's own model file.
"""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from pathlib import Path as Folder

import torch
from ase.calculators.calculator import Calculator
from md_systems import Path, build
from peers import CLOCKS, Answer, peak_MB, serve

CHANNELS, LAYERS, RADIAL, CUTOFF = 128, 3, 20, 5.0
ELEMENTS = [1, 6, 8]


def limbeck(weights: str | None) -> Calculator:
    """A student with SchNetPack's basis and envelope, with SchNetPack's weights where they are given."""
    from mlff import StudentCalculator
    from mlff.deploy.export import save_student
    from mlff.student import PaiNN, from_schnetpack

    if weights is None:
        basis, envelope = "GaussianBasis", "CosineCutoff"
        student = PaiNN(ELEMENTS, CHANNELS, LAYERS, RADIAL, CUTOFF, basis=basis, envelope=envelope)
    else:
        student = from_schnetpack(weights)
    with tempfile.TemporaryDirectory() as folder:
        file = Folder(folder) / "student.safetensors"
        save_student(file, student, {"teacher": {}, "licence": "", "data_fingerprint": "", "accuracy": {}})
        return StudentCalculator(file, device="cpu")


def schnetpack_network() -> torch.nn.Module:
    """SchNetPack's PaiNN of the architecture, with random weights."""
    import recent_torch  # noqa: F401
    import schnetpack as spk

    representation = spk.representation.PaiNN(
        n_atom_basis=CHANNELS,
        n_interactions=LAYERS,
        radial_basis=spk.nn.GaussianRBF(n_rbf=RADIAL, cutoff=CUTOFF),
        cutoff_fn=spk.nn.CosineCutoff(CUTOFF),
    )
    return spk.model.NeuralNetworkPotential(
        representation,
        input_modules=[spk.atomistic.PairwiseDistances()],
        output_modules=[spk.atomistic.Atomwise(n_in=CHANNELS, output_key="energy"), spk.atomistic.Forces()],
    )


def schnetpack(weights: str | None) -> Calculator:
    """SchNetPack's PaiNN behind its own ASE calculator."""
    import recent_torch  # noqa: F401
    from schnetpack.interfaces import SpkCalculator
    from schnetpack.transform import MatScipyNeighborList
    from schnetpack.utils import load_model

    class Trusting(SpkCalculator):
        """Its loader leaves a choice to PyTorch that has changed since: this file is our own, so it may hold code."""

        def _load_model(self, model_file: str) -> torch.nn.Module:
            return load_model(model_file, device="cpu", weights_only=False).eval()

    with tempfile.TemporaryDirectory() as folder:
        if weights is None:
            weights = str(Folder(folder) / "model")
            torch.save(schnetpack_network(), weights)
        return Trusting(
            weights,
            MatScipyNeighborList(cutoff=CUTOFF),
            energy_key="energy",
            force_key="forces",
            energy_unit="eV",
            position_unit="Ang",
            device="cpu",
        )


class Steps:
    """One calculator and the structures it has met."""

    def __init__(self, side: str, weights: str | None = None) -> None:
        torch.manual_seed(0)
        self.make = partial({"limbeck": limbeck, "schnetpack": schnetpack}[side], weights)
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
        answer = {"energy": float(atoms.get_potential_energy()), "largest_force": float(abs(atoms.get_forces()).max())}
        return {"seconds": seconds, "peak_MB": peak_MB(), "n_atoms": len(atoms), **answer}


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[2]))
    serve(Steps(sys.argv[1], *sys.argv[3:4]))
