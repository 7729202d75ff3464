"""The student answers for torch-sim's states as the calculator answers for ASE's atoms. Needs no torch-sim."""

import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from torch import Tensor

from mlff.deploy.calculator import StudentCalculator
from mlff.deploy.torch_sim import StudentOnStates, torch_sim_model
from training.errors import InputError


@dataclass
class SimState:
    """The fields of torch-sim 0.6.1 that a model reads; lattice vectors are columns."""

    positions: Tensor
    cell: Tensor
    pbc: Tensor
    atomic_numbers: Tensor
    system_idx: Tensor


def state_of(structures, pbc=True, dtype=torch.float64):
    return SimState(
        positions=torch.tensor(np.concatenate([a.positions for a in structures]), dtype=dtype),
        cell=torch.tensor(np.stack([a.cell.array.T for a in structures]), dtype=dtype),
        pbc=torch.tensor([pbc] * 3),
        atomic_numbers=torch.tensor(np.concatenate([a.numbers for a in structures])),
        system_idx=torch.tensor(np.repeat(np.arange(len(structures)), [len(a) for a in structures])),
    )


@pytest.fixture(scope="module")
def crystals():
    skewed = bulk("SiC", "zincblende", a=4.4)
    skewed.set_cell([[3.1, 0.2, 0.0], [1.3, 2.9, 0.4], [0.1, -0.6, 3.3]])
    made = [bulk("Si", cubic=True), skewed, bulk("C")]
    for seed, atoms in enumerate(made):
        atoms.rattle(0.08, seed=seed)
    return made


@pytest.fixture(scope="module")
def calculator(student_file):
    return StudentCalculator(student_file, dtype="float64", device="cpu")


def assert_same(answer, structures, calculator, stress):
    wanted = ["energy", "forces", *(["stress"] if stress else [])]
    expected = calculator.calculate_many(structures, wanted)
    assert answer["energy"].shape == (len(structures),)
    assert answer["energy"].numpy() == pytest.approx([e["energy"] for e in expected], abs=1e-8)
    forces = np.concatenate([e["forces"] for e in expected])
    # the compiled program reads radial functions from a table with an error of 5e-11
    assert np.abs(answer["forces"].numpy() - forces).max() < 1e-8
    if stress:
        voigt = answer["stress"].numpy()[:, [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        assert np.abs(voigt - np.stack([e["stress"] for e in expected])).max() < 1e-9


def test_crystals_have_the_calculators_energies_forces_and_stress(student, crystals, calculator):
    answer = StudentOnStates(student)(state_of(crystals), stress=True)
    assert_same(answer, crystals, calculator, stress=True)
    assert not any(tensor.requires_grad or tensor.is_inference() for tensor in answer.values())


def test_molecules_have_them_too(student, calculator):
    molecules = [molecule("CH3CH2OH"), molecule("H"), molecule("C6H6")]
    assert_same(StudentOnStates(student)(state_of(molecules, pbc=False)), molecules, calculator, stress=False)


def test_the_list_lasts_while_atoms_and_cells_move_and_answers_stay_right(student, crystals, calculator):
    on_states, moving = StudentOnStates(student), [atoms.copy() for atoms in crystals]
    for step in range(6):
        for atoms in moving:
            atoms.rattle(0.01, seed=step)
            atoms.set_cell(atoms.cell * 1.002, scale_atoms=True)
        state = state_of(moving)
        copy = state.positions.clone(), state.cell.clone()
        assert_same(on_states(state, stress=True), moving, calculator, stress=True)
        assert torch.equal(state.positions, copy[0]) and torch.equal(state.cell, copy[1])
    assert on_states._surface.builds < 4
    # other atoms, as torch-sim's batching sends them
    assert_same(on_states(state_of(moving[1:]), stress=True), moving[1:], calculator, stress=True)


def test_answers_have_the_precision_of_the_state(student, crystals):
    answer = StudentOnStates(student)(state_of(crystals, dtype=torch.float32), forces=False)
    assert list(answer) == ["energy"] and answer["energy"].dtype == torch.float32


def test_an_unknown_element_is_named(student):
    with pytest.raises(InputError, match="does not know Cu"):
        StudentOnStates(student)(state_of([bulk("Cu")]))


def test_without_torch_sim_the_way_to_it_is_said(student, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_sim", None)
    with pytest.raises(InputError, match=r"Python 3\.12.*pip install .limbeck\[torch-sim\].*mlff\.deploy\.simulate"):
        torch_sim_model(student)
