"""The program of Triton's kernels against the network in torch, and what it does with structures of changing size."""

import copy

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from mlff.deploy.compiled import CompiledEvaluator, gpu_student
from mlff.deploy.graphs import Structure, join
from mlff.kernels.cuda_graph import Capacity, CapacityExceeded
from mlff.kernels.triton_memory import Network
from mlff.kernels.triton_products import SplitProducts
from mlff.kernels.triton_program import Program, precision_of_products
from mlff.neighbors import SkinNeighborList, neighbor_list
from mlff.student import PaiNN
from mlff.student.weights import tabulated_radial, weights_of

pytestmark = pytest.mark.usefixtures("tight")

CUTOFF = 3.0


def make_student(device, dtype=torch.float64, **changes) -> PaiNN:
    torch.manual_seed(3)
    model = PaiNN([1, 8, 14], **{"channels": 5, "layers": 2, "radial": 6, "cutoff": CUTOFF} | changes)
    model.set_reference({1: -13.6, 8: -2043.0, 14: -7870.0}, energy_scale=3.0)
    return model.to(device, dtype).requires_grad_(False)


def rattled(atoms: Atoms, seed: int = 1) -> Atoms:
    atoms = atoms.copy()
    atoms.rattle(0.05, seed=seed)
    return atoms


def turned(atoms: Atoms) -> Atoms:
    """Rotated, reflected, moved, in another order."""
    atoms = atoms[::-1]
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    atoms.positions = atoms.positions @ turn + [3.0, -20.0, 7.0]
    atoms.info["turn"] = turn
    return atoms


WATER = rattled(molecule("H2O"))
PAIR = Atoms("OH", [[0, 0, 0], [0, 0.7, 0.6]])
# its atom sees four images of itself
CRYSTAL = Atoms("Si", cell=[[2.5, 0.1, 0.0], [0.2, 2.6, 0.0], [0.0, 0.3, 7.0]], pbc=True)
BATCH = [WATER, Atoms("O"), CRYSTAL]


def graph_of(structures, device, skin=0.0):
    def structure(atoms):
        edges = neighbor_list(atoms.positions, atoms.cell.array, atoms.pbc, CUTOFF + skin)
        return Structure(atoms.numbers, atoms.positions, atoms.cell.array, edges)

    return join([structure(atoms) for atoms in structures], device)


def ask(model, structures, kernels):
    """What the network says with some kernels, the skin in its graph."""
    model.kernels = kernels
    with torch.no_grad():
        return model(graph_of(structures, model.embedding.weight.device, skin=0.4), stress=True)


