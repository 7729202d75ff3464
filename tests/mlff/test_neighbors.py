"""Neighbour lists against a brute-force count of images, and the moments at which a lasting list is made again."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
from ase.build import bulk, fcc111, molecule
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mlff.neighbors import ALL_PAIRS_BELOW, SkinNeighborList, neighbor_list
from training.errors import InputError

NONE, ALL = np.zeros(3, dtype=bool), np.ones(3, dtype=bool)
NO_CELL = np.zeros((3, 3))


def brute_force(positions, cell, pbc, cutoff):
    """Every (i, j, S) nearer than the cutoff, found by trying all images that could be; and those too close to call."""
    reach = [0, 0, 0]
    if pbc.any():
        periodic = cell[pbc]
        # |frac_k| ≤ |vector| · |k-th row of the pseudo-inverse|, over the widest pair plus the cutoff
        widest = np.linalg.norm(np.ptp(positions, axis=0)) + cutoff
        bounds = np.ceil(np.linalg.norm(np.linalg.pinv(periodic), axis=0) * widest).astype(int)
        for axis, bound in zip(np.flatnonzero(pbc), bounds, strict=True):
            reach[axis] = bound
    images = np.array(list(itertools.product(*(range(-r, r + 1) for r in reach))))
    offsets = images @ np.where(pbc[:, None], cell, 0.0)
    edges, undecided = set(), set()
    for i, j in itertools.product(range(len(positions)), repeat=2):
        distance = np.linalg.norm(positions[j] - positions[i] + offsets, axis=1)
        for image in images[distance < cutoff + 1e-9]:
            if i == j and not image.any():
                continue
            d = np.linalg.norm(positions[j] - positions[i] + image @ np.where(pbc[:, None], cell, 0.0))
            (undecided if abs(d - cutoff) < 1e-9 else edges).add((i, j, *map(int, image)))
    return edges, undecided


def as_set(neighbors):
    rows = np.column_stack([neighbors.receivers, neighbors.senders, neighbors.shifts]).tolist()
    assert len({tuple(r) for r in rows}) == len(rows), "an edge is listed twice"
    return {tuple(r) for r in rows}


def check_structure(neighbors):
    """Canonical order and the reverse index, which hold for every list."""
    rows = np.column_stack([neighbors.receivers, neighbors.senders])
    assert rows.tolist() == sorted(rows.tolist())
    reverse = neighbors.reverse
    assert (reverse[reverse] == np.arange(neighbors.n_edges)).all()
    assert (neighbors.receivers[reverse] == neighbors.senders).all()
    assert (neighbors.shifts[reverse] == -neighbors.shifts).all()
    for array in (neighbors.receivers, neighbors.senders, neighbors.shifts, reverse):
        assert array.dtype == np.int64


@st.composite
def structures(draw):
    """A few atoms, also outside the cell, in a skewed cell of either handedness that may be smaller than the cutoff."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    pbc = np.array(draw(st.tuples(st.booleans(), st.booleans(), st.booleans())))
    size = draw(st.floats(1.5, 8.0))
    cell = np.diag(rng.uniform(0.7, 1.5, 3)) * size + rng.uniform(-0.6, 0.6, (3, 3)) * size
    heights = abs(np.linalg.det(cell)) / np.linalg.norm(np.cross(cell[[1, 2, 0]], cell[[2, 0, 1]]), axis=1)
    assume(heights.min() > 0.8)
    n_atoms = draw(st.integers(1, 5))
    positions = rng.uniform(-1.5, 2.5, (n_atoms, 3)) @ cell
    return positions, cell, pbc, draw(st.floats(1.0, 5.0))


@settings(max_examples=80, deadline=None)
@given(structures())
def test_equals_brute_force_over_images(structure):
    positions, cell, pbc, cutoff = structure
    found = neighbor_list(positions, cell, pbc, cutoff)
    edges, undecided = brute_force(positions, cell, pbc, cutoff)
    assert edges <= as_set(found) <= edges | undecided
    check_structure(found)


