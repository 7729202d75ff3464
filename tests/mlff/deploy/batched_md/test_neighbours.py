"""The lists of many systems at once equal those of each alone, edge by edge and in the same order."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from hypothesis import given, settings
from hypothesis import strategies as st

from mlff.deploy.batched_md import neighbours
from mlff.deploy.batched_md.forces import Surface, group_systems
from mlff.deploy.batched_md.neighbours import Boxes, find_edges
from mlff.deploy.batched_md.preparation import copy_to
from mlff.deploy.batched_md.systems import Systems
from mlff.neighbors import neighbor_list

CPU = torch.device("cpu")


def edges_of(structures, radius):
    systems = Systems.of(structures, CPU)
    return systems, find_edges(systems, Boxes(systems).at(systems), radius)


def assert_equal_to_single_lists(structures, radius):
    systems, edges = edges_of(structures, radius)
    lists = [neighbor_list(a.positions, a.cell.array, a.pbc, radius) for a in structures]
    atoms_before = systems.first[:-1].numpy()
    edges_before = np.cumsum([0, *[n.n_edges for n in lists[:-1]]])
    for name, offsets in (("receivers", atoms_before), ("senders", atoms_before), ("reverse", edges_before)):
        expected = np.concatenate([getattr(n, name) + o for n, o in zip(lists, offsets, strict=True)])
        assert np.array_equal(getattr(edges, name).numpy(), expected), name
    assert np.array_equal(edges.shifts.numpy(), np.concatenate([n.shifts for n in lists]))


def cluster(n: int, side: float, seed: int, **periodic) -> Atoms:
    return Atoms(f"C{n}", np.random.default_rng(seed).uniform(-side / 2, side, (n, 3)), **periodic)


LARGE = [
    molecule("CH3CH2OH"),
    cluster(300, 14.0, 1),
    cluster(150, 13.0, 2, cell=[[12, 0, 0], [3, 14, 0], [-2, 1, 13]], pbc=True),
    cluster(120, 20.0, 3, cell=[[9, 0, 0], [0, 0, 0], [1, 0, 11]], pbc=[True, False, True]),
    bulk("Si") * (3, 3, 3),
    Atoms("C2", [[0, 0, 0], [0, 0, 900.0]]),
]


def test_a_zoo_of_structures(structures):
    assert_equal_to_single_lists(structures, 4.3)


@pytest.mark.parametrize("radius", [2.0, 4.5])
def test_large_systems_on_grids_of_bins(radius):
    assert_equal_to_single_lists(LARGE, radius)


def test_pieces_make_the_same_list(monkeypatch):
    monkeypatch.setattr(neighbours, "CANDIDATES", 400)
    assert_equal_to_single_lists(LARGE, 3.0)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), radius=st.floats(0.5, 5.0), pbc=st.tuples(*[st.booleans()] * 3))
def test_any_cell(seed, radius, pbc):
    random = np.random.default_rng(seed)
    cell = np.diag(random.uniform(3.0, 9.0, 3)) + random.uniform(-1, 1, (3, 3))
    positions = random.uniform(-12, 12, (random.integers(1, 25), 3))
    atoms = Atoms(f"C{len(positions)}", positions, cell=cell, pbc=pbc)
    assert_equal_to_single_lists([atoms, molecule("H2O")], radius)


def test_a_system_that_is_left_out_has_no_edges():
    systems = Systems.of([molecule("H2O"), bulk("Si"), molecule("CH4")], CPU)
    systems.included = torch.tensor([[True], [False], [True]])
    edges = find_edges(systems, Boxes(systems).at(systems), 4.0)
    owners = systems.owner[edges.receivers].unique().tolist()
    assert owners == [0, 2] and edges.n_edges == 3 * 2 + 5 * 4


@pytest.mark.parametrize("kernels", ["reference", "auto"])
@pytest.mark.parametrize("groups", [[0], [0, 2, 3]], ids=["together", "in groups"])
def test_a_lasting_list_gives_the_bits_of_one_made_at_every_step(gentle, mixture, groups, kernels):
    """Along a walk in which cells grow and shrink, too; the envelope alone would hide a missing edge's small share."""
    model = copy_to(gentle, CPU, torch.float64)
    model.kernels = kernels
    ours, fresh = Systems.of(mixture, CPU), Systems.of(mixture, CPU)
    lasting, making = (Surface(model, s, skin, groups) for s, skin in ((ours, 0.4), (fresh, 0.0)))
    generator = torch.Generator().manual_seed(0)
    for step in range(20):
        scale = 1 + 0.004 * np.sin(step / 3)
        for systems in (ours, fresh):
            systems.cell = systems.cell * scale
            systems.positions = systems.positions * systems.spread(torch.full((len(mixture), 1), scale))
        noise = 0.03 * torch.randn(ours.positions.shape, generator=generator, dtype=torch.float64)
        ours.positions, fresh.positions = ours.positions + noise, fresh.positions + noise
        with torch.inference_mode():
            a, b = (surface(stress=step % 2 == 0) for surface in (lasting, making))
        assert torch.equal(a.energy, b.energy) and torch.equal(a.forces, b.forces) and torch.equal(a.closest, b.closest)
        assert step % 2 or torch.equal(a.stress, b.stress)
    assert making.builds == 20 and 3 < lasting.builds < 14


def test_the_compiled_program_and_the_network_answer_alike(gentle, mixture):
    systems, answers = Systems.of(mixture, CPU), []
    for kernels, groups in (("reference", [0]), ("auto", [0]), ("auto", [0, 1, 2, 3, 4])):
        model = copy_to(gentle, CPU, torch.float64)
        model.kernels = kernels
        with torch.inference_mode():
            answers.append((Surface(model, systems, 0.4, groups)(), Surface(model, systems, 0.4, groups)(stress=True)))
    (plain, stressed), *others = answers
    for without, with_stress in others:
        for answer in (without, with_stress):
            # the program's radial functions are tabulated to 5e-11
            assert (answer.energy - plain.energy).abs().max() < 1e-8
            assert (answer.forces - plain.forces).abs().max() < 1e-9
        assert (with_stress.stress - stressed.stress).abs().max() < 1e-10


def test_groups_hold_whole_systems_and_no_more_edges_than_allowed():
    assert group_systems([10, 10, 10, 50, 1, 1], 20) == [0, 2, 3, 4]
    assert group_systems([5], 1) == [0]
