"""The calculator answers as the model does, quickly refuses what it cannot answer, and never serves a stale result."""

import copy
import logging
import pickle

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.units import Bohr

from mlff import StudentCalculator
from mlff.deploy.calculator import FEW_EDGES
from mlff.graph import AtomGraph
from mlff.neighbors import neighbor_list
from training.errors import InputError
from training.profiling import Profile

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def quartz_like() -> Atoms:
    """A skewed cell smaller than twice the cutoff, with atoms outside it."""
    cell = [[4.9, 0, 0], [-2.4, 4.3, 0], [0.3, 0.2, 5.4]]
    atoms = Atoms("Si2O3", scaled_positions=np.random.default_rng(5).random((5, 3)), cell=cell, pbc=True)
    atoms.positions[:] = [[0, 0, 0], [2.4, 1.2, 2.7], [1.5, 0.3, 0.9], [0.8, 2.6, 3.5], [6.1, 1.9, 4.4]]
    return atoms


def silicon() -> Atoms:
    atoms = bulk("Si", "diamond", 5.43) * (2, 1, 1)
    atoms.rattle(0.1, seed=1)
    return atoms


def slab() -> Atoms:
    atoms = fcc111("Si", (2, 2, 2), a=3.8, vacuum=5.0)
    atoms.rattle(0.05, seed=2)
    return atoms


STRUCTURES = {
    "one atom": lambda: Atoms("O"),
    "water": lambda: molecule("H2O"),
    "ethanol": lambda: molecule("CH3CH2OH"),
    "slab": slab,
    "silicon": silicon,
    "quartz": quartz_like,
}


@pytest.fixture
def calculator(student_file):
    return StudentCalculator(student_file, device="cpu", dtype="float64")


def ask_model(model, atoms, stress=False):
    """The model on one structure, without anything of the calculator in between."""
    edges = neighbor_list(atoms.positions, atoms.cell.array, atoms.pbc, model.cutoff)
    graph = AtomGraph(
        atomic_numbers=torch.tensor(atoms.numbers),
        positions=torch.tensor(atoms.positions),
        cell=torch.tensor(atoms.cell.array)[None],
        receivers=torch.tensor(edges.receivers),
        senders=torch.tensor(edges.senders),
        shifts=torch.tensor(edges.shifts, dtype=torch.float64),
        reverse=torch.tensor(edges.reverse),
        structure_index=torch.zeros(len(atoms), dtype=torch.int64),
        n_structures=1,
    )
    return model(graph, stress=stress)


