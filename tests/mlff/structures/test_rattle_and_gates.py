"""Rattled copies move as far as they should, and the gates pass what is sound and name what is not."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from hypothesis import given
from hypothesis import strategies as st

from mlff.data.records import Record
from mlff.structures.gates import FELL_APART, TOO_HOT, StructureGates, fragments
from mlff.structures.rattle import displaced, rattle
from mlff.structures.settings import GateSettings, RattleSettings, StructureSettings


def frames(count, atoms=None):
    return [Record((atoms or molecule("CH4")).copy(), f"trajectory {n}", "MD") for n in range(count)]


class TestRattle:
    def test_displacements_are_gaussian_with_a_log_uniform_width(self):
        atoms = Atoms("H" * 400, np.zeros((400, 3)))
        random = np.random.default_rng(0)
        widths = np.array([displaced(atoms, RattleSettings(), random).positions.std() for _ in range(400)])
        # 1200 coordinates give each width to 2 %
        assert 0.0095 < widths.min() < 0.012 and 0.085 < widths.max() < 0.105
        positions = (np.log(widths) - np.log(0.01)) / np.log(10)
        # the mean and spread of 400 uniform numbers, to four standard errors
        assert abs(positions.mean() - 0.5) < 4 * 0.29 / 20 and abs(positions.std() - 0.289) < 0.04

    @given(count=st.integers(1, 12), share=st.floats(0, 3), seed=st.integers(0, 1000))
    def test_takes_parents_evenly_and_leaves_them_as_they_are(self, count, share, seed):
        parents = frames(count)
        made = rattle(parents, RattleSettings(share=share), np.random.default_rng(seed))
        assert len(made) == round(share * count)
        uses = [sum(record.trajectory == parent.trajectory for record in made) for parent in parents]
        assert max(uses) - min(uses) <= 1
        assert all(record.source == "rattled MD" for record in made)
        assert all((parent.atoms.positions == molecule("CH4").positions).all() for parent in parents)

    def test_strain_is_symmetric_bounded_and_only_for_crystals(self):
        settings = RattleSettings(strain=0.05, displacement=(1e-9, 1e-9))
        random = np.random.default_rng(1)
        copper = bulk("Cu", cubic=True)
        for _ in range(20):
            moved = displaced(copper, settings, random)
            strain = np.linalg.solve(copper.cell.array, moved.cell.array) - np.eye(3)
            np.testing.assert_allclose(strain, strain.T, atol=1e-12)
            assert 0 < np.abs(strain).max() <= 0.05
            scaled = moved.cell.scaled_positions(moved.positions)
            np.testing.assert_allclose(scaled, copper.cell.scaled_positions(copper.positions), atol=1e-7)
        assert displaced(molecule("CH4"), settings, random).cell.rank == 0


class TestGates:
    @pytest.mark.parametrize(("name", "pieces"), [("CH4", 1), ("CH3CH2OH", 1), ("C6H6", 1), ("H", 1)])
    def test_molecules_are_in_one_piece(self, name, pieces):
        assert fragments(molecule(name), 1.5) == pieces

    @given(st.integers(0, 2**32 - 1), st.floats(0.0, 0.05))
    def test_pass_thermal_motion(self, seed, width):
        atoms = molecule("CH3CH2OH")
        gates = StructureGates(atoms, GateSettings())
        atoms.positions += np.clip(np.random.default_rng(seed).normal(scale=width, size=(9, 3)), -0.12, 0.12)
        assert gates.refusal(atoms) == ""

    @given(atom=st.integers(0, 8), far=st.floats(4.0, 50.0))
    def test_name_a_molecule_that_fell_apart(self, atom, far):
        atoms = molecule("CH3CH2OH")
        gates = StructureGates(atoms, GateSettings())
        atoms.positions[atom] += [0, 0, far]
        assert gates.refusal(atoms) == FELL_APART

    def test_let_a_dimer_be_two_pieces_but_not_three(self):
        dimer = molecule("H2O")
        other = molecule("H2O")
        other.translate([0, 0, 4.0])
        dimer += other
        gates = StructureGates(dimer, GateSettings())
        assert gates.refusal(dimer) == ""
        dimer.positions[1] += [0, 5.0, 0]
        assert gates.refusal(dimer) == FELL_APART

    def test_do_not_count_pieces_of_a_crystal(self):
        argon = bulk("Ar", a=5.3, cubic=True)
        gates = StructureGates(argon, GateSettings())
        argon.positions[0] += 0.5
        assert gates.refusal(argon) == ""

    @pytest.mark.parametrize("temperature", [np.nan, np.inf, 1501.0])
    def test_name_an_explosion(self, temperature):
        gates = StructureGates(molecule("CH4"), GateSettings())
        assert gates.explosion(temperature, 300.0) == TOO_HOT and gates.explosion(1499.0, 300.0) == ""


class TestSettings:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"steps": 3, "stride": 5}, "steps=3 with stride=5 gives no frame"),
            ({"held_out": {"steps": 2}}, "held_out.steps=2 with stride=5 gives no frame"),
            ({"rattle": {"displacement": [0.1, 0.01]}}, "displacement goes from a positive length"),
            ({"supercell": [2, 0, 2]}, "repeated at least once"),
            ({"temperatures": [-5]}, "greater than 0"),
        ],
    )
    def test_refuse_what_cannot_be(self, changes, message):
        with pytest.raises(ValueError, match=message):
            StructureSettings(**changes)
