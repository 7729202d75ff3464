"""The committed student does what the README says: molecular dynamics without training."""

from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet

from mlff import StudentCalculator
from mlff.structures.sources import load_seeds

FOLDER = Path(__file__).resolve().parents[2] / "checkpoints" / "reference" / "aspirin_gfn2"


@pytest.fixture
def aspirin():
    (atoms,) = load_seeds("aspirin")
    return atoms


def test_runs_aspirin_at_constant_energy(aspirin):
    aspirin.calc = StudentCalculator(FOLDER / "student.safetensors", device="cpu", dtype="float64")
    MaxwellBoltzmannDistribution(aspirin, temperature_K=300, rng=np.random.default_rng(0))
    dynamics = VelocityVerlet(aspirin, 0.5 * units.fs)
    energies = []
    for _ in range(40):
        dynamics.run(5)
        energies.append(aspirin.get_total_energy())
    # 0.5 fs resolves the stretches of hydrogen to 0.1 meV/atom; a jump in the energy surface would be larger
    assert np.ptp(energies) / len(aspirin) < 1e-3


def test_agrees_with_its_teacher_as_its_card_says(aspirin):
    from mlff.teachers.evaluate import evaluate
    from mlff.teachers.settings import TeacherSettings
    from mlff.teachers.teacher import Teacher

    calculator = StudentCalculator(FOLDER, device="cpu")
    described = {k: v for k, v in calculator.metadata["teacher"].items() if k in TeacherSettings.model_fields}
    teacher = Teacher(TeacherSettings(**described))
    errors = []
    for seed in range(5):
        atoms = aspirin.copy()
        atoms.rattle(0.03, seed=seed)
        labels = evaluate(teacher.calculator(), atoms)
        atoms.calc = calculator
        errors.append(np.abs(atoms.get_forces() - labels.forces).mean())
    stated = calculator.metadata["accuracy"]["force_mae_meV_per_A"]
    # other structures than those of the card, so of its size and not its value
    assert 1000 * np.mean(errors) < 3 * stated


def test_has_a_card_with_its_licence():
    card = (FOLDER / "README.md").read_text()
    assert "LGPL" in card and "GFN2-xTB" in card