class TestEqualsTheNetwork:
    @pytest.mark.parametrize(
        ("dtype", "sizes"),
        [
            (torch.float64, {"layers": 3}),
            (torch.float32, {"channels": 8, "radial": 12, "basis": "GaussianBasis", "envelope": "CosineCutoff"}),
        ],
        ids=["float64, by products", "float32, atom by atom, as in SchNetPack"],
    )
    def test_energies_forces_and_stress_of_a_batch(self, device, dtype, sizes, monkeypatch):
        """A molecule, an atom alone and a crystal whose atom sees itself, edges beyond the cutoff among them."""
        if dtype == torch.float32:
            monkeypatch.setattr("mlff.kernels.triton_program.FEW_ATOMS", 16)
        model = make_student(device, dtype, **sizes)
        truth, found = ask(model, BATCH, "reference"), ask(model, BATCH, "triton")
        largest = float(truth.forces.abs().max())
        # energies are a few eV above references of thousands; float32 keeps seven digits of the few
        bounds = (1e-10, 1e-10, 2e-12) if dtype == torch.float64 else (1e-5 * largest, 1e-6, 1e-5)
        assert largest > 0.1 and float(truth.stress[2].abs().max()) > 1e-4
        torch.testing.assert_close(found.forces, truth.forces, rtol=0, atol=bounds[0])
        torch.testing.assert_close(found.stress, truth.stress, rtol=0, atol=bounds[1])
        torch.testing.assert_close(found.energies, truth.energies, rtol=0, atol=bounds[2])
        torch.testing.assert_close(found.energy, truth.energy, rtol=0, atol=3 * bounds[2])

    @pytest.mark.skipif(torch.cuda.is_available(), reason="measures rounding, which the interpreter shows as well")
    def test_split_products_lose_little_of_float32_and_plain_tf32_much(self, device, monkeypatch):
        monkeypatch.setattr("mlff.kernels.triton_program.FEW_ATOMS", 0)
        model = make_student(device, torch.float32, channels=16)
        exact = ask(copy.deepcopy(model).double(), BATCH, "reference").forces
        largest = float(exact.abs().max())
        errors = {kernels: float((ask(model, BATCH, kernels).forces - exact).abs().max()) for kernels in KERNELS}
        # one part alone is what TF32 would make of it
        monkeypatch.setattr(SplitProducts, "_split", first_part_alone)
        rough = float((ask(model, BATCH, "triton-3xtf32").forces - exact).abs().max())
        assert max(errors.values()) < 3e-6 * largest
        assert rough > 3e-4 * largest

    def test_follows_the_weights_and_leaves_what_it_cannot_answer_to_the_reference(self, device, caplog):
        model, pair = make_student(device, layers=1), PAIR.copy()
        before = ask(model, [pair], "triton").forces
        model.readout.second.weight.mul_(1.5)
        after, truth = ask(model, [pair], "triton").forces, ask(model, [pair], "reference").forces
        torch.testing.assert_close(after, truth, rtol=0, atol=1e-10)
        assert (after - before).abs().max() > 0.1
        pair.positions[1] = [0, 0, 0.2]
        truth, found = ask(model, [pair], "reference"), ask(model, [pair], "triton")
        assert torch.equal(found.forces, truth.forces) and "the reference answers" in caplog.text
        model.requires_grad_(True)
        with pytest.raises(ValueError, match="derivatives are wanted"):
            model(graph_of([pair], device))


KERNELS = ("triton", "triton-3xtf32")


def first_part_alone(products, inputs):
    """The rows ``(x₁, 0, 0)``."""
    mask = torch.tensor(-8192, dtype=torch.int32)
    first = (inputs.view(torch.int32) & mask).view(torch.float32)
    return torch.nn.functional.pad(first, (0, 2 * inputs.shape[1]))


def loaded(*species):
    """Two atoms and their edges, as a program takes them."""
    return [np.array(array) for array in (species, [0, 1, 2], [1, 0], [1, 0], np.zeros((0, 3)))]


def test_forces_are_the_slope_of_the_tabulated_energy(device, monkeypatch):
    """A table so coarse that its forces are wrong; as a slope of its own energy they are right, so it conserves."""
    monkeypatch.setattr("mlff.deploy.compiled.TOLERANCE", {torch.float64: 0.1})
    model = make_student(device, radial=20)
    student, step = gpu_student(model), 3e-5
    student.set_structure(*loaded(1, 0))
    forces = student.evaluate(PAIR.positions, stress=False).forces
    assert np.abs(forces - ask(model, [PAIR], "reference").forces.cpu().numpy()).max() > 1e-5
    moved = np.random.default_rng(0).normal(size=(2, 3))
    energies = [student.evaluate(PAIR.positions + sign * step * moved, stress=False).energy for sign in (1, -1)]
    # central differences leave step² times the third derivative and 1e-12 eV of rounding over the step
    assert (energies[1] - energies[0]) / (2 * step) == pytest.approx((forces * moved).sum(), abs=2e-6)


def test_turned_and_reordered_structures_have_turned_and_reordered_forces(device):
    model, other = make_student(device, layers=1), turned(WATER)
    found = ask(model, [WATER, other], "triton")
    torch.testing.assert_close(found.energy[1], found.energy[0], rtol=0, atol=1e-11)
    expected = found.forces[:3].flip(0) @ torch.as_tensor(other.info["turn"], device=device)
    torch.testing.assert_close(found.forces[3:], expected, rtol=0, atol=1e-10)
    assert found.forces[:3].sum(dim=0).abs().max() < 1e-12


