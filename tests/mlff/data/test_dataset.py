"""A batch says exactly what the structures say, and is PyG's own batch to the last field."""

import pickle

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch

from mlff.data.dataset import InMemoryStructures, StructureData, collate, to_data, to_sample
from mlff.data.records import Labels, Record
from mlff.data.sampler import MicroBatch
from mlff.data.store import LabelStore
from mlff.data.stored_dataset import StoredStructures
from mlff.graph import AtomGraph
from training.errors import InputError

CUTOFF = 4.0


def labelled(atoms, seed=0, energies=True, stress=True):
    values = np.random.default_rng(seed)
    n = len(atoms)
    labels = Labels(
        values.normal(),
        values.normal(size=(n, 3)),
        values.normal(size=n) if energies else None,
        values.normal(size=(3, 3)) if stress and atoms.pbc.all() else None,
    )
    return Record(atoms, "md", "rattled", labels)


def shaken(atoms, seed):
    atoms = atoms.copy()
    atoms.rattle(0.1, seed=seed)
    return atoms


RECORDS = [
    labelled(shaken(molecule("CH3CH2OH"), 1), 1),
    labelled(Atoms("He", positions=[[1.0, 2.0, 3.0]]), 2),  # no edge
    labelled(shaken(bulk("Si", "diamond", a=5.43, cubic=True), 3), 3),
    labelled(bulk("Cu", "fcc", a=3.6), 4, energies=False),  # one atom, images of itself
    labelled(Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.74]], cell=[50, 50, 50], pbc=False), 5, stress=False),
]


def assert_same_batch(left, right):
    assert type(left) is type(right) and left.keys() == right.keys()
    for name in right.keys():  # noqa: SIM118
        a, b = left[name], right[name]
        assert a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.nan_to_num(7.5), b.nan_to_num(7.5)), name
    assert left.num_graphs == right.num_graphs and left.num_nodes == right.num_nodes
    for private in ("_slice_dict", "_inc_dict"):
        a, b = getattr(left, private), getattr(right, private)
        assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in b), private


class TestBatch:
    @settings(max_examples=40, deadline=None)
    @given(chosen=st.lists(st.integers(0, len(RECORDS) - 1), min_size=1, max_size=7), with_labels=st.booleans())
    def test_is_equal_field_by_field_to_what_pyg_makes(self, chosen, with_labels):
        records = [RECORDS[i] for i in chosen]
        fast = collate([to_sample(record, CUTOFF, with_labels) for record in records])
        assert_same_batch(fast, Batch.from_data_list([to_data(record, CUTOFF, with_labels) for record in records]))

    def test_comes_apart_into_its_structures(self):
        data = [to_data(record, CUTOFF) for record in RECORDS]
        for one, back in zip(data, collate([to_sample(r, CUTOFF) for r in RECORDS]).to_data_list(), strict=True):
            assert isinstance(back, StructureData)
            for name in one.keys():  # noqa: SIM118
                assert torch.equal(one[name].nan_to_num(7.5), back[name].nan_to_num(7.5)), name

    def test_survives_the_way_to_another_process(self):
        batch = collate([to_sample(record, CUTOFF) for record in RECORDS])
        assert_same_batch(pickle.loads(pickle.dumps(batch)), batch)

    def test_does_not_share_memory_with_the_data(self):
        dataset = InMemoryStructures(RECORDS, CUTOFF)
        for indices in ([0], [0, 1]):
            before = {name: value.clone() for name, value in dataset.__getitems__(indices)}
            batch = dataset.__getitems__(indices)
            for _, value in batch:
                value.zero_()
            assert all(
                torch.equal(value.nan_to_num(), before[n].nan_to_num()) for n, value in dataset.__getitems__(indices)
            )

    def test_edges_of_a_batch_stay_within_their_structures_and_reverse_each_other(self):
        graph = AtomGraph.from_batch(collate([to_sample(record, CUTOFF) for record in RECORDS]))
        index = graph.structure_index
        assert torch.equal(index[graph.receivers], index[graph.senders])
        assert torch.equal(graph.receivers[graph.reverse], graph.senders)
        assert torch.equal(graph.shifts[graph.reverse], -graph.shifts)
        assert bool((graph.receivers.diff() >= 0).all())
        vectors = graph.vectors()
        assert float(vectors.norm(dim=1).max()) < CUTOFF
        # exactly opposite but for the rounding of two differences of numbers around 10 Å
        torch.testing.assert_close(vectors[graph.reverse], -vectors, rtol=0, atol=1e-14)


