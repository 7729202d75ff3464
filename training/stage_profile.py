"""The phases of a training step for a `Profile`, told by Lightning's hooks."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl

from training import profiling


class StageProfile(pl.Callback):
    """Splits the steps of one stage into copies, forward, backward, optimizer and validation.

    A module that takes its own steps (`BlockModule`) has no such hooks; its steps count as "steps" whole. Waiting for
    batches is seen by `profiling.timed` around the loader.

    Args:
        own_steps: whether the module takes its own steps.
    """

    def __init__(self, own_steps: bool) -> None:
        self.own_steps = own_steps

    def on_train_batch_start(self, *_: Any) -> None:
        """The batch is on the device."""
        profiling.switch("steps" if self.own_steps else "forward")

    def on_before_zero_grad(self, *_: Any) -> None:
        """The loss is there."""
        self._step("optimizer")

    def on_before_backward(self, *_: Any) -> None:
        """Derivatives are about to be taken."""
        self._step("backward")

    def on_after_backward(self, *_: Any) -> None:
        """They have been."""
        self._step("optimizer")

    def on_train_batch_end(self, *_: Any) -> None:
        """What follows is bookkeeping until the next batch."""
        profiling.switch("between steps")

    def on_validation_start(self, *_: Any) -> None:
        """Validation batches, network and metrics."""
        profiling.switch("validation")

    def on_validation_end(self, *_: Any) -> None:
        """Back to the steps."""
        profiling.switch("between steps")

    def on_fit_end(self, *_: Any) -> None:
        """The stage is over."""
        profiling.switch(profiling.ELSEWHERE)

    def on_exception(self, *_: Any) -> None:
        """The stage was stopped."""
        profiling.switch(profiling.ELSEWHERE)

    def _step(self, name: str) -> None:
        if not self.own_steps:
            profiling.switch(name)