class TestMemory:
    def test_serves_structures_of_every_size_in_turn(self, device):
        """Through the interface of the CPU's program: growing, used in part, grown again, asked for stress."""
        model = make_student(device, layers=1)
        model.kernels = "triton"
        evaluator = CompiledEvaluator(model, SkinNeighborList(CUTOFF, 0.3), lambda *_: None)
        student = evaluator.student
        for atoms, growths in ((Atoms("O"), 1), (PAIR, 2), (CRYSTAL, 3), (Atoms("O"), 3)):
            answer = evaluator.evaluate(atoms, bool(atoms.pbc.all()), threads=1)
            truth = ask(model, [atoms], "reference")
            assert student.growths == growths
            np.testing.assert_allclose(answer.forces, truth.forces.cpu(), rtol=0, atol=1e-10)
            assert answer.energy == pytest.approx(truth.energy.item(), abs=1e-10)
            if answer.virial is not None:
                virial = 0.5 * (answer.virial + answer.virial.T) / atoms.get_volume()
                np.testing.assert_allclose(virial, truth.stress[0].cpu(), rtol=0, atol=1e-10)

    def test_nobody_reads_what_lies_beyond_the_loaded_structures(self, device):
        """Numbers that are not numbers, and edges that lead nowhere, in all memory that is not used."""
        model = make_student(device)
        weights = weights_of(model, tabulated_radial(model, 0.2, 5e-11), nearest=0.3)
        program = Program(Network(weights, torch.float64, device), Capacity(4, 9, 3))
        memory = program.memory
        nested = memory.records, memory.vector_bars, *memory.tapes
        for tensor in (*vars(memory).values(), *(tensor for tensors in nested for tensor in tensors)):
            if isinstance(tensor, torch.Tensor) and tensor.is_floating_point():
                tensor.fill_(torch.nan)
        for places in (memory.senders, memory.reverse, memory.start, memory.first):
            places.fill_(2**30)
        program.load(*(torch.from_numpy(array) for array in loaded(1, 0)), torch.tensor([0, 1, 2]))
        memory.positions[:2] = torch.as_tensor(PAIR.positions)
        program.launch(stress=True)
        truth, found = ask(model, [PAIR], "reference"), program.results(stress=True)
        torch.testing.assert_close(found.forces, truth.forces, rtol=0, atol=1e-10)
        torch.testing.assert_close(found.energy, truth.energies, rtol=0, atol=1e-10)
        assert torch.isfinite(found.virial).all()
        assert found.nearest.tolist() == pytest.approx([PAIR.get_distance(0, 1)] * 2)

    def test_refuses_what_does_not_fit_and_weights_of_another_student(self, device):
        model = make_student(device, layers=1)
        weights = weights_of(model, tabulated_radial(model, 0.2, 1e-4), nearest=0.3)
        network = Network(weights, torch.float64, device)
        program = Program(network, Capacity(2, 4, 1))
        structure = [torch.zeros(n, dtype=torch.int64) for n in (3, 4, 6, 6)]
        with pytest.raises(CapacityExceeded, match=r"3 atoms where 2 fit, 6 edges where 4 fit: .*larger"):
            program.load(*structure, torch.zeros(0, 3), torch.tensor([0, 3]))
        assert program.loaded == Capacity(0, 0, 0)
        other = make_student(device, layers=1, channels=6)
        with pytest.raises(ValueError, match="another architecture: embedding"):
            network.load(weights_of(other, tabulated_radial(other, 0.2, 1e-4), nearest=0.3))

    def test_atoms_that_are_too_near_get_no_answer(self, device):
        student = gpu_student(make_student(device, layers=1))
        with pytest.raises(RuntimeError, match="set_structures first"):
            student.evaluate(np.zeros((2, 3)), stress=False)
        student.set_structure(*loaded(0, 1))
        for distance, answered in ((0.29, False), (0.31, True)):
            answer = student.evaluate(np.array([[0, 0, 0], [0, 0, distance]]), stress=False)
            assert (answer is not None) == answered


def test_products_keep_all_digits_whatever_the_process_has_chosen():
    usual = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        for precision in ("ieee", "tf32"):
            with precision_of_products(precision):
                assert torch.backends.cuda.matmul.fp32_precision == precision
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(usual)