class TestResults:
    @pytest.mark.parametrize("device", DEVICES)
    @pytest.mark.parametrize("name", STRUCTURES)
    def test_equal_the_model_called_directly(self, student, student_file, device, name):
        atoms = STRUCTURES[name]()
        periodic = atoms.pbc.all()
        atoms.calc = StudentCalculator(student_file, device=device, dtype="float64")
        expected = ask_model(student, atoms, stress=periodic)
        # fp64 rounding of a 16-channel network, on devices that sum in another order
        assert atoms.get_potential_energy() == pytest.approx(expected.energy.item(), abs=1e-9)
        assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
        np.testing.assert_allclose(atoms.get_forces(), expected.forces.detach(), atol=1e-10)
        np.testing.assert_allclose(atoms.get_potential_energies(), expected.energies.detach(), atol=1e-9)
        if periodic:
            np.testing.assert_allclose(atoms.get_stress(voigt=False), expected.stress[0].detach(), atol=1e-11)

    @pytest.mark.parametrize("name", STRUCTURES)
    def test_float32_differs_by_rounding_alone(self, calculator, student_file, name):
        atoms = STRUCTURES[name]()
        atoms.calc = calculator
        exact_energy, exact_forces = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = StudentCalculator(student_file, device="cpu")
        # 1e-6 relative of atomic energies of a few eV, 1e-5 of forces of a few eV/Å
        assert atoms.get_potential_energy() == pytest.approx(exact_energy, abs=1e-5 * len(atoms))
        np.testing.assert_allclose(atoms.get_forces(), exact_forces, atol=5e-5)

    @pytest.mark.parametrize("name", ["ethanol", "slab", "quartz"])
    def test_forces_are_the_slope_of_the_energy(self, calculator, name):
        atoms = STRUCTURES[name]()
        atoms.calc = calculator
        numerical = calculate_numerical_forces(atoms, eps=1e-4)
        # central differences leave eps² times the third derivative and 1e-12 eV of rounding over eps
        np.testing.assert_allclose(atoms.get_forces(), numerical, atol=2e-6)

    @pytest.mark.parametrize("name", ["silicon", "quartz"])
    def test_stress_is_the_slope_of_the_energy_under_strain(self, calculator, name):
        atoms = STRUCTURES[name]()
        atoms.calc = calculator
        numerical = calculate_numerical_stress(atoms, eps=1e-5)
        assert np.abs(numerical).max() > 1e-3
        np.testing.assert_allclose(atoms.get_stress(), numerical, atol=2e-8)

    @pytest.mark.parametrize("name", ["ethanol", "slab"])
    def test_stress_of_what_is_not_periodic_is_refused_and_the_energy_stays(self, calculator, name):
        atoms = STRUCTURES[name]()
        atoms.calc = calculator
        energy = atoms.get_potential_energy()
        with pytest.raises(PropertyNotImplementedError, match="not periodic in three directions"):
            atoms.get_stress()
        assert atoms.get_potential_energy() == energy
        assert "stress" not in calculator.results

    def test_no_autograd(self, calculator, monkeypatch):
        def refuse(*args, **kwargs):
            raise AssertionError("autograd was called")

        monkeypatch.setattr(torch.autograd, "grad", refuse)
        monkeypatch.setattr(torch.Tensor, "backward", refuse)
        atoms = silicon()
        atoms.calc = calculator
        assert np.isfinite(atoms.get_forces()).all() and np.isfinite(atoms.get_stress()).all()


