"""Teachers from configuration: built, asked really before anything is spent, and told apart by their fingerprints."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from tblite.ase import TBLite

from mlff.teachers.settings import TeacherSettings
from mlff.teachers.teacher import Teacher
from training.engines import ProcessPool, SerialEngine
from training.errors import ConfigurationError, InputError

HYDROGEN_CRYSTAL = Atoms("H2", [[0, 0, 0], [0.74, 0, 0]], cell=[4, 4, 4], pbc=True)
CONFIGS = Path(__file__).parents[3] / "configs" / "teacher"


def configured(config, **changes):
    return Teacher(TeacherSettings(**{**yaml.safe_load((CONFIGS / f"{config}.yaml").read_text()), **changes}))


def at(calculator, **arguments):
    return Teacher(TeacherSettings(name="mine", calculator=calculator, arguments=arguments))


class EnergyOnly(Calculator):
    implemented_properties = ("energy",)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 1.0}


class WrongAtomEnergies(LennardJones):
    def calculate(self, *arguments, **keywords):
        super().calculate(*arguments, **keywords)
        self.results["energies"] = self.results["energies"] + 0.1


@pytest.mark.parametrize(
    ("name", "atoms", "expected"),
    [
        ("gfn2", molecule("CH3CH2OH"), {"energy", "forces", "energies"}),
        ("gfn1", molecule("H2O"), {"energy", "forces", "energies"}),
        ("gfn1", HYDROGEN_CRYSTAL, {"energy", "forces", "energies", "stress"}),
        ("emt", bulk("Cu"), {"energy", "forces", "energies", "stress"}),
        ("lj", bulk("Ar", a=5.3), {"energy", "forces", "energies", "stress"}),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_configured_teachers_prove_what_they_can_do(name, atoms, expected):
    capabilities = configured(name).check(atoms)
    assert capabilities.properties == expected
    assert 0 < capabilities.seconds_per_call < 5 and capabilities.notes == ()


class TestCapabilities:
    def test_a_teacher_without_forces_is_refused_by_name(self):
        with pytest.raises(InputError, match=r"EnergyOnly cannot teach: it has no forces"):
            Teacher.from_calculator(EnergyOnly()).check(molecule("H2O"))

    def test_atom_energies_that_do_not_sum_to_the_energy_are_dropped_with_a_note(self):
        capabilities = Teacher.from_calculator(WrongAtomEnergies()).check(bulk("Ar", a=1.6, cubic=True))
        assert "energies" not in capabilities.properties
        assert "do not sum" in capabilities.notes[0]

    def test_and_refused_where_the_run_needs_them(self):
        with pytest.raises(InputError, match=r"WrongAtomEnergies cannot give energies for Ar4.*do not sum"):
            Teacher.from_calculator(WrongAtomEnergies()).check(bulk("Ar", a=1.6, cubic=True), {"energies"})

    def test_stress_of_a_molecule_is_refused_where_it_is_needed(self):
        with pytest.raises(InputError, match=r"cannot give stress for H2O.*not periodic"):
            configured("gfn2").check(molecule("H2O"), {"stress"})

    def test_an_element_the_teacher_does_not_know_is_found_before_anything_is_spent(self):
        with pytest.raises(InputError, match=r"EMT fails on the first structure \(Si2\)"):
            configured("emt").check(bulk("Si"))

    def test_a_cost_is_said_in_words(self):
        capabilities = configured("emt").check(bulk("Cu"))
        words = type(capabilities)(capabilities.properties, 0.0061).cost(3400, 2)
        assert words == "3,400 teacher calls × 6.1 ms / 2 workers ≈ 10 s"


class TestFingerprint:
    def test_is_the_same_in_another_process(self):
        code = (
            "import yaml; from mlff.teachers.teacher import Teacher, TeacherSettings\n"
            f"print(Teacher(TeacherSettings(**yaml.safe_load(open({str(CONFIGS / 'gfn2.yaml')!r})))).fingerprint())"
        )
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert other.stdout.strip() == configured("gfn2").fingerprint()

    def test_depends_on_what_the_numbers_depend_on_and_on_nothing_else(self):
        ours = configured("gfn2").fingerprint()
        arguments = configured("gfn2").settings.arguments
        assert configured("gfn2", arguments={**arguments, "accuracy": 1.0}).fingerprint() != ours
        assert configured("gfn1").fingerprint() != ours
        assert configured("gfn2", name="xTB", licence="other", citation="none").fingerprint() == ours

    def test_follows_the_content_of_a_file_and_not_its_place(self, tmp_path):
        first, second = tmp_path / "a.model", tmp_path / "b.model"
        first.write_text("weights")
        second.write_text("weights")
        before = at("ase.calculators.emt.EMT", model=str(first)).fingerprint()
        assert at("ase.calculators.emt.EMT", model=str(second)).fingerprint() == before
        second.write_text("other weights")
        assert at("ase.calculators.emt.EMT", model=str(second)).fingerprint() != before

    def test_of_a_live_calculator_follows_its_parameters(self):
        live = [Teacher.from_calculator(TBLite(method=m, verbosity=0)) for m in ("GFN1-xTB", "GFN2-xTB", "GFN2-xTB")]
        first, second, third = (teacher.fingerprint() for teacher in live)
        assert first != second and second == third

    def test_travels_with_the_description_as_json(self):
        described = json.loads(json.dumps(configured("gfn2").describe()))
        assert described["fingerprint"] == configured("gfn2").fingerprint()
        assert described["version"].startswith("tblite ") and "LGPL" in described["licence"]


class TestBuildingFromAPath:
    @pytest.mark.parametrize(
        ("path", "message"),
        [
            ("mace.calculators.mace_mp", "package mace is not installed: pip install mace-torch"),
            ("some_potential.Model", "package some_potential is not installed: pip install some-potential"),
            ("tblite.ase.TBlite", "module tblite.ase has no TBlite; did you mean TBLite"),
            ("tblite.nowhere.TBLite", "cannot be imported: No module named 'tblite.nowhere'"),
        ],
    )
    def test_a_wrong_path_is_named_with_the_remedy(self, path, message):
        with pytest.raises(ConfigurationError, match=message):
            at(path).build()

    def test_refused_arguments_are_named(self):
        with pytest.raises(ConfigurationError, match=r"LJ: .*refuses teacher.arguments=\{'sigma': 'wide'\}"):
            Teacher(
                TeacherSettings(name="LJ", calculator="ase.calculators.lj.LennardJones", arguments={"sigma": "wide"})
            ).build()

    def test_what_is_no_calculator_is_refused(self):
        with pytest.raises(InputError, match=r"ase.build.molecule gives a Atoms, which is no ASE calculator"):
            at("ase.build.molecule", name="H2O").build()

    @pytest.mark.parametrize("path", ["EMT", "ase calculators", "", "ase..EMT"])
    def test_what_is_no_dotted_path_is_refused_at_once(self, path):
        with pytest.raises(ValueError, match="dotted path of an ASE calculator"):
            at(path)

    def test_a_student_needs_energy_and_forces(self):
        with pytest.raises(ValueError, match="add forces"):
            configured("emt", properties=["energy"])

    def test_state_decides_between_a_fresh_calculator_and_one_for_the_process(self):
        assert configured("gfn2").calculator() is not configured("gfn2").calculator()
        assert configured("lj").calculator() is configured("lj").calculator()


class TestLiveCalculator:
    def test_is_the_one_that_was_given(self):
        calculator = EMT()
        assert Teacher.from_calculator(calculator).calculator() is calculator

    def test_declares_what_it_implements(self):
        assert set(Teacher.from_calculator(EMT()).settings.properties) == {"energy", "forces", "energies", "stress"}

    def test_stays_in_this_process_and_says_so(self):
        class Listener:
            said = ""

            def say(self, text):
                self.said += text

        listener = Listener()
        engine = Teacher.from_calculator(EMT()).engine(ProcessPool(2), listener)
        assert isinstance(engine, SerialEngine) and "live calculator" in listener.said

    def test_what_is_no_calculator_is_refused(self):
        with pytest.raises(InputError, match="no ASE calculator"):
            Teacher.from_calculator(Atoms("H"))


def test_workers_do_not_load_torch(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    from worker_tasks import loaded_modules

    rooms = ("mlff.teachers.labelling", "mlff.structures.sampling", "mlff.data.store", "training.progress")
    seen = []
    ProcessPool(1).run(loaded_modules, [rooms], lambda _, modules: seen.extend(modules))
    assert set(rooms) <= set(seen)
    assert not {"torch", "pytorch_lightning", "torch_geometric", "wandb"} & set(seen)


def test_gfn2_forces_are_reproducible_whatever_was_asked_before():
    """tblite's default accuracy leaves 2e-4 eV/Å between a warm and a cold start; ours must leave less than 1e-4."""
    atoms = molecule("CH3CH2OH")
    random = np.random.default_rng(0)
    warm = configured("gfn2").build()
    for _ in range(10):
        moved = atoms.copy()
        moved.positions += random.normal(scale=0.02, size=moved.positions.shape)
        cold = configured("gfn2").build()
        np.testing.assert_allclose(warm.get_forces(moved), cold.get_forces(moved), rtol=0, atol=1e-4)
