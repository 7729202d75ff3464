"""Modules that take their optimizer steps themselves, many to one of Lightning's batches.

Second-order optimizers evaluate the loss as often as they need, so Lightning's order of forward, backward and step does
not fit them; and a step of a small network takes a few milliseconds, of which Lightning's own work around a batch would
be a good part. Here a batch is a block: as many steps as fit into half a second, or until the next validation. What the
steps compute does not depend on where blocks end; a run is saved and stopped between two blocks.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.plugins.precision import Precision
from torch import Tensor

from training.loop import StageLoop
from training.module import StagedModule

BLOCK_SECONDS = 0.5
"""A block ends with the first step that ends later than this after its start."""


class BlockModule(StagedModule):
    """A staged module in Lightning's manual optimization; a half implements `advance`, and may override `stop_reason`
    and `figures`.

    Attributes:
        steps_before: optimizer steps of the stages before the present one.
        stage_seconds: says how long the present stage has taken, in all processes that worked on it.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.automatic_optimization = False
        self.step_taken: Callable[[StagedModule], bool] = _outside_a_run
        self.stage_seconds: Callable[[], float] = lambda: 0.0
        self.steps_before = 0

    @abstractmethod
    def advance(self, batch: Any) -> Mapping[str, Tensor]:
        """Take one optimizer step, schedule included.

        Returns:
            The loss under the name ``loss`` and its unweighted terms, all before the step.
        """

    def stop_reason(self) -> str | None:
        """Why the stage shall end after the step just taken, in words; None to go on."""
        return None

    def figures(self) -> dict[str, float]:
        """What is logged beside losses, learning rate and norm of the gradient, by its full name."""
        return {}

    def training_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        """One block of steps; Lightning has nothing left to do with their loss."""
        over = False
        while not over:
            self._remember(self.advance(batch))
            over = self.step_taken(self)

    def precision_plugin(self) -> Precision:
        """Lightning leaves numbers alone: weights have the stage's type, and mixed products are the module's own."""
        return Precision()


class BlockLoop(StageLoop):
    """Lightning's hooks for one stage of a `BlockModule`."""

    _block_start = 0.0

    def between_batches(self) -> None:
        """Save if it is time, and stop if asked to; no gradients are ever pending between two blocks."""
        self.save_or_stop()
        self._block_start = time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, BlockModule)
        super().on_train_start(trainer, module)
        module.step_taken = self._step_taken
        module.stage_seconds = self.seconds
        module.steps_before = self.position.steps_before
        self._validate_after_this_block(trainer, False)

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        assert isinstance(module, BlockModule)
        self.data.batch_done()
        self._validate_after_this_block(trainer, self._validation_is_due(module, trainer.global_step))

    def _step_taken(self, module: StagedModule) -> bool:
        """Count, show and judge a step; whether the block is over."""
        trainer = self.trainer
        assert trainer is not None and isinstance(module, BlockModule)
        progress = trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        progress.increment_ready()
        progress.increment_completed()
        module.step_done()
        self._settle_budget(trainer, module)
        done = trainer.global_step
        reason = module.stop_reason() if done < module.total_steps else None
        if reason is not None:
            self.context.progress.say(f"Stage {self.position.name} ends after {done} steps: {reason}.")
            self._end_at(done, trainer, module)
        self._show(module, done)
        late = time.monotonic() - self._block_start >= min(BLOCK_SECONDS, self.context.checkpoint_seconds)
        return late or self._validation_is_due(module, done) or self.context.interruption.requested is not None

    def _validation_is_due(self, module: StagedModule, done: int) -> bool:
        return done % self.stage.validate_every == 0 or done >= module.total_steps

    def _validate_after_this_block(self, trainer: pl.Trainer, due: bool) -> None:
        # Lightning counts batches; their number is not that of the steps
        trainer.val_check_batch = 1 if due else 2 * self.stage.steps + 1

    def _log(self, module: StagedModule, losses: dict[str, float], step: int) -> None:
        assert isinstance(module, BlockModule)
        super()._log(module, losses, step)
        if figures := module.figures():
            self.context.tracker.log(figures, step)


def _outside_a_run(module: StagedModule) -> bool:
    return True