class TestState:
    @pytest.fixture
    def counted(self, calculator, monkeypatch):
        """A calculator that counts its evaluations."""
        calls = []
        answer = calculator._answer

        def count(atoms, stress):
            calls.append(stress)
            return answer(atoms, stress)

        monkeypatch.setattr(calculator, "_answer", count)
        return calculator, calls

    def test_one_call_gives_everything_and_an_unmoved_structure_none(self, counted):
        calculator, calls = counted
        atoms = molecule("H2O")
        atoms.calc = calculator
        atoms.get_forces(), atoms.get_potential_energy(), atoms.get_potential_energies()
        assert calls == [False]
        atoms.copy().get_masses()
        atoms.set_velocities(np.ones((3, 3)))
        atoms.get_forces()
        assert calls == [False]

    def test_stress_is_computed_with_the_forces_once_it_has_been_asked_for(self, counted):
        calculator, calls = counted
        atoms = silicon()
        atoms.calc = calculator
        atoms.get_forces()
        for _ in range(2):
            atoms.rattle(0.01)
            atoms.get_forces(), atoms.get_stress()
        assert calls == [False, False, True, True]

    @pytest.mark.parametrize("change", ["positions", "one coordinate", "numbers", "cell", "pbc"])
    def test_every_change_is_noticed(self, calculator, student, change):
        atoms = silicon()
        atoms.calc = calculator
        atoms.get_potential_energy()
        if change == "positions":
            atoms.rattle(0.05)
        elif change == "one coordinate":
            atoms.positions[3, 2] += 1e-9
        elif change == "numbers":
            atoms.numbers[1] = 6
        elif change == "cell":
            atoms.set_cell(atoms.cell.array * 1.01)
        else:
            atoms.pbc = [True, True, False]
        assert calculator.calculation_required(atoms, ["energy"])
        expected = ask_model(student, atoms)
        np.testing.assert_allclose(atoms.get_forces(), expected.forces.detach(), atol=1e-10)
        assert not calculator.calculation_required(atoms, ["energy", "forces"])

    def test_results_are_not_changed_through_what_was_handed_out(self, calculator):
        atoms = molecule("H2O")
        atoms.calc = calculator
        forces = atoms.get_forces()
        kept = forces.copy()
        forces[:] = 0
        np.testing.assert_array_equal(atoms.get_forces(), kept)
        atoms.positions[0] += 0.1
        later = atoms.get_forces()
        atoms.positions[0] -= 0.1
        assert np.abs(later - atoms.get_forces()).max() > 1e-3

    def test_one_calculator_serves_many_molecules_in_turn(self, calculator, student):
        structures = [make() for make in STRUCTURES.values()] * 2
        for atoms in structures:
            atoms.calc = calculator
        for atoms in structures:
            np.testing.assert_allclose(atoms.get_forces(), ask_model(student, atoms).forces.detach(), atol=1e-10)

    def test_its_atoms_are_those_of_the_last_calculation(self, calculator):
        atoms = molecule("H2O")
        atoms.calc = calculator
        for _ in range(3):
            atoms.rattle(0.01)
            atoms.get_forces()
            np.testing.assert_array_equal(calculator.atoms.positions, atoms.positions)
            assert calculator.atoms is not atoms
        assert calculator.get_atoms().get_potential_energy() == atoms.get_potential_energy()

    @pytest.mark.parametrize("clone", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))], ids=["copy", "pickle"])
    @pytest.mark.parametrize("used", [False, True])
    def test_copies_answer_alike_and_on_their_own(self, calculator, clone, used):
        atoms = quartz_like()
        atoms.calc = calculator
        if used:
            atoms.get_forces()
        twin = clone(atoms)
        np.testing.assert_array_equal(twin.get_forces(), atoms.get_forces())
        np.testing.assert_allclose(twin.get_stress(), atoms.get_stress(), rtol=1e-12)
        twin.positions[0] += 0.1
        twin.get_forces()
        np.testing.assert_array_equal(calculator.atoms.positions, atoms.positions)

    @pytest.mark.parametrize("threads", [1, 3])
    def test_threads_are_set_for_the_calculation_and_given_back(self, student_file, threads, monkeypatch):
        usual = torch.get_num_threads()
        calculator = StudentCalculator(student_file, device="cpu", threads=threads, kernels="torch")
        seen = []
        forward = calculator.model.forward
        monkeypatch.setattr(
            calculator.model, "forward", lambda *a, **k: (seen.append(torch.get_num_threads()), forward(*a, **k))[1]
        )
        atoms = molecule("H2O")
        atoms.calc = calculator
        atoms.get_forces()
        assert seen == [threads] == [calculator.threads_used] and torch.get_num_threads() == usual

    def test_a_small_molecule_takes_one_thread_and_a_large_crystal_those_of_torch(self, student_file, monkeypatch):
        monkeypatch.setattr(torch, "get_num_threads", lambda count=[2]: count[0])
        given = []
        monkeypatch.setattr(torch, "set_num_threads", given.append)
        calculator = StudentCalculator(student_file, device="cpu", kernels="torch")
        calculator.calculate(molecule("H2O"))
        assert given == [1, 2]
        large = quartz_like() * (4, 4, 4)
        calculator.calculate(large)
        neighbors = neighbor_list(large.positions, large.cell.array, large.pbc, calculator.model.cutoff)
        assert len(neighbors.senders) > FEW_EDGES
        assert given == [1, 2]


