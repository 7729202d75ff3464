"""Seeds from wherever users have them, and a clear word where a source is wrong."""

import builtins
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.io import write

from mlff.structures.relaxation import relax
from mlff.structures.settings import RelaxationSettings, StructureSettings
from mlff.structures.sources import as_seed, load_seeds
from mlff.teachers.evaluate import TeacherFailed, evaluate
from mlff.teachers.settings import LabellingSettings, TeacherSettings
from mlff.teachers.teacher import Teacher
from training.engines import EngineSettings
from training.errors import InputError

CONFIGS = Path(__file__).parents[3] / "configs"
GFN2 = Teacher(TeacherSettings(**yaml.safe_load((CONFIGS / "teacher" / "gfn2.yaml").read_text())))


class TestEverySource:
    @pytest.mark.parametrize(
        ("source", "formula", "periodic"),
        [
            ("aspirin", "C9H8O4", False),
            ("CH3CH2OH", "C2H6O", False),
            ("smiles:CCO", "C2H6O", False),
            ("CC(=O)N", "C2H5NO", False),
            ("CO", "CO", False),
            ("bulk:Si", "Si2", True),
            ("dry_ice", "C4O8", True),
        ],
    )
    def test_gives_a_clean_structure(self, source, formula, periodic):
        (atoms,) = load_seeds(source)
        assert atoms.get_chemical_formula() == formula and atoms.pbc.all() == periodic
        assert atoms.info["source"] == source and atoms.calc is None
        assert np.isfinite(atoms.positions).all()

    def test_is_the_same_every_time(self):
        first, second = (load_seeds("smiles:CC(C)O")[0].positions for _ in range(2))
        np.testing.assert_array_equal(first, second)

    def test_says_what_charge_and_spin_a_smiles_string_implies(self):
        (acetate,) = load_seeds("smiles:CC(=O)[O-]")
        (methyl,) = load_seeds("smiles:[CH3]")
        assert (acetate.info["charge"], acetate.info["multiplicity"]) == (-1, 1)
        assert (methyl.info["charge"], methyl.info["multiplicity"]) == (0, 2)

    def test_repeats_a_crystal(self):
        (atoms,) = load_seeds("bulk:Si", (2, 2, 2))
        assert len(atoms) == 16
        np.testing.assert_allclose(atoms.get_volume(), 8 * bulk("Si").get_volume())

    def test_does_not_repeat_a_molecule(self):
        with pytest.raises(InputError, match="not periodic"):
            load_seeds("CH4", (2, 1, 1))


def test_aspirin_is_relaxed_with_the_default_teacher():
    (aspirin,) = load_seeds("aspirin")
    forces = evaluate(GFN2.build(), aspirin).forces
    # the file was relaxed to 0.001 eV/Å; the rest is the noise of the self-consistent field
    assert np.linalg.norm(forces, axis=1).max() < 2e-3


class TestFile:
    def test_gives_all_its_frames(self, tmp_path):
        frames = [molecule("CH4"), molecule("H2O"), bulk("Cu", cubic=True)]
        write(tmp_path / "seeds.xyz", frames)
        seeds = load_seeds(str(tmp_path / "seeds.xyz"))
        assert [s.get_chemical_formula() for s in seeds] == ["CH4", "H2O", "Cu4"]
        np.testing.assert_allclose(seeds[2].cell.array, frames[2].cell.array, atol=1e-8)
        assert [bool(s.pbc.all()) for s in seeds] == [False, False, True]

    def test_loses_constraints_results_and_partial_charges(self, tmp_path):
        atoms = molecule("H2O")
        atoms.set_initial_charges([-0.8, 0.41, 0.40])
        atoms.set_constraint(FixAtoms([0]))
        atoms.calc = SinglePointCalculator(atoms, energy=1.0, forces=np.ones((3, 3)))
        write(tmp_path / "water.traj", atoms)
        (seed,) = load_seeds(str(tmp_path / "water.traj"))
        assert seed.calc is None and not seed.constraints and not seed.get_initial_charges().any()
        assert "charge" not in seed.info

    def test_that_is_unreadable_is_named_with_the_reason(self, tmp_path):
        path = tmp_path / "broken.cif"
        path.write_text("this is no crystal")
        with pytest.raises(InputError, match=r"broken.cif: ASE cannot read this file"):
            load_seeds(str(path))

    def test_of_an_unknown_kind_is_named(self, tmp_path):
        path = tmp_path / "seeds.unheard"
        path.write_text("?")
        with pytest.raises(InputError, match=r"seeds.unheard: ASE cannot read this file"):
            load_seeds(str(path))

    def test_that_is_missing_is_named(self):
        with pytest.raises(InputError, match=r"nowhere/seed.xyz: there is no such file"):
            load_seeds("nowhere/seed.xyz")

    def test_with_positions_that_are_not_finite_is_refused(self, tmp_path):
        write(tmp_path / "bad.xyz", Atoms("H2", [[0, 0, 0], [0, 0, np.nan]]))
        with pytest.raises(InputError, match="frame 0 has no atoms or positions that are not finite"):
            load_seeds(str(tmp_path / "bad.xyz"))