@settings(max_examples=40, deadline=None)
@given(structures(), st.integers(0, 2**32 - 1))
def test_wrapping_an_atom_changes_the_shifts_and_nothing_else(structure, seed):
    positions, cell, pbc, cutoff = structure
    whole = np.random.default_rng(seed).integers(-4, 5, positions.shape) * pbc
    before = neighbor_list(positions, cell, pbc, cutoff)
    moved = positions + whole @ cell
    after = neighbor_list(moved, cell, pbc, cutoff)
    distances = np.linalg.norm(before.vectors(positions, cell), axis=1)
    assume(distances.size == 0 or np.abs(distances - cutoff).min() > 1e-9)
    adjusted = before.shifts + whole[before.receivers] - whole[before.senders]
    expected = set(map(tuple, np.column_stack([before.receivers, before.senders, adjusted]).tolist()))
    assert as_set(after) == expected
    # the same edges give the same lengths, to the rounding of coordinates of up to 100 Å
    np.testing.assert_allclose(
        np.sort(np.linalg.norm(after.vectors(moved, cell), axis=1)), np.sort(distances), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("n_atoms", [2, ALL_PAIRS_BELOW - 1, ALL_PAIRS_BELOW, 70])
def test_molecules_of_every_size_equal_brute_force(n_atoms):
    rng = np.random.default_rng(n_atoms)
    positions = rng.uniform(0, 2.0 * n_atoms ** (1 / 3), (n_atoms, 3))
    found = neighbor_list(positions, NO_CELL, NONE, 3.0)
    assert as_set(found) == brute_force(positions, NO_CELL, NONE, 3.0)[0]
    check_structure(found)


def test_no_neighbour_is_dropped_in_a_dense_crystal():
    iron = bulk("Fe", a=2.0)
    found = neighbor_list(iron.positions, iron.cell.array, ALL, 6.05)
    # 4/3 π 6.05³ Å³ at one atom per 4 Å³ is about 230 images of the one atom with itself
    edges, undecided = brute_force(iron.positions, iron.cell.array, ALL, 6.05)
    assert not undecided and len(edges) > 200 and as_set(found) == edges
    check_structure(found)


def test_a_slab_sees_its_images_in_the_plane_only():
    slab = fcc111("Al", (2, 1, 3), vacuum=None, orthogonal=False)
    assert slab.pbc.tolist() == [True, True, False]
    found = neighbor_list(slab.positions, slab.cell.array, slab.pbc, 5.0)
    assert as_set(found) == brute_force(slab.positions, slab.cell.array, slab.pbc, 5.0)[0]
    assert not found.shifts[:, 2].any() and found.shifts[:, :2].any()


@pytest.mark.parametrize("pbc", [NONE, ALL])
@pytest.mark.parametrize("n_atoms", [0, 1, 2, 50])
def test_atoms_out_of_reach_have_no_edges(n_atoms, pbc):
    positions = np.arange(n_atoms)[:, None] * np.array([[10.0, 0.0, 0.0]])
    found = neighbor_list(positions, np.diag([1000.0, 30.0, 30.0]), pbc, 5.0)
    assert found.n_edges == 0 and found.shifts.shape == (0, 3)
    check_structure(found)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("pbc", [NONE, ALL])
def test_a_position_that_is_no_number_is_named(bad, pbc):
    positions = np.zeros((3, 3))
    positions[2, 1] = bad
    with pytest.raises(InputError, match="Atom 2 has the position"):
        neighbor_list(positions, np.eye(3) * 9, pbc, 5.0)


@pytest.mark.parametrize(
    ("cell", "pbc"),
    [
        (NO_CELL, ALL),
        (np.array([[3.0, 0, 0], [3.0, 1e-3, 0], [0, 0, 3.0]]), ALL),
        (np.diag([3.0, 3.0, 0.0]), np.array([False, False, True])),
        (np.full((3, 3), np.nan), ALL),
    ],
    ids=["none", "flat", "no vector", "nan"],
)
def test_a_periodic_cell_without_volume_is_refused(cell, pbc):
    with pytest.raises(InputError, match=r"no volume|must be finite"):
        neighbor_list(np.zeros((1, 3)), cell, pbc, 5.0)


def test_an_absurd_extent_is_an_error_and_not_a_crash():
    positions = np.random.default_rng(0).normal(size=(40, 3)) * 1e12
    with pytest.raises(InputError, match="spread over"):
        neighbor_list(positions, NO_CELL, NONE, 5.0)


def test_small_molecules_need_no_torch():
    code = (
        "import sys, numpy as np; from mlff.neighbors import neighbor_list;"
        "neighbor_list(np.eye(3), np.zeros((3, 3)), np.zeros(3, bool), 5.0); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestSkin:
    def walk(self, atoms, steps, size, seed=0):
        rng = np.random.default_rng(seed)
        for _ in range(steps):
            atoms.positions += rng.normal(0.0, size, atoms.positions.shape)
            yield atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc

    @pytest.mark.parametrize("skin", [0.0, 0.3, 1.0])
    @pytest.mark.parametrize(
        "make", [lambda: molecule("C60"), lambda: bulk("Si", cubic=True), lambda: fcc111("Al", (2, 2, 3), vacuum=4.0)]
    )
    def test_along_a_random_walk_every_list_equals_a_fresh_one(self, make, skin):
        lasting = SkinNeighborList(cutoff=3.5, skin=skin)
        for numbers, positions, cell, pbc in self.walk(make(), steps=60, size=0.02):
            kept = lasting.update(numbers, positions, cell, pbc)
            fresh = neighbor_list(positions, cell, pbc, 3.5)
            for name in ("receivers", "senders", "shifts", "reverse"):
                np.testing.assert_array_equal(getattr(kept, name), getattr(fresh, name), err_msg=name)
            lengths = np.linalg.norm(fresh.vectors(positions, cell), axis=1)
            np.testing.assert_allclose(lasting.distances, lengths, rtol=1e-14)
        assert lasting.calls == 60
        assert lasting.builds == 60 if skin == 0 else lasting.builds < 40

    def test_is_made_again_exactly_when_an_atom_has_moved_by_more_than_half_the_skin(self):
        water = molecule("H2O")
        lasting = SkinNeighborList(cutoff=5.0, skin=0.5)
        arguments = (water.cell.array, water.pbc)
        start = water.positions.copy()
        lasting.update(water.numbers, start, *arguments)
        for step, builds in [(0.2499, 1), (-0.2499, 1), (0.2501, 2)]:
            positions = start.copy()
            positions[1, 2] += step
            lasting.update(water.numbers, positions, *arguments)
            assert lasting.builds == builds, step
        # counted from the place of the last build, not from the start
        positions[1, 2] = start[1, 2] + 0.3
        lasting.update(water.numbers, positions, *arguments)
        assert lasting.builds == 2

    @pytest.mark.parametrize("change", ["cell", "numbers", "pbc", "count"])
    def test_is_made_again_when_the_structure_changes(self, change):
        silicon = bulk("Si", cubic=True)
        lasting = SkinNeighborList(cutoff=4.0, skin=0.5)
        lasting.update(silicon.numbers, silicon.positions, silicon.cell.array, silicon.pbc)
        if change == "cell":
            silicon.set_cell(silicon.cell.array * 1.001)
        elif change == "numbers":
            silicon.numbers[0] = 6
        elif change == "pbc":
            silicon.pbc = [True, True, False]
        else:
            del silicon[3]
        arguments = (silicon.positions, silicon.cell.array, silicon.pbc)
        found = lasting.update(silicon.numbers, *arguments)
        assert lasting.builds == 2
        assert as_set(found) == as_set(neighbor_list(*arguments, 4.0))

    def test_unchanged_edges_are_the_same_object(self):
        ethanol = molecule("CH3CH2OH")
        lasting = SkinNeighborList(cutoff=3.0, skin=0.5)
        lists = [lasting.update(*arguments) for arguments in self.walk(ethanol, steps=3, size=1e-6)]
        assert lists[0] is lists[1] is lists[2]

    def test_after_an_error_the_next_structure_is_served(self):
        ethanol = molecule("CH3CH2OH")
        lasting = SkinNeighborList(cutoff=5.0, skin=0.5)
        arguments = (ethanol.cell.array, ethanol.pbc)
        lasting.update(ethanol.numbers, ethanol.positions, *arguments)
        broken = ethanol.positions.copy()
        broken[4] = np.nan
        with pytest.raises(InputError, match="Atom 4"):
            lasting.update(ethanol.numbers, broken, *arguments)
        assert lasting.update(ethanol.numbers, ethanol.positions, *arguments).n_edges == 72

    @pytest.mark.parametrize("skin", [-0.1, np.nan])
    def test_a_wrong_skin_is_named(self, skin):
        with pytest.raises(InputError, match="skin is a length in Å"):
            SkinNeighborList(5.0, skin)