class TestManyAtOnce:
    @pytest.mark.parametrize("max_edges", [1, 300, 10**6])
    def test_equals_one_by_one(self, calculator, max_edges):
        rng = np.random.default_rng(0)
        structures = [make() for make in STRUCTURES.values()] * 2
        for atoms in structures:
            atoms.positions += rng.normal(0, 0.03, atoms.positions.shape)
        wanted = ("energy", "free_energy", "energies", "forces")
        answers = calculator.calculate_many(structures, wanted, max_edges=max_edges)
        assert len(answers) == len(structures)
        for atoms, answer in zip(structures, answers, strict=True):
            assert tuple(answer) == wanted
            atoms.calc = calculator
            assert answer["energy"] == answer["free_energy"] == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
            np.testing.assert_allclose(answer["forces"], atoms.get_forces(), atol=1e-11)
            np.testing.assert_allclose(answer["energies"], atoms.get_potential_energies(), atol=1e-9)

    def test_stress_of_crystals(self, calculator):
        structures = [silicon(), quartz_like()]
        for atoms, answer in zip(structures, calculator.calculate_many(structures, ["stress"]), strict=True):
            atoms.calc = calculator
            assert list(answer) == ["stress"]
            np.testing.assert_allclose(answer["stress"], atoms.get_stress(), atol=1e-12)

    def test_batches_are_limited_by_edges(self, calculator, monkeypatch):
        sizes: list[int] = []
        forward = calculator.model.forward
        monkeypatch.setattr(
            calculator.model, "forward", lambda g, stress: (sizes.append(g.n_edges), forward(g, stress=stress))[1]
        )
        calculator.calculate_many([molecule("CH4")] * 10 + [silicon()], max_edges=63)
        # methane has 20 edges; the crystal alone is over the limit
        assert sizes[:4] == [60, 60, 60, 20] and sizes[4] > 63 and len(sizes) == 5

    def test_leaves_structures_and_calculator_as_they_were(self, calculator):
        atoms = molecule("H2O")
        atoms.calc = calculator
        atoms.get_forces()
        results, positions = dict(calculator.results), atoms.positions.copy()
        calculator.calculate_many([molecule("CH4"), atoms])
        assert calculator.results.keys() == results.keys() and calculator.results["energy"] == results["energy"]
        np.testing.assert_array_equal(atoms.positions, positions)
        assert not calculator.calculation_required(atoms, ["forces"])

    def test_no_structures_give_no_answers(self, calculator):
        assert calculator.calculate_many([]) == []

    def test_a_wrong_structure_is_named_by_its_place(self, calculator):
        with pytest.raises(InputError, match="Structure 2: The student does not know Cl"):
            calculator.calculate_many([molecule("H2O"), molecule("CH4"), molecule("HCl")])
        with pytest.raises(PropertyNotImplementedError, match="Structure 1 is not periodic"):
            calculator.calculate_many([silicon(), molecule("CH4")], ["stress"])
        with pytest.raises(PropertyNotImplementedError, match="dipole"):
            calculator.calculate_many([silicon()], ["dipole"])


