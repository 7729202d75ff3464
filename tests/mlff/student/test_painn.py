"""PaiNN's energies, forces and stress from the hand-written sweeps, against autograd and first principles."""

import itertools

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, make_supercell, molecule

from mlff.student import PaiNN, build
from mlff.student.oracle import predict_by_autograd

ELEMENTS = [1, 6, 8, 14, 29]
SIZES = [
    {"channels": 1, "layers": 1, "radial": 2, "cutoff": 3.0},
    {"channels": 7, "layers": 2, "radial": 5, "cutoff": 4.0, "basis": "GaussianBasis"},
    {"channels": 32, "layers": 3, "radial": 12, "cutoff": 5.0},
    {"channels": 16, "layers": 3, "radial": 8, "cutoff": 3.5, "envelope": "CosineCutoff"},
]
KERNELS = ["reference", "numba"]
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
WAYS = [("reference", "cpu"), ("numba", "cpu"), *[("reference", d) for d in DEVICES if d != "cpu"]]


def student(size: dict, kernels: str = "reference", dtype: torch.dtype = torch.float64, device: str = "cpu") -> PaiNN:
    torch.manual_seed(0)
    model = PaiNN(ELEMENTS, **size, kernels=kernels)
    model.set_reference({z: -10.0 * z for z in ELEMENTS}, 1.7)
    return model.to(device=device, dtype=dtype)


def force_loss(prediction) -> torch.Tensor:
    return prediction.forces.square().sum() + 0.1 * prediction.energies.square().sum()


def gradients(model: PaiNN, loss: torch.Tensor) -> list[torch.Tensor]:
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(found, model.parameters(), strict=True)]


def forbid_autograd(*_, **__):
    raise AssertionError("the analytical path called automatic differentiation")


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"F{s['channels']}-L{s['layers']}")
@pytest.mark.parametrize(("kernels", "device"), WAYS)
class TestEverySizeAndKernel:
    def test_forces_stress_and_energies_equal_autograd(self, structures, graph_of, size, kernels, device, monkeypatch):
        model = student(size, kernels, device=device)
        graph = graph_of(structures, model.cutoff).to(device)
        oracle = predict_by_autograd(model, graph)
        monkeypatch.setattr(torch.autograd, "grad", forbid_autograd)
        monkeypatch.setattr(torch.Tensor, "backward", forbid_autograd)
        analytical = model(graph, stress=True)
        for value, truth in zip(analytical, oracle, strict=True):
            torch.testing.assert_close(value, truth.detach(), rtol=1e-10, atol=1e-10)

    def test_gradients_of_a_force_loss_equal_double_backward(self, structures, graph_of, size, kernels, device):
        model = student(size, kernels, device=device)
        graph = graph_of(structures, model.cutoff).to(device)
        by_hand = gradients(model, force_loss(model(graph)))
        oracle = gradients(model, force_loss(predict_by_autograd(model, graph, create_graph=True)))
        for name, value, truth in zip([n for n, _ in model.named_parameters()], by_hand, oracle, strict=True):
            scale = max(float(truth.abs().max()), 1.0)
            assert (value - truth).abs().max() <= 1e-10 * scale, name

    def test_float32_keeps_five_digits(self, structures, graph_of, size, kernels, device):
        model = student(size, kernels, dtype=torch.float32, device=device)
        graph = graph_of(structures, model.cutoff).to(device)
        by_hand, oracle = model(graph, stress=True), predict_by_autograd(model, graph, create_graph=True)
        for value, truth in zip(by_hand[1:], oracle[1:], strict=True):
            assert (value - truth).abs().max() <= 1e-5 * max(float(truth.abs().max()), 1e-3)
        got, expected = gradients(model, force_loss(by_hand)), gradients(model, force_loss(oracle))
        largest = max(float(g.abs().max()) for g in expected)
        assert max(float((a - b).abs().max()) for a, b in zip(got, expected, strict=True)) <= 1e-5 * max(largest, 1.0)


