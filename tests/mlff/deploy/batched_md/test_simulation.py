"""Trajectories of many systems: those ASE makes of each alone, conservative, at the right temperature and volume."""

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.constraints import FixAtoms, FixBondLength
from ase.md.verlet import VelocityVerlet

from mlff.deploy.batched_md import failures
from mlff.deploy.batched_md.observables import read_observables
from mlff.deploy.calculator import StudentCalculator
from mlff.deploy.export import save_student
from training.errors import InputError


@pytest.fixture(scope="module")
def gentle_file(gentle, tmp_path_factory):
    path = tmp_path_factory.mktemp("gentle") / "student.safetensors"
    save_student(path, gentle, {"teacher": {}, "licence": "MIT", "data_fingerprint": "0", "accuracy": {}})
    return path


def test_constant_energy_equals_ases_velocity_verlet(run, mixture, gentle_file):
    ours = run(mixture, steps=50, student=gentle_file)
    for before, after in zip(mixture, ours.structures, strict=True):
        atoms = before.copy()
        atoms.calc = StudentCalculator(gentle_file, dtype="float64", device="cpu")
        VelocityVerlet(atoms, 0.5 * units.fs).run(50)
        # the sums are the same up to their order, and 50 steps let rounding grow a little
        assert np.abs(after.positions - atoms.positions).max() < 1e-8
        assert np.abs(after.get_velocities() - atoms.get_velocities()).max() < 1e-8
        assert np.abs(after.get_forces() - atoms.get_forces()).max() < 1e-8
        assert after.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
        assert np.abs(atoms.positions - before.positions).max() > 0.02


def test_a_system_does_not_notice_its_companions(run, mixture):
    together = run(mixture, steps=25, folder="together").structures
    in_groups = run(mixture, steps=25, folder="groups", max_edges=1).structures
    for n in (0, 3):
        alone = run([mixture[n]], steps=25, folder=f"alone{n}").structures[0]
        assert np.abs(together[n].positions - alone.positions).max() < 1e-10
    for one, other in zip(together, in_groups, strict=True):
        assert np.abs(one.positions - other.positions).max() < 1e-10


def test_the_error_of_the_energy_falls_with_the_square_of_the_time_step(run, mixture):
    def deviation(step_fs, folder):
        run(mixture, steps=round(40 / step_fs), time_step_fs=step_fs, folder=folder, observe_every=1, trajectory=None)
        table = read_observables(run.folder(folder))
        assert len(table["step"]) == len(mixture) * (1 + round(40 / step_fs))
        return [np.ptp(table["total_eV"][table["system"] == n]) for n in range(len(mixture))]

    coarse, fine = deviation(1.0, "coarse"), deviation(0.5, "fine")
    for n in range(4):
        assert 3.0 < coarse[n] / fine[n] < 5.0
        assert fine[n] < 2e-3
    # a single atom has nothing to exchange energy with
    assert coarse[4] < 1e-12


def test_momentum_stays_zero_and_is_no_degree_of_freedom(run):
    result = run([molecule("CH4"), bulk("Si", cubic=True)], temperature_K=300, observe_every=1, steps=20)
    table = read_observables(result.folder)
    start = table["temperature_K"][table["step"] == 0]
    assert start == pytest.approx([300.0, 300.0], rel=1e-12)
    for atoms in result.structures:
        assert np.abs(atoms.get_momenta().sum(axis=0)).max() < 1e-10


def test_the_bath_gives_its_temperature_to_molecules_and_crystals(run):
    """Mean over a batch within four standard errors: 2/f relative variance of every independent kinetic energy."""
    systems = [molecule("CH4"), bulk("Si", cubic=True)] * 10
    bath = {"ensemble": "langevin", "temperature_K": 500.0, "friction_per_ps": 100.0, "seed": 5}
    result = run(systems, steps=300, observe_every=20, trajectory=None, **bath)
    table = read_observables(result.folder)
    late = table["step"] > 60
    directions = np.array([3 * len(atoms) for atoms in systems])[table["system"][late]]
    mean = np.average(table["temperature_K"][late], weights=directions)
    # 20 steps of 0.5 fs are one relaxation time of the velocities, after which kinetic energies correlate by e⁻²
    error = 500 * np.sqrt(2 / (np.tanh(1.0) * directions.sum()))
    assert error < 13 and abs(mean - 500) < 4 * error


def test_a_bath_without_friction_is_no_bath(run, mixture):
    free = run(mixture, steps=20, folder="free")
    bath = run(mixture, steps=20, folder="bath", ensemble="langevin", temperature_K=300.0, friction_per_ps=0.0)
    for a, b in zip(free.structures, bath.structures, strict=True):
        assert np.abs(a.positions - b.positions).max() < 1e-10


