"""The data of a training run for Lightning: loaders, stage by stage, and a place that can be saved and resumed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from pytorch_lightning import LightningDataModule
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader

from mlff.data.dataset import InMemoryStructures
from mlff.data.sampler import EdgeLimitedBatchSampler, pack
from mlff.data.stored_dataset import StoredStructures
from training.errors import ConfigurationError

Structures = InMemoryStructures | StoredStructures


class Limits(NamedTuple):
    """What ends a micro-batch, and how many make an optimizer step; see `StructureDataModule`."""

    max_edges: int
    max_structures: int
    accumulate: int


class StructureLoader(DataLoader):
    """PyG's loader for data sets that put whole batches together themselves."""

    def __init__(self, dataset: Structures, batch_sampler: Any, workers: int = 0) -> None:
        keep = {"persistent_workers": True, "multiprocessing_context": "spawn"} if workers else {}
        super().__init__(dataset, batch_sampler=batch_sampler, num_workers=workers, **keep)
        self.collate_fn = _already_a_batch


class StructureDataModule(LightningDataModule):
    """Training and validation batches of labelled structures.

    Training batches are random, limited by edges, and carry the totals of their accumulation group:
    ``group_structures`` and ``group_atoms``, each (1,). Validation batches keep the order of the data.

    Args:
        train, validation: data sets.
        max_edges: edges of a micro-batch, at most.
        max_structures: structures of a micro-batch, at most.
        accumulate: micro-batches per optimizer step.
        seed: of the order of the training batches.
        workers: loader processes; 0 loads in the training process.
    """

    def __init__(
        self,
        train: Structures,
        validation: Structures,
        max_edges: int,
        max_structures: int,
        accumulate: int = 1,
        seed: int = 0,
        workers: int = 0,
    ) -> None:
        super().__init__()
        self.train, self.validation = train, validation
        self._seed, self._workers = seed, workers
        self._defaults = self._limits = Limits(max_edges, max_structures, accumulate)
        self.sampler = self._make_sampler()

    def enter_stage(self, stage: Any) -> None:
        """Take a stage's ``max_edges``, ``max_structures`` and ``accumulate``.

        Limits that the stage lacks or leaves None are the module's own. The position in the data is kept where the
        limits stay the same; else the epoch begun under other limits is left, and the stage starts with the next one.
        """
        given = ((name, getattr(stage, name, None)) for name in Limits._fields)
        limits = self._defaults._replace(**{name: value for name, value in given if value is not None})
        if limits == self._limits:
            return
        self._limits = limits
        epoch = self.sampler.epoch + (self.sampler.position > 0)
        self.sampler = self._make_sampler()
        self.sampler.begin_epoch(epoch)

    def batch_done(self) -> None:
        """One more training batch has been trained on; call it after every micro-batch."""
        self.sampler.advance()

    @property
    def batches_per_epoch(self) -> int:
        """Training micro-batches of the present epoch."""
        return self.sampler.batches_per_epoch

    def train_dataloader(self) -> StructureLoader:
        """What is left of the present epoch."""
        return StructureLoader(self.train, self.sampler, self._workers)

    def val_dataloader(self) -> StructureLoader:
        """Every validation structure once, in the order of the data."""
        edges = self.validation.edges_per_structure
        batches = pack(np.arange(len(edges)), edges, self._limits.max_edges, self._limits.max_structures)
        return StructureLoader(self.validation, batches)

    def state_dict(self) -> dict[str, Any]:
        """Where the training is in the data."""
        return {"sampler": self.sampler.state_dict(), "fingerprint": self.train.fingerprint}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where a checkpoint was; enter its stage first.

        Raises:
            ConfigurationError: if the training data or the batch limits are not those of the checkpoint.
        """
        if state_dict["fingerprint"] != self.train.fingerprint:
            raise ConfigurationError(
                "The training data are not those of the checkpoint. Restore them, or start afresh with "
                "run.resume=false."
            )
        self.sampler.load_state_dict(state_dict["sampler"])

    def _make_sampler(self) -> EdgeLimitedBatchSampler:
        return EdgeLimitedBatchSampler(self.train.edges_per_structure, *self._limits, seed=self._seed)


def _already_a_batch(batch: Batch) -> Batch:
    return batch
