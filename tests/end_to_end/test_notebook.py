"""`mlff.distil`, the same run from a script."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

import mlff
from training.errors import ConfigurationError, InputError

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(300)]

NO_GATES = {f"validation.gates.{name}": None for name in (
    "force_mae_meV_per_A", "energy_mae_meV_per_atom", "nve_drift_meV_per_atom_per_ps", "nve_drift_over_kinetic_spread",
    "bond_deviation_A",
)}  # fmt: skip


class EnergyAndForces(LennardJones):
    """A calculator without energies per atom, as most are."""

    implemented_properties = ("energy", "forces")


def overrides(root: Path, tiny: list[str]) -> dict[str, object]:
    pairs = (text.split("=", 1) for text in tiny)
    values: dict[str, Any] = {key: None if value == "null" else value for key, value in pairs}
    return {**values, **NO_GATES, "run.root": root}


def test_a_live_calculator_teaches_a_crystal(limbeck, tmp_path):
    copper = bulk("Cu", cubic=True)
    before = copper.positions.copy()
    given = overrides(tmp_path, limbeck.TINY) | {"stages.energy.loss_weights.stress": 1.0, "structures.stride": 2}
    teacher = EMT()
    distilled = mlff.distil(copper, teacher=teacher, **given)
    assert (copper.positions == before).all() and copper.calc is None
    assert distilled.folder.is_relative_to(tmp_path)
    assert (distilled.folder / "report.html").exists()
    assert 0 < distilled.summary["force_mae_meV_per_A"] < distilled.summary["force_mae_of_zero_meV_per_A"] * 1.5
    assert distilled.summary["stress_mae_meV_per_A3"] > 0
    assert distilled.calculator.metadata["teacher"]["name"] == "EMT"
    copper.calc = distilled.calculator
    copper.rattle(0.05)
    assert np.isfinite(copper.get_stress()).all() and copper.get_stress().shape == (6,)

    # the same call finds its run; the student is not trained again
    written = (distilled.folder / "student.safetensors").stat().st_mtime_ns
    again = mlff.distil(bulk("Cu", cubic=True), teacher=EMT(), **given)
    assert again.folder == distilled.folder and again.summary == distilled.summary
    assert (again.folder / "student.safetensors").stat().st_mtime_ns == written


def test_a_calculator_of_energy_and_forces_alone_teaches(limbeck, tmp_path, capsys):
    argon = Atoms("Ar3", [[0, 0, 0], [3.8, 0, 0], [1.9, 3.3, 0]])
    given = overrides(tmp_path, limbeck.TINY) | {
        "structures.temperatures": [10, 20],
        "structures.held_out.temperature": 10,
        "structures.gates.max_bond": 3.0,
        "structures.gates.fragments": True,
        "validation": "accuracy",
    }
    given = {key: value for key, value in given.items() if not key.startswith("validation.molecular_dynamics.")}
    distilled = mlff.distil(argon, teacher=EnergyAndForces(sigma=3.4, epsilon=0.0103, rc=20.0), **given)
    assert distilled.summary["force_mae_meV_per_A"] > 0
    assert "stages.forces.loss_weights.energies" in capsys.readouterr().out


class TestMistakes:
    def test_an_unknown_key_is_named_with_the_nearest(self, tmp_path):
        with pytest.raises(ConfigurationError, match=r"structures\.stepps; did you mean structures\.steps\?"):
            mlff.distil(bulk("Cu"), teacher=EMT(), structures__stepps=3, run__root=tmp_path)

    def test_a_teacher_is_a_calculator_or_a_name(self, tmp_path):
        with pytest.raises(InputError, match="no ASE calculator"):
            mlff.distil(bulk("Cu"), teacher=EMT, run__root=tmp_path)
        with pytest.raises(ConfigurationError, match="gfn2"):
            mlff.distil(molecule("H2O"), teacher="gfn3", run__root=tmp_path)

    def test_nothing_is_no_structure(self):
        with pytest.raises(InputError, match="Atoms"):
            mlff.distil([])
        with pytest.raises(InputError, match="Atoms"):
            mlff.distil("aspirin")

    def test_labels_from_a_file_are_for_the_command(self, tmp_path):
        with pytest.raises(ConfigurationError, match="experiment=labelled"):
            mlff.distil(molecule("H2O"), data__train="mine.xyz", run__root=tmp_path)

    def test_a_supercell_of_a_molecule_is_refused(self, tmp_path):
        with pytest.raises(InputError, match="not periodic"):
            mlff.distil(molecule("H2O"), structures__supercell=[2, 1, 1], tracker="none", run__root=tmp_path)
        assert not list(tmp_path.rglob("*.safetensors"))
