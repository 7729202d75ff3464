"""The compiled program against the network in torch, its tables against the functions they stand for, its registers and
products against numpy."""

import os
import subprocess
import sys

import numba
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from mlff.deploy.compiled import CompiledEvaluator, radial_table
from mlff.deploy.graphs import Structure, join
from mlff.kernels.products import compiled, in_panels
from mlff.kernels.tables import tabulate
from mlff.neighbors import SkinNeighborList, neighbor_list
from mlff.student import PaiNN

CPU = torch.device("cpu")


def make_student(dtype=torch.float64, **changes) -> PaiNN:
    torch.manual_seed(3)
    sizes = {"channels": 24, "layers": 2, "radial": 8, "cutoff": 4.0} | changes
    model = PaiNN([1, 6, 8, 14], **sizes)
    model.set_reference({1: -13.6, 6: -1030.0, 8: -2043.0, 14: -7870.0}, energy_scale=3.0)
    return model.to(dtype).requires_grad_(False)


def rattled(atoms: Atoms) -> Atoms:
    atoms = atoms.copy()
    atoms.rattle(0.1, seed=1)
    return atoms


def slab() -> Atoms:
    atoms = bulk("Si", cubic=True) * (1, 1, 2)
    atoms.pbc = (True, True, False)
    return atoms


STRUCTURES = {
    "one atom": Atoms("O"),
    "two atoms without an edge": Atoms("H2", [[0, 0, 0], [0, 0, 9.0]]),
    "ethanol": rattled(molecule("CH3CH2OH")),
    "a cell smaller than the cutoff": rattled(bulk("Si")),
    "a slab": rattled(slab()),
    "a crystal in several tasks": rattled(bulk("Si", cubic=True) * (2, 2, 2)),
}


def in_torch(model: PaiNN, atoms: Atoms):
    edges = neighbor_list(atoms.positions, atoms.cell.array, atoms.pbc, model.cutoff)
    graph = join([Structure(atoms.numbers, atoms.positions, atoms.cell.array, edges)], CPU)
    return model(graph, stress=True)


def evaluator(model: PaiNN, skin: float = 0.5) -> CompiledEvaluator:
    return CompiledEvaluator(model, SkinNeighborList(model.cutoff, skin), lambda *_: None)


def check(model: PaiNN, program: CompiledEvaluator, atoms: Atoms, tolerance: float, threads: int = 1) -> None:
    truth, answer = in_torch(model, atoms), program.evaluate(atoms, True, threads)
    largest = max(1.0, truth.forces.abs().max().item())
    np.testing.assert_allclose(answer.forces, truth.forces, rtol=0, atol=tolerance * largest)
    # energies of a few eV above references of thousands, which are float64
    np.testing.assert_allclose(answer.energies, truth.energies, rtol=0, atol=max(10 * tolerance, 2e-12))
    assert answer.energy == pytest.approx(answer.energies.sum(), abs=1e-9)
    if atoms.pbc.all():
        virial = 0.5 * (answer.virial + answer.virial.T) / atoms.get_volume()
        np.testing.assert_allclose(virial, truth.stress[0], rtol=0, atol=tolerance)


class TestEqualsTheNetwork:
    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=str)
    @pytest.mark.parametrize(
        "sizes",
        [
            {},
            {"layers": 1, "channels": 5},
            {"layers": 3, "channels": 32, "radial": 20, "basis": "GaussianBasis", "envelope": "CosineCutoff"},
        ],
        ids=["two layers", "one layer, odd channels", "as in SchNetPack"],
    )
    def test_for_structures_of_every_kind_in_turn(self, dtype, tolerance, sizes):
        """One program, so that its memory grows, shrinks in use and is used again."""
        model = make_student(dtype, **sizes)
        program = evaluator(model)
        for _ in range(2):
            for atoms in STRUCTURES.values():
                check(model, program, atoms, tolerance)

    def test_while_atoms_move_between_rebuilt_lists_and_the_cell_changes(self):
        model = make_student()
        program = evaluator(model)
        atoms = STRUCTURES["a slab"].copy()
        rng = np.random.default_rng(0)
        for step in range(12):
            atoms.positions += rng.normal(0, 0.03, atoms.positions.shape)
            if step % 4 == 3:
                atoms.set_cell(atoms.cell.array * 1.01, scale_atoms=True)
            check(model, program, atoms, 1e-10)
        assert 3 < program.lists.builds < 12

    def test_for_any_number_of_threads_to_the_last_bit(self):
        program = evaluator(make_student(torch.float32))
        atoms = STRUCTURES["a crystal in several tasks"]
        answers = [program.evaluate(atoms, True, threads) for threads in (1, 2, 3, 64, 1)]
        for answer in answers[1:]:
            np.testing.assert_array_equal(answer.forces, answers[0].forces)
            np.testing.assert_array_equal(answer.energies, answers[0].energies)
            np.testing.assert_array_equal(answer.virial, answers[0].virial)

    def test_threads_that_come_one_after_the_other_get_to_the_end(self):
        """A pool may give fewer threads than asked for; then one does the work of all and nobody waits for it."""
        code = (
            "import numpy as np, torch; from tests.mlff.kernels.test_inference import *;"
            "p = evaluator(make_student()); a = STRUCTURES['a crystal in several tasks'];"
            "print(np.abs(p.evaluate(a, False, 2).forces - p.evaluate(a, False, 1).forces).max())"
        )
        environment = {**os.environ, "OMP_THREAD_LIMIT": "1", "NUMBA_NUM_THREADS": "2", "PYTHONPATH": "."}
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=environment)
        assert run.stdout.strip() == "0.0", run.stderr