def test_an_ideal_gas_has_the_volumes_of_the_isothermal_isobaric_ensemble(run, idle, monkeypatch):
    """``p(V) ∝ V^N exp(−P V / kT)``: mean ``(N + 1) kT/P``, variance ``(N + 1) (kT/P)²``."""
    # atoms of an ideal gas pass through each other
    monkeypatch.setattr(failures, "SMALLEST_DISTANCE", 0.0)
    n_atoms, kelvin, GPa, many = 4, 300.0, 0.05, 300
    unit = units.kB * kelvin / (GPa * units.GPa)
    side = ((n_atoms + 1) * unit) ** (1 / 3)
    random = np.random.default_rng(0)
    gas = Atoms("H4", [[0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 2]], cell=[side] * 3, pbc=True)
    gas.set_momenta(np.sqrt(units.kB * kelvin) * random.normal(size=(4, 3)))
    result = run(
        [gas] * many,
        steps=300,
        student=idle,
        skin=3.0,
        time_step_fs=2.0,
        ensemble="npt",
        temperature_K=kelvin,
        friction_per_ps=60.0,
        pressure_GPa=GPa,
        compressibility_per_GPa=1 / GPa,
        pressure_relaxation_ps=0.05,
        trajectory=None,
        observe_every=50,
    )
    table = read_observables(result.folder)
    late = table["step"] >= 200
    volumes = table["volume_A3"][late] / unit
    # three samples two relaxation times apart; two of them are counted as new
    error = np.sqrt((n_atoms + 1) / (many * 2))
    assert abs(volumes.mean() - (n_atoms + 1)) < 4 * error
    assert volumes.var() == pytest.approx(n_atoms + 1, rel=4 * np.sqrt(2.5 / (2 * many)))
    assert not result.failed


def test_seeds_decide(run):
    systems, bath = [molecule("CH4"), molecule("H2O")], {"ensemble": "langevin", "temperature_K": 300.0}
    first = run(systems, folder="first", seed=1, **bath)
    again = run(systems, folder="again", seed=1, **bath)
    other = run(systems, folder="other", seed=2, **bath)
    for n in range(2):
        assert np.array_equal(first.structures[n].positions, again.structures[n].positions)
        assert np.abs(first.structures[n].positions - other.structures[n].positions).max() > 1e-3


def test_velocities_at_the_start_depend_on_seed_and_place_alone(run):
    water, methane = molecule("H2O"), molecule("CH4")
    one = run([water, methane], steps=1, folder="one", temperature_K=300)
    two = run([water, molecule("CH3CH2OH")], steps=1, folder="two", temperature_K=300)
    assert np.abs(one.structures[0].get_velocities() - two.structures[0].get_velocities()).max() < 1e-12


def test_held_atoms_do_not_move(run):
    atoms = molecule("CH3CH2OH")
    atoms.set_constraint(FixAtoms([0, 3]))
    for ensemble in ("nve", "langevin"):
        after = run([atoms], ensemble=ensemble, temperature_K=400.0, folder=ensemble).structures[0]
        moved = np.linalg.norm(after.positions - atoms.positions, axis=1)
        assert (moved[[0, 3]] == 0).all() and (np.delete(moved, [0, 3]) > 1e-3).all()
        assert after.constraints[0].index.tolist() == [0, 3]


def test_the_given_structures_are_left_alone(run, mixture):
    copies = [atoms.copy() for atoms in mixture]
    run(mixture, steps=5)
    for atoms, copy in zip(mixture, copies, strict=True):
        assert np.array_equal(atoms.positions, copy.positions) and np.array_equal(
            atoms.get_momenta(), copy.get_momenta()
        )


def test_the_pressure_is_kinetic_part_less_stress(run, gentle_file):
    crystal = bulk("Si", cubic=True)
    crystal.rattle(0.05, seed=1)
    result = run([crystal, molecule("H2O")], student=gentle_file, steps=10, temperature_K=300)
    table = read_observables(result.folder)
    last = result.structures[0]
    last.calc = StudentCalculator(gentle_file, dtype="float64", device="cpu")
    expected = -last.get_stress(include_ideal_gas=True)[:3].mean() / units.GPa
    assert table["pressure_GPa"][-2] == pytest.approx(expected, rel=1e-8)
    assert np.isnan(table["pressure_GPa"][-1]) and np.isnan(table["volume_A3"][-1])


def wrong(**changes):
    return {"systems": [molecule("H2O")], "temperature_K": 300.0} | changes


FAULTS = {
    "no system": (wrong(systems=[]), "list of structures is empty"),
    "element": (wrong(systems=[molecule("H2O"), molecule("NH3")]), r"System 1 \(H3N\): The student does not know N"),
    "overlap": (wrong(systems=[Atoms("H2", [[0, 0, 0], [0, 0, 0.1]])]), "System 0 .* 0.1 Å apart"),
    "no temperature": (wrong(temperature_K=None), r"System 0 \(H2O\) has no momenta"),
    "bath without temperature": (wrong(ensemble="langevin", temperature_K=None), "needs a temperature above zero"),
    "typo": (wrong(frame_evry=3), "frame_evry: Extra inputs are not permitted.*frame_every"),
    "npt of a molecule": (wrong(ensemble="npt"), r"System 0 \(H2O\) is not periodic in three directions"),
    "device": (wrong(device="cuda:7"), "cuda:7"),
    "dtype": (wrong(dtype="float16"), "float32 or float64"),
    "too short": (wrong(steps=0.1), "shorter than one step"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_cannot_be_simulated_is_named_before_anything_is_done(name, run, tmp_path):
    arguments, message = FAULTS[name]
    with pytest.raises(InputError, match=message):
        run(**arguments)
    assert not (tmp_path / "md" / "state.safetensors").exists()


def test_an_unknown_constraint_is_named(run):
    atoms = molecule("H2O")
    atoms.set_constraint(FixBondLength(0, 1))
    with pytest.raises(InputError, match="constraint FixBondLength"):
        run([atoms], temperature_K=300)


def test_threads_and_gradients_are_as_before(run, mixture, gentle):
    threads = torch.get_num_threads()
    run(mixture, steps=2)
    assert torch.get_num_threads() == threads and all(p.requires_grad for p in gentle.parameters())
