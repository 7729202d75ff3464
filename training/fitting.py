"""Training a module through its stages, from wherever an earlier process was stopped."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.plugins.environments import LightningEnvironment

from training import profiling
from training.blocks import BlockLoop, BlockModule
from training.checkpoints import AtomicCheckpointIO, find_checkpoint
from training.context import RunContext
from training.errors import ConfigurationError
from training.loop import STATE_KEY, StageLoop, StagePosition, in_words
from training.module import StagedModule
from training.precision import precision_plugin
from training.stage_profile import StageProfile
from training.stages import Stage
from training.stream import BatchStream, StageData

IRRELEVANT_WARNINGS = (
    ".*does not have many workers which may be a bottleneck.*",
    ".*your dataloader is not resumable.*",
    ".*You defined a `validation_step` but have no `val_dataloader`.*",
    ".*The number of training batches .* is smaller than the logging interval.*",
    # the first step of a gradient scaler may be skipped, and the schedule steps all the same
    ".*Detected call of `lr_scheduler.step\\(\\)` before `optimizer.step\\(\\)`.*",
    # Lightning with a newer PyTorch
    ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
)
"""What Lightning says about things that are meant here: the position in the data is saved by the data itself."""

IRRELEVANT_MESSAGES = (
    "GPU available",
    "TPU available",
    "HPU available",
    "LOCAL_RANK",
    "Tip:",
    "Restoring states from the checkpoint",
    "Restored all states from the checkpoint",
    "`Trainer.fit` stopped",
    "`weights_only` was not set",
    "Using default",
)
"""Starts of Lightning's messages that repeat what this program says itself, or advertise."""


def fit_stages(module: StagedModule, data: StageData, stages: Mapping[str, Stage], context: RunContext) -> None:
    """Train through all stages; continue from the run folder's checkpoint if there is one.

    On the CPU, with the same number of threads, a continued run equals an uninterrupted one bit for bit: weights,
    average, optimizer, order of the data and random streams. With ``max_minutes`` it does so once the number of steps
    is settled. Steps count on over the stages in the tracker.

    Args:
        module: holds trained weights and their average afterwards; ``module.judged_model`` is the one to export.
        data: batches and their position.
        stages: in the order in which they are trained.
        context: the run.

    Raises:
        Interrupted: after a signal; the state is saved.
        Diverged: if the loss or its gradient is not finite.
        ConfigurationError: if the checkpoint was written with other stages.
    """
    position, checkpoint = _restore(module, data, stages, context)
    for index in range(position.index, len(stages)):
        if index > position.index:
            before = position.steps_before + position.steps
            position = StagePosition(list(stages), index=index, steps_before=before)
        stage = stages[position.name]
        if not (position.finished or checkpoint):
            module.enter_stage(position.name, stage)
            data.enter_stage(stage)
        if not position.finished:
            context.tracker.begin_stage(position.steps_before)
            _fit(module, data, stage, position, context, checkpoint)
        checkpoint = None


def _restore(
    module: StagedModule, data: StageData, stages: Mapping[str, Stage], context: RunContext
) -> tuple[StagePosition, Path | None]:
    """The position to start from, with module and data put there; the checkpoint if Lightning has to load the rest."""
    found = find_checkpoint(context.folder.path, context.progress.say)
    if found is None:
        context.tracker.resume_from(0)
        return StagePosition(list(stages)), None
    path, content = found
    position = StagePosition(**content[STATE_KEY])
    if position.names != list(stages):
        raise ConfigurationError(
            f"{path} was written with the stages {', '.join(position.names)}, but the configuration has "
            f"{', '.join(stages)}. Restore them, or start beside it with run.resume=false."
        )
    stage = stages[position.name]
    module.enter_stage(position.name, stage)
    data.enter_stage(stage)
    data.load_state_dict(position.data)
    if position.finished:
        module.load_state_dict(content["state_dict"])
    module.resume_stage(position.total_steps, position.losses)
    context.tracker.resume_from(position.steps_before + position.steps + 1)
    done = position.finished and position.index == len(stages) - 1
    context.progress.say(f"Training is complete in {path}." if done else f"Continuing at {in_words(position)}.")
    return position, None if position.finished else path


def _fit(
    module: StagedModule,
    data: StageData,
    stage: Stage,
    position: StagePosition,
    context: RunContext,
    checkpoint: Path | None,
) -> None:
    name = f"Training, stage {position.name}"
    with context.progress.phase(name, module.total_steps, "steps", done=position.steps) as phase, _quiet_lightning():
        loop = (BlockLoop if isinstance(module, BlockModule) else StageLoop)(stage, position, data, context, phase)
        validation = data.val_dataloader()
        trainer = _trainer(module, stage, context, loop, validates=validation is not None)
        batches = profiling.timed("data loading", data.train_dataloader())
        stream = BatchStream(batches, stage.steps * stage.accumulate, loop.between_batches)
        loop.trainer = trainer
        trainer.fit(module, stream, validation, ckpt_path=checkpoint, weights_only=True)


def _trainer(module: StagedModule, stage: Stage, context: RunContext, loop: StageLoop, validates: bool) -> pl.Trainer:
    hardware = context.hardware
    # a module that takes its own steps accumulates, clips and mixes precisions itself; its loop says when to validate
    blocks = module if isinstance(module, BlockModule) else None
    return pl.Trainer(
        accelerator=hardware.accelerator,
        devices=hardware.devices,
        max_steps=module.total_steps,
        max_epochs=-1,
        accumulate_grad_batches=1 if blocks else stage.accumulate,
        gradient_clip_val=None if blocks else stage.clip,
        val_check_interval=stage.steps if blocks else stage.validate_every * stage.accumulate,
        check_val_every_n_epoch=None,
        limit_val_batches=None if validates else 0,
        num_sanity_val_steps=0,
        logger=context.tracker.loggers or False,
        callbacks=[loop] if profiling.active() is None else [StageProfile(blocks is not None), loop],
        # LightningEnvironment, so that a batch system's own requeueing does not compete with ours
        plugins=[
            AtomicCheckpointIO(),
            LightningEnvironment(),
            blocks.precision_plugin() if blocks else precision_plugin(stage.precision, hardware.device),
        ],
        default_root_dir=context.folder.path,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        inference_mode=True,
    )


class _Irrelevant(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        return not any(words in message for words in IRRELEVANT_MESSAGES)


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Drop the messages and warnings named above, and no others."""
    loggers = [logging.getLogger(name) for name in _rank_zero_loggers()]
    irrelevant = _Irrelevant()
    for logger in loggers:
        logger.addFilter(irrelevant)
    try:
        with warnings.catch_warnings():
            for message in IRRELEVANT_WARNINGS:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(irrelevant)


def _rank_zero_loggers() -> list[str]:
    prefixes = ("pytorch_lightning", "lightning", "lightning_fabric")
    known: dict[str, Any] = logging.Logger.manager.loggerDict
    return [name for name in known if name.startswith(prefixes)]