class TestWrongStructures:
    def fails_then_recovers(self, calculator, atoms, message):
        """The error appears for an unknown structure and in the middle of a run, and leaves nothing behind."""
        atoms.calc = calculator
        for _ in range(2):
            with pytest.raises(InputError, match=message):
                atoms.get_forces()
            with pytest.raises(InputError, match=message):
                calculator.calculate_many([atoms])
            good = molecule("CH3CH2OH")
            good.calc = calculator
            assert np.isfinite(good.get_forces()).all()

    def test_an_unknown_element_is_named_with_those_that_are_known(self, calculator):
        self.fails_then_recovers(
            calculator, molecule("CH3Cl"), r"does not know Cl \(atom 1 of the structure\); it knows H, C, O, Si"
        )

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_a_position_that_is_no_number(self, calculator, bad):
        atoms = molecule("CH3CH2OH")
        atoms.positions[3, 1] = bad
        self.fails_then_recovers(calculator, atoms, "Atom 3 has the position")

    def test_a_position_that_becomes_no_number_during_a_run(self, calculator):
        atoms = molecule("CH3CH2OH")
        atoms.calc = calculator
        atoms.get_forces()
        atoms.positions[3, 1] = np.nan
        with pytest.raises(InputError, match="Atom 3 has the position"):
            atoms.get_forces()

    @pytest.mark.parametrize("distance", [0.0, 1e-9, 0.29])
    def test_atoms_on_top_of_each_other_name_the_pair_and_the_units(self, calculator, distance):
        atoms = molecule("CH3CH2OH")
        atoms.positions[8] = atoms.positions[2] + [0, 0, distance]
        self.fails_then_recovers(calculator, atoms, r"O \(atom 2\) and H \(atom 8\) are .* apart.*check the units")

    def test_an_image_on_top_of_an_atom_is_said_to_be_one(self, calculator):
        atoms = Atoms("Si2", positions=[[0.05, 0, 0], [5.95, 0, 0]], cell=[6, 6, 6], pbc=True)
        self.fails_then_recovers(calculator, atoms, "0.1 Å apart through a periodic boundary")

    def test_nanometres(self, calculator):
        atoms = molecule("CH3CH2OH")
        atoms.positions /= 10
        self.fails_then_recovers(calculator, atoms, "1 nm = 10 Å")

    @pytest.mark.parametrize("structure", ["CH3CH2OH", "H2O", "SiH4"])
    def test_bohr_warns_once(self, calculator, structure, recwarn):
        atoms = molecule(structure)
        atoms.calc = calculator
        atoms.get_forces()
        assert not recwarn.list
        calculator = copy.deepcopy(calculator)
        calculator.reset()
        other = molecule("CH4")
        other.calc = calculator
        other.positions /= Bohr
        with pytest.warns(UserWarning, match=r"No two atoms of CH4 .* bohr"):
            other.get_forces()
        recwarn.clear()
        third = molecule("C2H6")
        third.positions /= Bohr
        third.calc = calculator
        third.get_forces()
        assert not recwarn.list

    def test_a_periodic_cell_without_volume(self, calculator):
        self.fails_then_recovers(calculator, Atoms("Si", pbc=True), "no volume")

    def test_no_atoms(self, calculator):
        self.fails_then_recovers(calculator, Atoms(), "no atoms")


class TestConstruction:
    def test_a_run_folder_stands_for_its_student(self, student_file):
        calculator = StudentCalculator(str(student_file.parent), device="cpu")
        assert calculator.metadata["teacher"]["name"] == "gfn2"

    def test_auto_logs_its_choice(self, student_file, caplog):
        with caplog.at_level(logging.INFO, logger="mlff.deploy.calculator"):
            calculator = StudentCalculator(student_file)
        assert calculator.device.type == ("cuda" if torch.cuda.is_available() else "cpu")
        assert len(caplog.messages) == 1 and "The student runs on" in caplog.text

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"dtype": "bfloat16"}, "float32 or float64"),
            ({"device": "abacus"}, "no device 'abacus'"),
            ({"device": "mps"}, "Positions need float64"),
            ({"device": "cuda:63"}, "not available"),
            ({"threads": 0}, "1 or more"),
            ({"skin": -1.0}, "skin is a length"),
        ],
    )
    def test_a_wrong_argument_is_named(self, student_file, arguments, message):
        with pytest.raises(InputError, match=message):
            StudentCalculator(student_file, **arguments)


@pytest.mark.parametrize("kernels", ["compiled", "torch"])
def test_a_profile_tells_neighbours_from_network(student_file, kernels):
    atoms = STRUCTURES["quartz"]()
    atoms.calc = StudentCalculator(student_file, device="cpu", dtype="float64", kernels=kernels)
    atoms.get_forces()
    with Profile() as profile:
        for _ in range(3):
            atoms.rattle(1e-3, seed=1)
            atoms.get_forces()
    assert {name: profile.phases[name].calls for name in ("neighbours", "network")} == {"neighbours": 3, "network": 3}
    assert profile.phases["network"].seconds > 0
