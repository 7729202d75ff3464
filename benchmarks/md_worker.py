"""Worker of `md_step.py` and `teacher_step.py`: energies and forces through ASE, of ours or of another calculator.

python md_worker.py THREADS limbeck | schnetpack | graph_pes | default_student | gfn2 [WEIGHTS]

WEIGHTS is a file that `convert_schnetpack.py` wrote, for ours, or SchNetPack's own model file.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path as Folder
from typing import Any

import torch
from ase.calculators.calculator import Calculator
from md_systems import Path, build
from peers import CLOCKS, Answer, peak_MB, serve

CHANNELS, LAYERS, RADIAL, CUTOFF = 128, 3, 20, 5.0
ELEMENTS = [1, 6, 8]


def limbeck(weights: str | None = None) -> Calculator:
    """A student with SchNetPack's basis and envelope, with SchNetPack's weights where they are given."""
    from mlff.student import PaiNN, from_schnetpack

    if weights is not None:
        return exported(from_schnetpack(weights))
    basis, envelope = "GaussianBasis", "CosineCutoff"
    return exported(PaiNN(ELEMENTS, CHANNELS, LAYERS, RADIAL, CUTOFF, basis=basis, envelope=envelope))


def default_student() -> Calculator:
    """A student of the size that ``train.py`` makes unless told otherwise, with random weights."""
    from mlff.student import PaiNN

    return exported(PaiNN(ELEMENTS))


def exported(student: Any) -> Calculator:
    """The calculator of a student that has been written to a file, as a user has it."""
    from mlff import StudentCalculator
    from mlff.deploy.export import save_student

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


def schnetpack(weights: str | None = None) -> Calculator:
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


def graph_pes_network() -> torch.nn.Module:
    """graph-pes' PaiNN of the architecture, with random weights."""
    from graph_pes.models import PaiNN

    network = PaiNN(cutoff=CUTOFF, channels=CHANNELS, radial_features=RADIAL, layers=LAYERS)
    for parameter in network.modules():
        if hasattr(parameter, "register_elements"):
            parameter.register_elements(ELEMENTS)
    return network


def graph_pes() -> Calculator:
    """graph-pes' PaiNN behind its own ASE calculator."""
    return graph_pes_network().ase_calculator()


def gfn2() -> Calculator:
    """GFN2-xTB as the default teacher has it."""
    from omegaconf import OmegaConf

    from mlff.teachers.settings import TeacherSettings
    from mlff.teachers.teacher import Teacher

    configured = OmegaConf.load(Folder(__file__).parents[1] / "configs" / "teacher" / "gfn2.yaml")
    settings = OmegaConf.to_container(configured)
    return Teacher(TeacherSettings.model_validate(settings)).build()


SIDES: dict[str, Callable[..., Calculator]] = {
    "limbeck": limbeck,
    "schnetpack": schnetpack,
    "graph_pes": graph_pes,
    "default_student": default_student,
    "gfn2": gfn2,
}


class Steps:
    """One calculator and the structures it has met."""

    def __init__(self, side: str, *weights: str) -> None:
        torch.manual_seed(0)
        self.make = partial(SIDES[side], *weights)
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
    torch.set_num_threads(int(sys.argv[1]))
    serve(Steps(*sys.argv[2:]))
