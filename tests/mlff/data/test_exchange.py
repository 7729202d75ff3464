"""Labels survive the way through every format; a missing, doubtful or broken label is named, never guessed."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.io import read, write
from hypothesis import given, settings
from hypothesis import strategies as st

from mlff.data import exchange
from mlff.data.exchange import (
    load_labelled,
    read_isolated_atoms,
    read_labelled,
    write_ase_db,
    write_aselmdb,
    write_extxyz,
)
from mlff.data.records import Labels, Record
from training.errors import InputError

# ASE writes positions and forces of text files with 8 decimals; databases keep every bit
FORMATS = {"a.extxyz": (write_extxyz, 5.1e-9), "a.db": (write_ase_db, 0.0), "a.aselmdb": (write_aselmdb, 0.0)}
NAMES = st.sampled_from(["md 300 K", "Größe α", 'a "quoted" name', "x=1, y", "seed-3/rattle"])


@st.composite
def labelled(draw):
    n = draw(st.integers(1, 5))
    values = np.random.default_rng(draw(st.integers(0, 2**32)))
    periodic = draw(st.booleans())
    cell = values.normal(size=(3, 3)) + 5 * np.eye(3) if periodic or draw(st.booleans()) else None
    atoms = Atoms(values.integers(1, 90, n), values.normal(size=(n, 3)), cell=cell, pbc=periodic)
    energies = values.normal(size=n) * 1000
    stress = values.normal(size=(3, 3))
    labels = Labels(
        energy=float(energies.sum()),
        forces=values.normal(size=(n, 3)),
        energies=energies if draw(st.booleans()) else None,
        stress=(stress + stress.T) / 2 if periodic and draw(st.booleans()) else None,
    )
    return Record(atoms, draw(NAMES), draw(NAMES), labels, draw(st.sampled_from(["", "max|F|"])))


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=15, deadline=None)
@given(records=st.lists(labelled(), min_size=1, max_size=4))
def test_every_format_gives_back_what_was_written(name, records, tmp_path_factory):
    write_file, tolerance = FORMATS[name]
    path = tmp_path_factory.mktemp("exchange") / name
    write_file(path, records)
    assert [file.name for file in path.parent.iterdir()] == [name]  # nothing temporary, no lock file
    back = read_labelled(path)
    assert len(back) == len(records)
    for old, new in zip(records, back, strict=True):
        assert (new.trajectory, new.source, new.rejected) == (old.trajectory, old.source, old.rejected)
        assert new.atoms.numbers.tolist() == old.atoms.numbers.tolist() and new.atoms.calc is None
        assert new.atoms.pbc.tolist() == old.atoms.pbc.tolist()
        np.testing.assert_allclose(new.atoms.cell.array, old.atoms.cell.array, rtol=0, atol=1e-14)
        np.testing.assert_allclose(new.atoms.positions, old.atoms.positions, rtol=0, atol=tolerance)
        np.testing.assert_allclose(new.labels.forces, old.labels.forces, rtol=0, atol=tolerance)
        assert new.labels.energy == old.labels.energy
        for kind in ("energies", "stress"):
            a, b = getattr(old.labels, kind), getattr(new.labels, kind)
            assert (a is None) == (b is None)
            if a is not None:
                np.testing.assert_allclose(b, a, rtol=0, atol=max(tolerance, 1e-14))


def water(energy=-10.0, forces=True, info=None, arrays=None, periodic=False):
    """A frame as users have them: labels under the given keys."""
    atoms = Atoms("OH2", positions=[[0, 0, 0], [0.96, 0, 0], [0, 0.96, 0]])
    if periodic:
        atoms.set_cell([4.0, 5.0, 6.0])
        atoms.pbc = True
    results = {}
    if energy is not None:
        results["energy"] = energy
    if forces:
        results["forces"] = np.arange(9.0).reshape(3, 3)
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    atoms.info.update(info or {})
    for key, value in (arrays or {}).items():
        atoms.arrays[key] = value
    return atoms


FORCES = np.arange(9.0).reshape(3, 3) + 1


def saved(tmp_path, frames, name="user.xyz"):
    write(tmp_path / name, frames, format="extxyz" if name.endswith("xyz") else None)
    return tmp_path / name


class TestKeys:
    @pytest.mark.parametrize("energy", ["REF_energy", "dft_energy", "Energy", "TotEnergy", "total_energy"])
    @pytest.mark.parametrize("forces", ["REF_forces", "dft_forces", "force", "Forces"])
    def test_known_names_are_found_and_named(self, tmp_path, energy, forces):
        path = saved(tmp_path, [water(None, False, {energy: -3.5}, {forces: FORCES})] * 2)
        said = []
        records = read_labelled(path, say=said.append)
        assert records[1].labels.energy == -3.5
        np.testing.assert_array_equal(records[1].labels.forces, FORCES)
        assert f"energy from '{energy}'" in said[0] and f"forces from '{forces}'" in said[0] and "2 frames" in said[0]

    def test_what_ase_moves_to_a_calculator_is_found(self, tmp_path):
        path = saved(tmp_path, [water()])
        assert "energy" not in read(path).info  # the trap: the reader has swallowed the key
        records, summary = load_labelled(path)
        assert records[0].labels.energy == -10.0 and (summary.energy_key, summary.forces_key) == ("energy", "forces")

    def test_two_keys_that_disagree_are_an_error_that_names_the_option(self, tmp_path):
        path = saved(tmp_path, [water(-10.0, info={"REF_energy": -11.0})] * 3)
        with pytest.raises(InputError, match=r"energy \(3 frames\), REF_energy \(3 frames\).*data\.energy_key=KEY"):
            read_labelled(path)
        assert read_labelled(path, energy_key="REF_energy")[0].labels.energy == -11.0

    def test_two_keys_that_agree_are_one(self, tmp_path):
        _, summary = load_labelled(saved(tmp_path, [water(-10.0, info={"dft_energy": -10.0})]))
        assert summary.energy_key == "energy" and any("dft_energy hold the same" in r for r in summary.remarks)

    def test_half_the_frames_under_another_name_are_ambiguous(self, tmp_path):
        path = saved(tmp_path, [water(), water(None, info={"REF_energy": -10.0})])
        with pytest.raises(InputError, match=r"energy \(1 frames\), REF_energy \(1 frames\)"):
            read_labelled(path)

    def test_a_key_named_by_the_user_must_exist(self, tmp_path):
        with pytest.raises(InputError, match=r"No frame has the key 'E0' that data\.energy_key names.*energy, forces"):
            read_labelled(saved(tmp_path, [water()]), energy_key="E0")

    def test_free_energy_is_stated_where_it_differs_and_used_where_it_is_alone(self, tmp_path):
        both = water()
        both.calc.results["free_energy"] = -10.5
        records, summary = load_labelled(saved(tmp_path, [both], "both.xyz"))
        assert records[0].labels.energy == -10.0 and "data.energy_key=free_energy" in str(summary)
        alone = water(None)
        alone.calc.results["free_energy"] = -10.5
        records, summary = load_labelled(saved(tmp_path, [alone], "alone.xyz"))
        assert records[0].labels.energy == -10.5 and "the only energy there" in str(summary)


class TestMissing:
    @pytest.mark.parametrize(("energy", "forces", "lacks"), [(None, True, "energy"), (-10.0, False, "forces")])
    def test_a_label_that_no_frame_has_is_refused(self, tmp_path, energy, forces, lacks):
        with pytest.raises(InputError, match=rf"frame 0 \(H2O\) of user\.xyz lacks the {lacks}.*data\.{lacks}_key=KEY"):
            read_labelled(saved(tmp_path, [water(energy, forces)] * 2))

    @pytest.mark.parametrize("name", ["user.xyz", "user.db"])
    def test_one_frame_without_forces_is_named_with_its_key(self, tmp_path, name):
        frames = [water(), water(), water(forces=False), water()]
        if name.endswith("db"):
            with connect(tmp_path / name) as database:
                for frame in frames:
                    database.write(frame)
        else:
            saved(tmp_path, frames)
        with pytest.raises(InputError, match=r"frame 2 \(H2O\) of user.* lacks the forces \(key 'forces'\)"):
            read_labelled(tmp_path / name)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_a_number_that_is_none_is_refused(self, tmp_path, value):
        with pytest.raises(InputError, match=r"'energy' of frame 1 .* is not finite"):
            read_labelled(saved(tmp_path, [water(), water(value)]))
        broken = FORCES.copy()
        broken[1, 2] = value
        path = saved(tmp_path, [water(forces=False, arrays={"REF_forces": broken})])
        with pytest.raises(InputError, match=r"'REF_forces' of frame 0 .* is not finite"):
            read_labelled(path)

    def test_forces_that_are_all_zero_are_no_labels(self, tmp_path):
        empty = water(forces=False, arrays={"forces": np.zeros((3, 3))})
        with pytest.raises(InputError, match="exactly zero: they are placeholders"):
            read_labelled(saved(tmp_path, [empty] * 3))
        _, summary = load_labelled(saved(tmp_path, [empty, water()]))
        assert any("1 frames have forces that are exactly zero" in remark for remark in summary.remarks)

    def test_forces_of_the_wrong_shape_are_refused(self, tmp_path):
        with pytest.raises(InputError, match=r"'REF_forces' of frame 0 .* shape \(3,\); \(3, 3\) is needed"):
            read_labelled(saved(tmp_path, [water(forces=False, arrays={"REF_forces": np.ones(3)})]))

    @pytest.mark.parametrize("content", ["", "3\nProperties=species:S:1:pos:R:3 energy=1\nO 0 0 0\n", "no structure\n"])
    def test_a_file_that_is_none_is_named(self, tmp_path, content):
        (tmp_path / "bad.xyz").write_text(content)
        with pytest.raises(InputError, match=r"bad\.xyz"):
            read_labelled(tmp_path / "bad.xyz")
        with pytest.raises(InputError, match=r"none\.xyz does not exist"):
            read_labelled(tmp_path / "none.xyz")


class TestPeriodicity:
    def test_a_lattice_with_pbc_false_is_a_molecule_in_a_drawing_box(self, tmp_path):
        (tmp_path / "box.xyz").write_text(
            '2\nLattice="50 0 0 0 50 0 0 0 50" Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.0 pbc="F F F"\n'
            "H 0 0 0 1 0 0\nH 0 0 0.74 -1 0 0\n"
        )
        (record,) = read_labelled(tmp_path / "box.xyz")
        assert not record.atoms.pbc.any() and record.labels.stress is None

    def test_a_lattice_without_pbc_is_periodic_as_everywhere_in_ase(self, tmp_path):
        (tmp_path / "box.xyz").write_text(
            '1\nLattice="3 0 0 0 3 0 0 0 3" Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.0\nH 0 0 0 1 0 0\n'
        )
        assert read_labelled(tmp_path / "box.xyz")[0].atoms.pbc.all()


class TestStress:
    SIX = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
    FULL = np.array([[0.1, 0.6, 0.5], [0.6, 0.2, 0.4], [0.5, 0.4, 0.3]])

    @pytest.mark.parametrize("key", ["stress", "REF_stress"])
    @pytest.mark.parametrize("value", [SIX, FULL], ids=["six", "full"])
    def test_is_read_in_ases_order_and_sign(self, tmp_path, key, value):
        path = saved(tmp_path, [water(periodic=True, info={key: np.array(value)})])
        (record,), summary = load_labelled(path)
        np.testing.assert_allclose(record.labels.stress, self.FULL, rtol=0, atol=1e-15)
        assert summary.stress_key == key and summary.with_stress == 1

    def test_a_virial_is_minus_stress_times_volume(self, tmp_path):
        path = saved(tmp_path, [water(periodic=True, info={"virial": -120.0 * self.FULL})])
        (record,), summary = load_labelled(path)
        np.testing.assert_allclose(record.labels.stress, self.FULL, rtol=1e-14)  # the volume is 4·5·6 Å³
        assert "stress = −virial / volume" in summary.remarks

    def test_its_absence_is_counted_not_refused_and_never_zero(self, tmp_path):
        frames = [water(periodic=True, info={"stress": self.FULL}), water(periodic=True), water()]
        records, summary = load_labelled(saved(tmp_path, frames))
        assert [record.labels.stress is None for record in records] == [False, True, True]
        assert summary.with_stress == 1 and any("2 frames have no stress" in remark for remark in summary.remarks)


class TestNames:
    def test_one_file_is_one_trajectory_and_its_groups_are_sources(self, tmp_path):
        path = saved(tmp_path, [water(info={"config_type": "surface"}), water()])
        first, second = read_labelled(path)
        assert (first.trajectory, first.source) == ("user.xyz", "user.xyz, surface")
        assert (second.trajectory, second.source) == ("user.xyz", "user.xyz")

    def test_frames_may_name_their_trajectory(self, tmp_path):
        records = read_labelled(saved(tmp_path, [water(info={"trajectory": "run-1"}), water(info={"trajectory": 2})]))
        assert [record.trajectory for record in records] == ["run-1", "2"]


def test_energies_per_atom_that_do_not_add_up_are_not_used(tmp_path):
    good, bad = (water(arrays={"energies": np.array([-6.0, -2.0, last])}) for last in (-2.0, -2.1))
    records, summary = load_labelled(saved(tmp_path, [good, bad]))
    assert records[0].labels.energies.tolist() == [-6.0, -2.0, -2.0] and records[1].labels.energies is None
    assert any("1 frames do not add up" in remark for remark in summary.remarks)


class TestSchNetPackDatabases:
    def database(self, tmp_path, unit, length="Ang"):
        units = {"energy": unit, "forces": f"{unit}/{length}"}
        with connect(tmp_path / "schnet.db") as database:
            database.metadata = {"_distance_unit": length, "_property_unit_dict": units}
            database.write(water(None, False), data={"energy": np.array([-10.0]), "forces": FORCES})
        return tmp_path / "schnet.db"

    def test_labels_kept_in_a_rows_data_are_found(self, tmp_path):
        (record,) = read_labelled(self.database(tmp_path, "eV"))
        assert record.labels.energy == -10.0 and record.labels.forces.tolist() == FORCES.tolist()

    def test_other_units_are_refused(self, tmp_path):
        with pytest.raises(InputError, match="energy in kcal/mol, forces in kcal/mol/Ang; eV and Å are needed"):
            read_labelled(self.database(tmp_path, "kcal/mol"))

    def test_another_unit_of_length_is_refused(self, tmp_path):
        with pytest.raises(InputError, match="forces in eV/Bohr, distances in Bohr; eV and Å are needed"):
            read_labelled(self.database(tmp_path, "eV", "Bohr"))


class TestExport:
    def test_a_structure_without_labels_is_refused_and_leaves_no_file(self, tmp_path):
        for name, (write_file, _) in FORMATS.items():
            with pytest.raises(InputError, match=r"\(H2O, rattled\) has no labels"):
                write_file(tmp_path / name, [Record(Atoms("OH2"), "md", "rattled")])
        assert list(tmp_path.iterdir()) == []

    def test_a_file_is_replaced_not_extended(self, tmp_path):
        record = Record(water(), "md", "md", Labels(-1.0, FORCES))
        for name, (write_file, _) in FORMATS.items():
            write_file(tmp_path / name, [record] * 3)
            write_file(tmp_path / name, [record])
            assert len(read_labelled(tmp_path / name)) == 1

    def test_lmdb_without_its_package_names_the_remedy(self, tmp_path, monkeypatch):
        import sys

        monkeypatch.setitem(sys.modules, "ase_db_backends.aselmdb", None)
        with pytest.raises(InputError, match=r"pip install 'limbeck\[aselmdb\]'"):
            write_aselmdb(tmp_path / "a.aselmdb", [])


class TestIsolatedAtoms:
    def test_need_an_energy_and_no_forces(self, tmp_path):
        frames = [Atoms("H", info={"energy": -13.6}), Atoms("C", info={"energy": -1027.0})]
        assert read_isolated_atoms(saved(tmp_path, frames)) == {1: -13.6, 6: -1027.0}

    @pytest.mark.parametrize("frames", [["H2"], ["H", "H"]])
    def test_are_alone_and_named_once(self, tmp_path, frames):
        path = saved(tmp_path, [Atoms(formula, info={"energy": -1.0}) for formula in frames])
        with pytest.raises(InputError, match="one isolated atom, each element once"):
            read_isolated_atoms(path)


def test_the_log_names_the_keys_where_nobody_listens(tmp_path, caplog):
    caplog.set_level("INFO", logger=exchange.__name__)
    read_labelled(saved(tmp_path, [water()]))
    assert "energy from 'energy', forces from 'forces', no stress" in caplog.text
