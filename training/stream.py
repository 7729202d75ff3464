"""A stage's batches as one long stream, with a moment between two batches in which everything can be saved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import torch

from training.errors import InputError
from training.stages import Stage


class StageData(Protocol):
    """What a data module offers to the training; ``LightningDataModule`` subclasses add the first two methods."""

    def enter_stage(self, stage: Stage) -> None:
        """Take batch limits and accumulation from the stage; the position in the data is kept."""

    def batch_done(self) -> None:
        """One micro-batch is trained; the saved position moves behind it, and after the last one to the next epoch."""

    def train_dataloader(self) -> Iterable[Any]:
        """Batches from the saved position to the end of the epoch, anew at each ``iter``; every epoch holds a
        multiple of ``accumulate`` micro-batches."""

    def val_dataloader(self) -> Iterable[Any] | None:
        """Batches for validation, or None."""

    def state_dict(self) -> dict[str, Any]:
        """Seed, epoch and position as plain values."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue at a saved position."""


class BatchStream:
    """Epochs one after another, without a boundary that Lightning would see.

    Lightning's own restart in the middle of an epoch shuffles anew and fetches one batch ahead where it does not know
    the length. Here the length is known and the position is the data's own, so a batch is fetched when it is trained.

    Args:
        loader: gives the rest of the current epoch at each ``iter``.
        length: number of micro-batches of the stage.
        between: called before each batch is fetched.
    """

    def __init__(self, loader: Iterable[Any], length: int, between: Callable[[], None]) -> None:
        self.loader = loader
        self.length = length
        self.between = between

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        while True:
            # a DataLoader draws a seed when it starts, also when a resumed run starts it in mid-epoch
            state = torch.get_rng_state()
            epoch = iter(self.loader)
            torch.set_rng_state(state)
            empty = True
            self.between()
            for batch in epoch:
                empty = False
                yield batch
                self.between()
            if empty:
                raise InputError("There is no batch to train on; the training set is empty or smaller than one batch.")