@pytest.mark.parametrize(
    ("size", "kernels", "trained"),
    [
        (SIZES[1], "reference", False),
        (SIZES[2], "numba", False),
        (SIZES[2], "reference", True),
        (SIZES[3], "numba", True),
    ],
    ids=["reference", "numba", "trained reference", "trained numba"],
)
class TestSymmetries:
    @pytest.fixture
    def model(self, size, kernels, trained, graph_of):
        model = student(size, kernels)
        if trained:
            graph = graph_of([molecule("CH3CH2OH"), bulk("Si")], model.cutoff)
            optimizer = torch.optim.Adam(model.parameters(), 1e-2)
            for _ in range(5):
                optimizer.zero_grad()
                (model(graph).forces - 1.0).square().sum().backward()
                optimizer.step()
        return model

    def check(self, model, graph_of, before, after, turn):
        """Energies equal, forces and stress turned: fp64 rounding of O(100) additions is far below 1e-10."""
        first = model(graph_of(before, model.cutoff), stress=True)
        second = model(graph_of(after, model.cutoff), stress=True)
        torch.testing.assert_close(second.energies, first.energies, rtol=0, atol=1e-10)
        torch.testing.assert_close(second.forces, first.forces @ turn, rtol=0, atol=1e-10)
        torch.testing.assert_close(second.stress, turn.T @ first.stress @ turn, rtol=0, atol=1e-10)

    def test_rotation_and_reflection(self, structures, model, graph_of, rotation):
        for turn in (rotation, -rotation, rotation @ np.diag([1.0, -1.0, 1.0])):
            turned = [atoms.copy() for atoms in structures]
            for atoms in turned:
                atoms.set_cell(atoms.cell.array @ turn, scale_atoms=False)
                atoms.positions = atoms.positions @ turn
            self.check(model, graph_of, structures, turned, torch.from_numpy(turn))

    def test_translation_and_lattice_translation(self, structures, model, graph_of):
        moved = [atoms.copy() for atoms in structures]
        for atoms in moved:
            atoms.positions += [11.3, -7.1, 0.4]
            # any atom may sit in any image of a periodic cell
            images = np.random.default_rng(0).integers(-2, 3, (len(atoms), 3)) * atoms.pbc
            atoms.positions += images @ atoms.cell.array
        self.check(model, graph_of, structures, moved, torch.eye(3, dtype=torch.float64))

    def test_permutation(self, structures, model, graph_of):
        order = [np.random.default_rng(1).permutation(len(atoms)) for atoms in structures]
        shuffled = [atoms[o] for atoms, o in zip(structures, order, strict=True)]
        first, second = (model(graph_of(s, model.cutoff)) for s in (structures, shuffled))
        start = np.cumsum([0, *[len(atoms) for atoms in structures]])
        flat = np.concatenate([o + s for o, s in zip(order, start, strict=False)])
        torch.testing.assert_close(second.energies, first.energies[flat], rtol=0, atol=1e-10)
        torch.testing.assert_close(second.forces, first.forces[flat], rtol=0, atol=1e-10)


