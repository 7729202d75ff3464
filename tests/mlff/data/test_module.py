"""The data module hands Lightning the right batches, stage by stage, and goes on where a checkpoint was."""

from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from ase import Atoms
from ase.build import molecule
from torch_geometric.data import Batch

from mlff.data.dataset import InMemoryStructures
from mlff.data.module import StructureDataModule
from mlff.data.records import Labels, Record
from mlff.data.store import LabelStore
from mlff.data.stored_dataset import StoredStructures
from training.errors import ConfigurationError


def records(count, seed=0):
    """Molecules of two sizes; the energy is the number of the record, to recognise it in a batch."""
    values = np.random.default_rng(seed)
    made = []
    for number in range(count):
        atoms = molecule("H2O" if number % 2 else "CH3CH2OH")
        atoms.rattle(0.05, seed=number)
        made.append(Record(atoms, "md", "md", Labels(float(number), values.normal(size=(len(atoms), 3)))))
    return made


TRAIN, VALIDATION = InMemoryStructures(records(23), 4.0), InMemoryStructures(records(9), 4.0)


def module(**options):
    options = {"max_edges": 250, "max_structures": 4, "seed": 3, **options}
    return StructureDataModule(TRAIN, VALIDATION, **options)


def drawn(batches):
    return [batch.energy.tolist() for batch in batches]


def flat(batches):
    return [energy for batch in drawn(batches) for energy in batch]


def train(data, steps):
    """Train as the loop does: epoch after epoch from the saved position, with a report after every batch."""
    seen = []
    while len(seen) < steps:
        for batch in data.train_dataloader():
            if len(seen) == steps:
                break
            seen.append(batch.energy.tolist())
            data.batch_done()
    return seen


def test_training_batches_hold_every_structure_once_and_their_group():
    batches = list(module(accumulate=2).train_dataloader())
    assert sorted(flat(batches)) == list(range(23))
    for first, second in zip(batches[::2], batches[1::2], strict=True):
        assert isinstance(first, Batch) and first.num_edges <= 250 and first.num_graphs <= 4
        for batch in (first, second):
            assert batch.group_structures.item() == first.num_graphs + second.num_graphs
            assert batch.group_atoms.item() == first.num_nodes + second.num_nodes


def test_validation_keeps_the_order_and_the_limits_and_has_a_length():
    loader = module().val_dataloader()
    batches = list(loader)
    assert flat(batches) == list(range(9)) and len(loader) == len(batches)
    assert all(batch.num_edges <= 250 and batch.num_graphs <= 4 for batch in batches)
    assert "group_atoms" not in batches[0]


@pytest.mark.parametrize("done", [0, 1, 5, 9, 26])
def test_a_resumed_module_trains_on_the_same_remaining_batches(done):
    whole = train(module(), 40)
    first, second = module(), module()
    assert train(first, done) == whole[:done]
    second.load_state_dict(first.state_dict())
    assert train(second, 40 - done) == whole[done:]


def test_the_state_is_plain_values():
    state = module().state_dict()
    assert all(isinstance(value, int) for value in state["sampler"].values()) and isinstance(state["fingerprint"], str)


def test_other_data_are_refused():
    state = module().state_dict()
    other = StructureDataModule(InMemoryStructures(records(23, seed=1), 4.0), VALIDATION, 250, 4, seed=3)
    with pytest.raises(ConfigurationError, match="not those of the checkpoint"):
        other.load_state_dict(state)
    with pytest.raises(ConfigurationError, match="max_structures was 4 and is 5"):
        module(max_structures=5).load_state_dict(state)


class TestStages:
    def test_a_stage_brings_its_own_limits_and_starts_a_new_epoch(self):
        data = module()
        train(data, 2)
        data.enter_stage(SimpleNamespace(max_structures=2, accumulate=3))
        batches = list(data.train_dataloader())
        assert max(batch.num_graphs for batch in batches) == 2 and len(batches) % 3 == 0
        assert sorted(flat(batches)) == list(range(23)) and data.sampler.epoch == 1
        assert max(batch.num_graphs for batch in data.val_dataloader()) == 2

    def test_a_stage_without_limits_of_its_own_goes_on_in_the_epoch(self):
        data, stage = module(), SimpleNamespace(max_edges=None, accumulate=1)
        first = train(data, 3)
        data.enter_stage(stage)
        assert first + train(data, 5) == train(module(), 8)

    def test_limits_of_one_stage_do_not_leak_into_the_next(self):
        data = module()
        data.enter_stage(SimpleNamespace(max_structures=1))
        data.enter_stage(SimpleNamespace())
        assert max(batch.num_graphs for batch in data.train_dataloader()) == 4


def test_loader_processes_give_the_same_batches_from_a_store(tmp_path):
    store = LabelStore.create(tmp_path / "labels", {})
    store.add("a", records(23))
    disk = StoredStructures(store, range(23), 4.0)
    here = StructureDataModule(disk, VALIDATION, 250, 4, accumulate=2, seed=3)
    there = StructureDataModule(disk, VALIDATION, 250, 4, accumulate=2, seed=3, workers=1)
    for left, right in zip(here.train_dataloader(), there.train_dataloader(), strict=True):
        assert left.keys() == right.keys() and torch.equal(left.pos, right.pos)
        assert torch.equal(left.edge_index, right.edge_index) and torch.equal(left.group_atoms, right.group_atoms)


class Counter(pl.LightningModule):
    """Trains one number and notes which structures it sees, at which step."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen, self.steps = [], []

    def training_step(self, batch, _):
        self.seen += batch.energy.tolist()
        self.steps.append(self.trainer.global_step)
        return (self.weight * batch.energy.float().mean()).sum() / batch.group_structures.sum()

    def on_train_batch_end(self, *_):
        self.trainer.datamodule.batch_done()

    def validation_step(self, batch, _):
        self.log("energy", batch.energy.mean(), batch_size=batch.num_graphs)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_lightning_takes_the_module_as_it_is():
    """Three epochs with accumulation: every structure thrice, and no group runs over the end of an epoch."""
    data, model = module(accumulate=2), Counter()
    epochs = [len(data.sampler.plan(epoch)) for epoch in range(3)]
    trainer = pl.Trainer(
        max_epochs=3, accumulate_grad_batches=2, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    assert sorted(model.seen) == sorted(list(range(23)) * 3)
    assert trainer.global_step == sum(epochs) // 2 and (data.sampler.epoch, data.sampler.position) == (3, 0)
    assert model.steps == [step for step in range(sum(epochs) // 2) for _ in range(2)]


def test_atoms_without_neighbours_make_a_batch():
    lone = Record(Atoms("He"), "md", "md", Labels(0.0, np.zeros((1, 3))))
    data = StructureDataModule(InMemoryStructures([lone] * 3, 4.0), VALIDATION, 10, 2)
    assert sorted(batch.num_graphs for batch in data.train_dataloader()) == [1, 2]