class TestTables:
    @pytest.mark.parametrize("envelope", ["PolynomialCutoff", "CosineCutoff"])
    @pytest.mark.parametrize("radial", [8, 20])
    def test_keep_forces_within_their_promise(self, radial, envelope):
        """The default table of float32, in float64 arithmetic, so that only the table differs."""
        model = make_student(radial=radial, envelope=envelope)
        atoms = STRUCTURES["ethanol"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mlff.deploy.compiled.TOLERANCE", {torch.float64: 1e-6})
            answer = evaluator(model).evaluate(atoms, False, 1)
        difference = np.abs(answer.forces - in_torch(model, atoms).forces.numpy()).max()
        assert 0 < difference < 1e-5

    def test_forces_are_the_slope_of_the_tabulated_energy(self):
        """A table so coarse that its forces are wrong; as a slope of its own energy they are right, so it conserves."""
        model = make_student(radial=20)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mlff.deploy.compiled.TOLERANCE", {torch.float64: 1e-2})
            program = evaluator(model)
        atoms = STRUCTURES["ethanol"].copy()
        forces = program.evaluate(atoms, False, 1).forces
        assert np.abs(forces - in_torch(model, atoms).forces.numpy()).max() > 1e-5
        step = 3e-5
        for atom, axis in [(0, 0), (4, 1), (8, 2)]:
            energies = []
            for sign in (1, -1):
                moved = atoms.copy()
                moved.positions[atom, axis] += sign * step
                energies.append(program.evaluate(moved, False, 1).energy)
            # central differences leave step² times the third derivative and 1e-12 eV of rounding over the step
            assert (energies[1] - energies[0]) / (2 * step) == pytest.approx(forces[atom, axis], abs=2e-6)

    def test_vanish_with_their_slopes_at_the_cutoff(self):
        model = make_student()
        table = radial_table(model, 1e-6)
        ends = np.array([model.cutoff])
        assert np.abs(table.values(ends)).max() < 1e-14 and np.abs(table.values(ends, 1)).max() < 1e-12

    def test_the_error_falls_with_the_sixth_power_of_the_spacing(self):
        def wave(d):
            return np.sin(3 * (d[:, None] - 5)) * (d[:, None] - 5), (
                3 * np.cos(3 * (d[:, None] - 5)) * (d[:, None] - 5) + np.sin(3 * (d[:, None] - 5))
            )

        coarse, fine = tabulate(wave, 0.5, 5.0, 1e-3), tabulate(wave, 0.5, 5.0, 1e-7)
        halvings = np.log2(fine.intervals / coarse.intervals)
        # slopes lose one power
        assert np.log2(coarse.error / fine.error) / halvings == pytest.approx(5, abs=0.6)

    def test_a_tolerance_out_of_reach_is_refused(self):
        with pytest.raises(ValueError, match="not 1e-09"):
            tabulate(lambda d: (np.sqrt(5 - d)[:, None], -0.5 / np.sqrt(5.1 - d)[:, None]), 0.5, 5.0, 1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [1, 4, 7, 12, 13, 25])
def test_products_equal_numpy(rows, dtype):
    rng = np.random.default_rng(rows)
    a, b, c = (rng.normal(size=shape).astype(dtype) for shape in ((rows + 12, 40), (40, 96), (rows + 12, 96)))
    out, bias = np.zeros_like(c), c[0].copy()
    panels = in_panels(b)
    tolerance = 100 * np.finfo(dtype).eps
    multiply = compiled(numba.from_dtype(np.dtype(dtype))).multiply.ctypes
    multiply(rows, 40, 96, at(a), 40, at(panels), at(c), 96, at(out), 96)
    np.testing.assert_allclose(out[:rows], (c + a @ b)[:rows], atol=tolerance)
    multiply(rows, 40, 96, at(a), 40, at(panels), at(bias), 0, at(out), 96)
    np.testing.assert_allclose(out[:rows], (bias + a @ b)[:rows], atol=tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("rows", "depth"), [(4, 1), (12, 7), (24, 48), (36, 5)])
def test_sums_of_outer_products_equal_numpy(rows, depth, dtype):
    rng = np.random.default_rng(depth)
    a, b, before = (rng.normal(size=shape).astype(dtype) for shape in ((depth, rows + 3), (depth, 64), (rows, 96)))
    out = before.copy()
    compiled(numba.from_dtype(np.dtype(dtype))).add_transposed.ctypes(
        rows, depth, 64, at(a), rows + 3, at(b), 64, at(out), 96
    )
    before[:, :64] += a[:, :rows].T @ b
    np.testing.assert_allclose(out, before, atol=100 * np.finfo(dtype).eps * depth)


def at(array: np.ndarray) -> int:
    """Address of an array."""
    return array.ctypes.data