class TestWrongName:
    @pytest.mark.parametrize(("source", "hint"), [("CH3CH2OHH", "CH3CH2OH"), ("asprin", "aspirin")])
    def test_names_the_nearest_molecule(self, source, hint):
        with pytest.raises(InputError, match=f"no molecule of that name.*did you mean .*{hint}"):
            load_seeds(source)

    def test_names_a_crystal_ase_does_not_know(self):
        with pytest.raises(InputError, match="bulk:Xx: ASE knows no bulk crystal"):
            load_seeds("bulk:Xx")

    def test_names_a_wrong_smiles_string(self):
        with pytest.raises(InputError, match="RDKit cannot read"):
            load_seeds("smiles:C1CC(")

    def test_says_what_to_install_for_smiles(self, monkeypatch):
        ordinary = builtins.__import__

        def without_rdkit(name, *arguments, **keywords):
            if name.partition(".")[0] == "rdkit":
                raise ModuleNotFoundError("No module named 'rdkit'", name="rdkit")
            return ordinary(name, *arguments, **keywords)

        monkeypatch.setattr(builtins, "__import__", without_rdkit)
        with pytest.raises(InputError, match=r"needs RDKit: pip install 'limbeck\[smiles\]'"):
            load_seeds("smiles:CCO")
        with pytest.raises(InputError, match="pip install rdkit"):
            load_seeds("CCO")


def test_atoms_that_carry_an_ions_charge_keep_it_in_words():
    hydroxide = molecule("OH")
    hydroxide.set_initial_charges([-1, 0])
    assert as_seed(hydroxide, "mine").info["charge"] == -1


class TestRelaxation:
    def test_finds_the_minimum_and_reports_how(self):
        water = molecule("H2O")
        water.positions[1] += 0.1
        result = relax(water, GFN2, RelaxationSettings(fmax=0.01))
        assert result.converged and result.max_force < 0.01 and 0 < result.steps < 100
        assert np.linalg.norm(evaluate(GFN2.build(), result.atoms).forces, axis=1).max() < 0.011
        assert result.atoms.calc is None

    def test_says_when_the_steps_were_too_few(self):
        water = molecule("H2O")
        water.positions[1] += 0.1
        assert not relax(water, GFN2, RelaxationSettings(fmax=0.001, steps=2)).converged

    def test_relaxes_a_cell_to_zero_stress(self):
        emt = Teacher(
            TeacherSettings(name="EMT", calculator="ase.calculators.emt.EMT", properties=["energy", "forces", "stress"])
        )
        result = relax(bulk("Cu", a=3.7), emt, RelaxationSettings(fmax=0.001, cell=True))
        assert np.abs(evaluate(emt.build(), result.atoms, {"stress"}).stress).max() < 1e-3

    def test_a_failing_teacher_is_named(self):
        emt = Teacher(TeacherSettings(name="EMT", calculator="ase.calculators.emt.EMT"))
        with pytest.raises(TeacherFailed, match="No EMT-potential"):
            relax(bulk("Si"), emt, RelaxationSettings())


@pytest.mark.parametrize(
    ("group", "schema"),
    [
        ("teacher", TeacherSettings),
        ("structures", StructureSettings),
        ("engine", EngineSettings),
        ("labelling", LabellingSettings),
    ],
)
def test_every_configuration_file_has_exactly_the_keys_of_its_settings(group, schema):
    files = sorted((CONFIGS / group).glob("*.yaml"))
    assert files
    for path in files:
        content = yaml.safe_load(path.read_text())
        if content is None:
            # an experiment without this group
            continue
        assert set(content) == set(schema.model_fields), path
        if "???" not in content.values():
            schema(**content)