@pytest.mark.parametrize("kernels", KERNELS)
class TestPhysics:
    def test_forces_are_the_slope_of_the_energy(self, structures, graph_of, kernels):
        model, step = student(SIZES[2], kernels), 1e-4
        forces = model(graph_of(structures, model.cutoff)).forces.numpy(force=True)
        atom, axis, structure = 0, 1, structures[0]

        def energy(displacement: float) -> float:
            structure.positions[atom, axis] += displacement
            value = model(graph_of([structure], model.cutoff)).energy.item()
            structure.positions[atom, axis] -= displacement
            return value

        # fourth-order difference: the truncation error of 1e-4 Å is below the rounding of −600 eV / 1e-4 Å
        slope = (8 * (energy(step) - energy(-step)) - energy(2 * step) + energy(-2 * step)) / (12 * step)
        assert forces[atom, axis] == pytest.approx(-slope, abs=1e-7)

    @pytest.mark.parametrize("crystal", ["Si", "Cu"])
    def test_stress_is_the_slope_against_strain(self, graph_of, kernels, crystal):
        model, step = student(SIZES[2], kernels), 1e-4
        atoms = bulk(crystal, cubic=crystal == "Cu")
        atoms.rattle(0.05, seed=0)
        stress = model(graph_of([atoms], model.cutoff), stress=True).stress[0].numpy(force=True)

        def energy(strain: np.ndarray) -> float:
            deformed = atoms.copy()
            deformed.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
            return model(graph_of([deformed], model.cutoff)).energy.item()

        for a, b in itertools.combinations_with_replacement(range(3), 2):
            unit = np.zeros((3, 3))
            unit[a, b] += 0.5
            unit[b, a] += 0.5
            differences = 8 * (energy(step * unit) - energy(-step * unit)) - (
                energy(2 * step * unit) - energy(-2 * step * unit)
            )
            assert stress[a, b] == pytest.approx(differences / (12 * step) / atoms.get_volume(), abs=1e-8)

    def test_a_supercell_has_the_energy_of_its_cells(self, graph_of, kernels):
        model = student(SIZES[2], kernels)
        cell = bulk("Si")
        cell.rattle(0.1, seed=3)
        supercell = make_supercell(cell, np.diag([2, 3, 1]))
        one, many = (model(graph_of([a], model.cutoff), stress=True) for a in (cell, supercell))
        assert many.energy.item() == pytest.approx(6 * one.energy.item(), rel=1e-13)
        torch.testing.assert_close(many.stress, one.stress, rtol=0, atol=1e-12)

    def test_molecules_out_of_reach_do_not_know_of_each_other(self, graph_of, kernels):
        model = student(SIZES[2], kernels)
        water, ethanol = molecule("H2O"), molecule("CH3CH2OH")
        far = ethanol.copy()
        far.positions += 100.0
        together = model(graph_of([water + far], model.cutoff)).energy
        apart = model(graph_of([water, ethanol], model.cutoff)).energy.sum()
        assert together.item() == pytest.approx(apart.item(), abs=1e-10)

    @pytest.mark.parametrize("size", SIZES[1:], ids=lambda s: s.get("envelope", s.get("basis", "default")))
    def test_every_pair_of_elements_crosses_the_cutoff_without_a_step(self, graph_of, kernels, size):
        model = student(size, kernels)
        pairs = list(itertools.combinations_with_replacement(ELEMENTS, 2))
        inside, outside = (
            model(
                graph_of([Atoms(p, [[0, 0, 0], [0, 0, model.cutoff + side * 1e-5]]) for p in pairs], model.cutoff + 1)
            )
            for side in (-1, 1)
        )
        assert (inside.energy - outside.energy).abs().max().item() < 1e-7
        # the cosine envelope leaves with a slope that is linear in the distance left; the polynomial one is flatter
        bound = 1e-4 if size.get("envelope") == "CosineCutoff" else 1e-7
        assert inside.forces.abs().max().item() < bound
        assert outside.forces.abs().max().item() == 0.0

    def test_total_force_and_torque_vanish(self, graph_of, kernels):
        model = student(SIZES[2], kernels)
        atoms = molecule("CH3CH2OH")
        atoms.rattle(0.1, seed=0)
        forces = model(graph_of([atoms], model.cutoff)).forces.numpy(force=True)
        assert np.abs(forces.sum(axis=0)).max() < 1e-12
        assert np.abs(np.cross(atoms.positions, forces).sum(axis=0)).max() < 1e-12


class TestConstruction:
    @pytest.mark.parametrize("size", SIZES, ids=lambda s: f"F{s['channels']}-L{s['layers']}")
    def test_architecture_builds_the_same_network(self, graph_of, size):
        model = student(size)
        twin = build(model.architecture()).to(torch.float64)
        twin.kernels = model.kernels
        twin.load_state_dict(model.state_dict())
        graph = graph_of([molecule("CH3CH2OH")], model.cutoff)
        assert torch.equal(twin(graph).forces, model(graph).forces)

    def test_every_weight_learns_from_energy_and_forces(self, graph_of):
        model = student(SIZES[2], "numba")
        graph = graph_of([molecule("CH3CH2OH"), bulk("Si")], model.cutoff)
        for name, gradient in zip(
            dict(model.named_parameters()), gradients(model, force_loss(model(graph))), strict=True
        ):
            assert gradient.abs().max() > 0, name

    def test_energies_keep_their_digits_in_float32(self, graph_of):
        model = student(SIZES[2], dtype=torch.float32)
        model.set_reference({z: -1000.123456789 * z for z in ELEMENTS}, 1.0)
        model.to(torch.float32)
        assert model.reference_energies.dtype == torch.float64
        assert model.reference_energies[0].item() == -1000.123456789

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"elements": []}, "atomic numbers"),
            ({"elements": [0]}, "atomic numbers"),
            ({"elements": [1], "channels": 0}, "positive"),
            ({"elements": [1], "cutoff": -1.0}, "positive length"),
            ({"elements": [1], "basis": "Fourier"}, "BesselBasis, GaussianBasis"),
            ({"elements": [1], "envelope": "Envelope"}, "CosineCutoff, PolynomialCutoff"),
            ({"elements": [1], "radial": 1}, "at least 2"),
        ],
    )
    def test_a_wrong_argument_is_named(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            PaiNN(**arguments)

    @pytest.mark.parametrize(("references", "scale"), [({1: -1.0}, 1.0), ({1: -1.0, 6: -2.0}, 0.0)])
    def test_a_wrong_reference_is_named(self, references, scale):
        with pytest.raises(ValueError, match=r"No reference energy|positive energy"):
            PaiNN([1, 6]).set_reference(references, scale)