class TestOneStructure:
    def test_labels_arrive_and_absent_ones_are_nan_never_zero(self):
        data, labels = to_data(RECORDS[3], CUTOFF), RECORDS[3].labels
        assert data.energy.item() == labels.energy
        np.testing.assert_array_equal(data.forces.numpy(), labels.forces)
        np.testing.assert_array_equal(data.stress.numpy()[0], labels.stress)
        assert data.energies.isnan().all() and data.energies.shape == (1,)
        assert to_data(RECORDS[0], CUTOFF).stress.isnan().all()

    def test_a_lattice_without_periodicity_is_no_cell_and_has_no_images(self):
        data = to_data(RECORDS[4], CUTOFF)
        assert not data.cell.any() and data.num_edges == 2 and not data.shifts.any()

    def test_every_image_within_the_cutoff_is_an_edge(self):
        # 12 nearest neighbours at a/√2 = 2.546 Å, 6 more at a = 3.6 Å, the next beyond 4 Å: all images of one atom
        assert to_data(RECORDS[3], CUTOFF).num_edges == 18

    def test_large_structures_and_many_images_do_not_overflow_the_small_types(self):
        crystal = bulk("Cu", "fcc", a=3.6) * (6, 6, 6)
        data = to_data(labelled(crystal), 12.0)
        assert data.num_edges > 2**16
        assert torch.equal(data.edge_index[0][data.reverse_index], data.edge_index[1])
        far = Atoms("HH", positions=[[0, 0, 0], [700.5, 0, 0]], cell=[2, 2, 2], pbc=True)  # 350 cells away
        assert to_data(far, 3.0, with_labels=False).shifts.abs().max() > 128

    def test_missing_labels_are_refused(self):
        with pytest.raises(InputError, match="the structure has none"):
            to_data(molecule("H2O"), CUTOFF)
        with pytest.raises(InputError, match="the structure has none"):
            InMemoryStructures([Record(molecule("H2O"), "md", "rattled")], CUTOFF)
        with pytest.raises(InputError, match="no structures"):
            InMemoryStructures([], CUTOFF)


class TestDatasets:
    @pytest.fixture
    def store(self, tmp_path):
        made = LabelStore.create(tmp_path / "labels", {})
        unlabelled = Record(molecule("H2O"), "md", "rattled", None, "distance")
        made.add("a", [*RECORDS[:2], unlabelled])
        made.add("b", RECORDS[2:])
        return made

    def test_a_store_gives_the_same_batches_as_memory(self, store):
        disk, memory = StoredStructures(store, store.accepted, CUTOFF), InMemoryStructures(RECORDS, CUTOFF)
        assert len(disk) == len(memory) == 5
        assert disk.atoms_per_structure.tolist() == memory.atoms_per_structure.tolist() == [9, 1, 8, 1, 2]
        assert disk.edges_per_structure.tolist() == memory.edges_per_structure.tolist()
        for indices in ([4, 0, 2], MicroBatch([3, 1], [3, 1, 0])):
            assert_same_batch(disk.__getitems__(indices), memory.__getitems__(indices))
        assert torch.equal(disk[2].pos, memory[2].pos)

    def test_edges_are_counted_once_per_content_and_cutoff(self, store, monkeypatch):
        first = StoredStructures(store, store.accepted, CUTOFF).edges_per_structure
        calls = []
        from mlff.data import stored_dataset

        original = stored_dataset.neighbor_list
        monkeypatch.setattr(stored_dataset, "neighbor_list", lambda *a: calls.append(a) or original(*a))
        again = StoredStructures(LabelStore.open(store.folder), store.accepted, CUTOFF)
        assert again.edges_per_structure.tolist() == first.tolist() and not calls
        assert StoredStructures(store, store.accepted, 3.0).edges_per_structure.sum() < first.sum()
        assert len(calls) == 5

    def test_the_totals_of_the_group_are_attached_to_its_micro_batches(self):
        batch = InMemoryStructures(RECORDS, CUTOFF).__getitems__(MicroBatch([1, 0], [1, 0, 2]))
        assert batch.group_structures.tolist() == [3] and batch.group_atoms.tolist() == [18]

    def test_fingerprints_tell_data_apart(self, store):
        assert InMemoryStructures(RECORDS, CUTOFF).fingerprint == InMemoryStructures(RECORDS, CUTOFF).fingerprint
        assert InMemoryStructures(RECORDS[:4], CUTOFF).fingerprint != InMemoryStructures(RECORDS, CUTOFF).fingerprint
        one, other = (StoredStructures(store, indices, CUTOFF) for indices in ([0, 1], [0, 3]))
        assert one.fingerprint != other.fingerprint
