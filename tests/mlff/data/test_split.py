"""No structure has two roles, no trajectory is cut where that is promised, and the note says what was done."""

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st

from mlff.data.records import Record
from mlff.data.split import geometry_key, split_by_trajectory, without_geometries_of
from training.errors import InputError


def record(trajectory, number):
    values = np.random.default_rng(number)
    return Record(Atoms("OH2", positions=values.normal(size=(3, 3))), trajectory, "md")


def frames(**counts):
    return [record(name, 1000 * place + i) for place, (name, n) in enumerate(counts.items()) for i in range(n)]


def names(records, indices):
    return {records[i].trajectory for i in indices}


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 30), min_size=3, max_size=8),
    share=st.floats(0.02, 0.5),
    way=st.sampled_from(["auto", "trajectory", "blocks", "frames"]),
    seed=st.integers(0, 5),
)
def test_sets_never_overlap_and_cover_everything(counts, share, way, seed):
    records = frames(**{f"t{i}": n for i, n in enumerate(counts)})
    if sum(counts[:-1]) * share >= sum(counts[:-1]) - 1:
        return  # too few structures to divide
    split = split_by_trajectory(records, held_out=[f"t{len(counts) - 1}"], validation=share, way=way, seed=seed)
    together = np.concatenate([split.train, split.validation, split.test])
    assert sorted(together.tolist()) == list(range(len(records)))
    assert len(split.train) and len(split.validation)
    assert names(records, split.test) == {f"t{len(counts) - 1}"}
    if way == "trajectory" or (way == "auto" and len(counts) - 1 >= 5):
        assert not names(records, split.train) & names(records, split.validation)
    again = split_by_trajectory(records, held_out=[f"t{len(counts) - 1}"], validation=share, way=way, seed=seed)
    assert all(np.array_equal(getattr(split, n), getattr(again, n)) for n in ("train", "validation", "test"))


class TestWays:
    def test_enough_trajectories_are_taken_whole_until_the_wanted_number_is_reached(self):
        records = frames(a=10, b=10, c=10, d=10, e=10, held=10)
        split = split_by_trajectory(records, ["held"], validation=12)
        assert len(split.validation) == 20 and len(names(records, split.validation)) == 2
        assert "the whole of 2 of 5 trajectories" in split.note and "10 structures of held" in split.note

    def test_a_file_of_one_trajectory_gives_random_frames_and_the_note_says_what_that_means(self):
        split = split_by_trajectory(frames(file=100), validation=50, seed=1)
        assert len(split.validation) == 50 and len(split.train) == 50 and len(split.test) == 0
        assert "drawn at random (seeded) from file" in split.note and "may be larger" in split.note
        other = split_by_trajectory(frames(file=100), validation=50, seed=2)
        assert not np.array_equal(split.validation, other.validation)

    def test_blocks_are_contiguous_pieces_spread_over_each_trajectory(self):
        split = split_by_trajectory(frames(file=100), validation=20, way="blocks")
        runs = np.split(split.validation, np.flatnonzero(np.diff(split.validation) > 1) + 1)
        assert [run.tolist() for run in runs] == [list(range(end - 4, end)) for end in (20, 40, 60, 80, 100)]
        assert "contiguous blocks" in split.note

    def test_whole_trajectories_need_two(self):
        with pytest.raises(InputError, match=r"at least two trajectories.*data\.split=blocks"):
            split_by_trajectory(frames(a=10, held=5), ["held"], way="trajectory")

    @pytest.mark.parametrize("validation", [0, 10, 11])
    def test_an_empty_set_is_refused(self, validation):
        with pytest.raises(InputError, match=f"{validation} of 10 structures are asked for validation"):
            split_by_trajectory(frames(a=10), validation=validation)

    def test_an_unknown_held_out_name_is_refused(self):
        with pytest.raises(InputError, match=r"\['heldout'\] are not among the data: \['a', 'held'\]"):
            split_by_trajectory(frames(a=10, held=3), ["heldout"])


class TestSharedGeometries:
    def test_a_start_shared_by_all_trajectories_is_left_to_the_set_that_judges(self):
        """Every trajectory of molecular dynamics starts from the same relaxed structure."""
        records = frames(a=5, b=5, held=5)
        start = records[0].atoms
        records = [Record(start, r.trajectory, r.source) if i % 5 == 0 else r for i, r in enumerate(records)]
        split = split_by_trajectory(records, ["held"], validation=3, way="trajectory")
        assert len(split.test) == 5 and len(split.validation) == 4 and len(split.train) == 4
        assert "2 structures with a geometry of a judging set were left out" in split.note

    def test_a_set_that_is_all_copies_is_refused(self):
        with pytest.raises(InputError, match="nothing is left for training"):
            split_by_trajectory([record("a", 1)] * 10, validation=3, way="frames")

    def test_a_test_file_is_compared_with_the_training_file(self):
        train, judges = frames(a=10), [*frames(b=1), record("c", 77)]
        kept, note = without_geometries_of(train, judges)
        assert kept == train[1:] and note.startswith("1 structures also occur in the test set")
        assert without_geometries_of(train, judges[1:]) == (train, "")


class TestGeometryKey:
    ATOMS = Atoms("OHH", positions=[[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])

    def test_a_shift_of_a_molecule_and_the_rounding_of_a_file_do_not_matter(self):
        moved = self.ATOMS.copy()
        # between the rounding limits at 1e-4 Å, as all but one in a thousand coordinates of a file with 8 decimals
        moved.positions = np.round(moved.positions + np.array([3.0, -2.0, 1.0]), 8)
        assert geometry_key(moved) == geometry_key(self.ATOMS)

    def test_a_vibration_an_element_a_cell_and_periodicity_matter(self):
        keys = {geometry_key(self.ATOMS)}
        for change in (
            lambda a: a.positions.__setitem__((1, 0), 0.97),
            lambda a: a.numbers.__setitem__(0, 16),
            lambda a: (a.set_cell([9, 9, 9]), a.set_pbc(True)),
            lambda a: (a.set_cell([9, 9, 9.1]), a.set_pbc(True)),
        ):
            atoms = self.ATOMS.copy()
            change(atoms)
            keys.add(geometry_key(atoms))
        assert len(keys) == 5
        boxed = self.ATOMS.copy()
        boxed.set_cell([50, 50, 50])  # a lattice without periodicity says nothing
        assert geometry_key(boxed) in keys
