"""What happens around the steps of one stage: saving, stopping, averaging, measuring, showing."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from training import profiling
from training.budget import TimeBudget
from training.checkpoints import LAST
from training.context import RunContext
from training.module import StagedModule
from training.progress import Phase, duration
from training.seeding import random_state, restore_random_state, seed_everything
from training.stages import Stage
from training.stream import StageData

STATE_KEY = "limbeck"
NOTE_SECONDS = 0.5
"""The loss beside the bar is renewed this often, because reading it waits for the device."""


@dataclass
class StagePosition:
    """Where in the list of stages a run is; saved in every checkpoint.

    Attributes:
        names: all stages of the run, in order.
        index: the current one.
        steps_before: optimizer steps of all stages before it.
        steps: optimizer steps done in it.
        total_steps: its length, which a time budget may have cut.
        budget_settled: whether the time budget has decided.
        seconds: time spent in it.
        finished: whether it is complete.
        losses: sums of the loss terms since they were last logged.
        data: state of the data module.
        random: state of all random streams; empty before the first step.
    """

    names: list[str]
    index: int = 0
    steps_before: int = 0
    steps: int = 0
    total_steps: int = 0
    budget_settled: bool = False
    seconds: float = 0.0
    finished: bool = False
    losses: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    random: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.names[self.index]


class StageLoop(pl.Callback):
    """Lightning's hooks for one stage.

    Args:
        stage: settings of the stage.
        position: where the run is; kept up to date.
        data: the data module.
        context: folder, tracker, progress, interruption, seed.
        phase: the bar of this stage.
    """

    def __init__(
        self, stage: Stage, position: StagePosition, data: StageData, context: RunContext, phase: Phase
    ) -> None:
        self.stage = stage
        self.position = position
        self.data = data
        self.context = context
        self.phase = phase
        self.trainer: pl.Trainer | None = None
        self._budget: TimeBudget | None = None
        self._seconds_before = position.seconds
        self._saved_at = time.monotonic()
        self._saved_steps = position.steps
        self._noted_at = self._logged_at = self._start = time.monotonic()

    # between two batches: the only moments in which a run is saved or stopped

    def between_batches(self) -> None:
        """Save if it is time, and stop if asked to; only where no gradients are pending."""
        assert self.trainer is not None
        if self.trainer.fit_loop.epoch_loop.batch_progress.current.ready % self.stage.accumulate:
            return
        self.save_or_stop()

    def save_or_stop(self) -> None:
        """Save if it is time, and stop if a signal asks for it."""
        assert self.trainer is not None
        asked = self.context.interruption.requested is not None
        due = time.monotonic() - self._saved_at >= self.context.checkpoint_seconds
        if (asked or due) and self.trainer.global_step > self._saved_steps:
            self._save()
        self.context.interruption.check()

    def on_save_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        assert isinstance(module, StagedModule)
        position = self.position
        position.steps = trainer.global_step
        position.total_steps = module.total_steps
        position.seconds = self.seconds()
        position.losses = module.loss_window()
        position.data = dict(self.data.state_dict())
        position.random = random_state()
        checkpoint[STATE_KEY] = dict(vars(position))

    def seconds(self) -> float:
        """Time spent in the stage by this and earlier processes."""
        return self._seconds_before + time.monotonic() - self._start

    def _save(self) -> None:
        assert self.trainer is not None
        module = self.trainer.lightning_module
        assert isinstance(module, StagedModule)
        with profiling.phase("saving"):
            module.check_finite()
            self.trainer.save_checkpoint(Path(self.context.folder.path) / LAST)
        self._saved_at = time.monotonic()
        self._saved_steps = self.trainer.global_step

    # Lightning's hooks

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.trainer = trainer
        # Lightning has put its own handler in place of ours
        self.context.interruption.install()
        if self.position.random:
            restore_random_state(self.position.random)
        else:
            seed_everything(self.context.seed, self.position.index)
        if self.stage.max_minutes is not None and not self.position.budget_settled:
            batches = sum(int(n) for n in trainer.num_val_batches if n != float("inf"))
            self._budget = TimeBudget(
                60 * self.stage.max_minutes,
                self.position.seconds,
                batches,
                self.stage.validate_every,
                self.stage.accumulate,
            )

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        assert isinstance(module, StagedModule)
        self.data.batch_done()
        if trainer.fit_loop.epoch_loop.batch_progress.current.ready % self.stage.accumulate:
            return
        module.step_done()
        self._settle_budget(trainer, module)
        done = trainer.global_step
        self._show(module, done)
        if done >= module.total_steps:
            # one more validation after the last step, whatever the interval
            trainer.val_check_batch = 1

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, StagedModule)
        if self._budget is not None:
            self._budget.pause()
        step = self.position.steps_before + trainer.global_step
        metrics = module.latest_validation
        self.context.tracker.log({f"validation/{name}": value for name, value in metrics.items()}, step)
        self.context.progress.say(f"  step {step}, stage {self.position.name}: {module.describe(metrics)}")

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.position.finished = True
        self._save()

    # time and words

    def _settle_budget(self, trainer: pl.Trainer, module: StagedModule) -> None:
        if self._budget is None:
            return
        steps = self._budget.steps_that_fit(trainer.global_step)
        if steps is None:
            return
        minutes = self.stage.max_minutes
        if steps < module.total_steps:
            self.context.progress.say(
                f"NOTE: stage {self.position.name} is cut from {module.total_steps} to {steps} steps to end within its "
                f"{minutes:g} minutes (stages.{self.position.name}.max_minutes) on this machine."
            )
            self._end_at(steps, trainer, module)
        self._budget = None
        self.position.budget_settled = True

    def _end_at(self, steps: int, trainer: pl.Trainer, module: StagedModule) -> None:
        """Give the running stage another length."""
        module.set_total_steps(steps)
        trainer.fit_loop.epoch_loop.max_steps = steps
        self.phase.set_total(steps)

    def _show(self, module: StagedModule, done: int) -> None:
        note = None
        if done % self.stage.log_every == 0 or done == module.total_steps:
            losses = module.take_losses()
            self._log(module, losses, self.position.steps_before + done)
            if time.monotonic() - self._noted_at > NOTE_SECONDS:
                note = f"loss {losses['loss']:.4g}"
                self._noted_at = time.monotonic()
        self.phase.advance(1, note)

    def _log(self, module: StagedModule, losses: dict[str, float], step: int) -> None:
        values = {f"train/{name}": value for name, value in losses.items()}
        values["learning_rate"] = module.learning_rate
        if module.gradient_norm is not None:
            values["gradient_norm"] = float(module.gradient_norm)
        values["stage"] = self.position.index
        # a half-precision step that the gradient scaler skips has a norm without a number
        self.context.tracker.log({name: value for name, value in values.items() if _finite(value)}, step)


def _finite(value: float) -> bool:
    return value - value == 0


def in_words(position: StagePosition) -> str:
    """For the log: where a run continues."""
    return f"stage {position.name}, step {position.steps} (after {duration(position.seconds)} in this stage)"
