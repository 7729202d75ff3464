"""The LightningModule that goes through stages: losses and metrics come from a half, the rest is here."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from training.averaging import AveragedModel
from training.configuration import instantiate
from training.errors import ConfigurationError, LimbeckError
from training.schedules import StepSchedule
from training.stages import OPTIMIZERS, SCHEDULES, Stage

ASYNCHRONOUS_CHECK = 16
"""On a GPU a look at the loss waits for all work in flight, so only every so many steps are checked."""


class Diverged(LimbeckError):
    """A loss or gradient is not a finite number; the last checkpoint is from before."""


class StagedModule(pl.LightningModule):
    """A network, the average of its weights, and the stage it is trained in.

    A half implements `loss` and `validation_sums`, and may override `validation_metrics` and `describe`.

    Args:
        model: the network; its floating-point buffers of type float64 keep that type in every stage.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.average = AveragedModel(model)
        self.stage_name = ""
        self.stage: Stage | None = None
        self.total_steps = 0
        self.latest_validation: dict[str, float] = {}
        self.gradient_norm: Tensor | None = None
        self.learning_rate = 0.0
        self._exact_buffers = {name for name, value in self.named_buffers() if value.dtype == torch.float64}
        self._loss_sums: dict[str, Tensor] = {}
        self._loss_steps = 0
        self._finite: dict[str, Tensor] = {}
        self._observed: dict[str, Tensor] = {}
        self._validation_sums: dict[str, list[Tensor]] = {}

    @abstractmethod
    def loss(self, batch: Any) -> dict[str, Tensor]:
        """Unweighted terms of a micro-batch, scalars, computed with ``self.model``.

        Each term is the micro-batch's part of the mean over its accumulation group: added over the group it equals the
        term of one large batch. Without accumulation it is the mean over the batch. The names are the keys of
        ``stage.loss_weights``; a term of weight 0 may be left out.
        """

    @abstractmethod
    def validation_sums(self, model: nn.Module, batch: Any) -> dict[str, tuple[Tensor, Tensor | float]]:
        """For each metric a sum over the batch and the number of values in it, computed with the given network."""

    def validation_metrics(self, means: dict[str, float]) -> dict[str, float]:
        """Metrics to log from the means over the validation set; override to take roots or change units."""
        return means

    def describe(self, metrics: Mapping[str, float]) -> str:
        """The metrics of a validation on one line of the log."""
        return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())

    @property
    def judged_model(self) -> nn.Module:
        """The network that validation and export use: the average, or the trained one in a stage without average."""
        return self.model if self.stage is not None and self.stage.ema_decay is None else self.average.model

    def enter_stage(self, name: str, stage: Stage) -> None:
        """Make ready for a stage: type of the weights, average, number of steps."""
        averaged_before = self.stage is not None and self.stage.ema_decay is not None
        self.stage_name, self.stage = name, stage
        self.total_steps = stage.steps
        self._convert(stage.weight_dtype)
        if not averaged_before:
            self.average.restart(self.model)
        self._loss_sums.clear()
        self._finite.clear()
        self._loss_steps = 0
        self.gradient_norm = None

    def resume_stage(self, total_steps: int, losses: dict[str, Any]) -> None:
        """Continue a stage just entered, with its length and `loss_window` as they were saved."""
        self.total_steps = total_steps
        self._loss_sums = dict(losses["sums"])
        self._loss_steps = losses["steps"]

    def loss_window(self) -> dict[str, Any]:
        """Sums of the losses that are not logged yet, for a checkpoint."""
        return {"sums": dict(self._loss_sums), "steps": self._loss_steps}

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The stage's optimizer and schedule; biases, embeddings and scales are not decayed."""
        stage = self._stage()
        optimizer = instantiate(stage.optimizer, OPTIMIZERS, params=parameter_groups(self.model))
        schedule = StepSchedule(optimizer, instantiate(stage.schedule, SCHEDULES), self.total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def set_total_steps(self, steps: int) -> None:
        """Change the length of the running stage; the schedule follows from the next step on."""
        self.total_steps = steps
        self._schedule().total_steps = steps

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The weighted loss of one micro-batch."""
        stage = self._stage()
        terms = self.loss(batch)
        self._require_weights(terms, stage)
        total = torch.stack([stage.loss_weights[name] * value for name, value in terms.items()]).sum()
        self._remember({"loss": total, **terms})
        if self._schedule().observes is not None:
            for name, value in {"loss": total, **terms}.items():
                self._observed[name] = self._observed.get(name, torch.zeros_like(value)) + value.detach()
        # Lightning divides by the number of micro-batches, but the terms are parts of the group's mean already
        return total * stage.accumulate

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Note the norm of the gradient and the rate of this step, refuse a norm that is not finite, and clip."""
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])
        self.gradient_norm = norm.detach()
        self.learning_rate = float(optimizer.param_groups[0]["lr"])
        self._show_schedule(norm)
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        # a gradient scaler skips such a step by itself and lowers its scale
        if not scaled:
            self._finite["gradient"] = self._finite.get("gradient", torch.isfinite(norm)) & torch.isfinite(norm)
            if self.device.type == "cpu":
                self.check_finite()
        if gradient_clip_val:
            torch.nn.utils.clip_grads_with_norm_(parameters, gradient_clip_val, norm)

    def step_done(self) -> None:
        """After each optimizer step: move the average, and look whether the numbers are finite."""
        self._loss_steps += 1
        decay = self._stage().ema_decay
        if decay is not None:
            self.average.update(self.model, decay)
        if self.device.type == "cpu" or self.trainer.global_step % ASYNCHRONOUS_CHECK == 0:
            self.check_finite()

    def check_finite(self) -> None:
        """Stop at numbers that are not finite, before they reach a checkpoint.

        Raises:
            Diverged: names the terms, or the gradient.
        """
        bad = [name for name, finite in self._finite.items() if not bool(finite)]
        self._finite.clear()
        if bad:
            # the sum and the gradient follow from a bad term
            names = ", ".join([name for name in bad if name not in ("loss", "gradient")] or bad)
            raise Diverged(
                f"Training diverged: {names} is not finite at step {self.trainer.global_step} of stage "
                f"{self.stage_name}. The last good state is kept in last.ckpt. Lower the learning rate "
                f"(stages.{self.stage_name}.optimizer.lr), clip gradients (stages.{self.stage_name}.clip) or look for "
                "wrong labels."
            )

    def take_losses(self) -> dict[str, float]:
        """Means of the loss and its terms over the steps since the last call; waits for the device."""
        steps = max(self._loss_steps, 1)
        means = {name: float(value) / steps for name, value in self._loss_sums.items()}
        self._loss_sums.clear()
        self._loss_steps = 0
        return means

    def on_validation_epoch_start(self) -> None:
        self.check_finite()
        self._validation_sums.clear()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Add the sums of one batch, with the judged network."""
        for name, (total, count) in self.validation_sums(self.judged_model, batch).items():
            total = torch.as_tensor(total, dtype=torch.float64, device=self.device)
            count = torch.as_tensor(count, dtype=torch.float64, device=self.device)
            sums = self._validation_sums.setdefault(name, [torch.zeros_like(total), torch.zeros_like(count)])
            sums[0], sums[1] = sums[0] + total, sums[1] + count

    def on_validation_epoch_end(self) -> None:
        means = {name: float(total / count) for name, (total, count) in self._validation_sums.items() if count > 0}
        self.latest_validation = self.validation_metrics(means)

    def _schedule(self) -> StepSchedule:
        schedule = self.lr_schedulers()
        assert isinstance(schedule, StepSchedule)
        return schedule

    def _show_schedule(self, norm: Tensor) -> None:
        """Let a schedule that follows a value see the one of the step that is about to be taken."""
        schedule = self._schedule()
        if schedule.observes is None:
            return
        known = {**self._observed, "gradient_norm": norm}
        if schedule.observes not in known:
            raise ConfigurationError(
                f"stages.{self.stage_name}.schedule.observes: there is no {schedule.observes}; a schedule may follow "
                f"{', '.join(known)}."
            )
        schedule.observe(float(known[schedule.observes]))
        self._observed.clear()

    def _stage(self) -> Stage:
        assert self.stage is not None, "enter_stage comes first"
        return self.stage

    def _convert(self, dtype: torch.dtype) -> None:
        for parameter in self.parameters():
            if parameter.is_floating_point():
                parameter.data = parameter.data.to(dtype)
        for name, value in self.named_buffers():
            if value.is_floating_point() and name not in self._exact_buffers:
                value.data = value.data.to(dtype)

    def _require_weights(self, terms: Mapping[str, Tensor], stage: Stage) -> None:
        missing = sorted(set(terms) - set(stage.loss_weights))
        unknown = sorted(name for name in set(stage.loss_weights) - set(terms) if stage.loss_weights[name] > 0)
        where = f"stages.{self.stage_name}.loss_weights"
        if missing:
            raise ConfigurationError(f"{where} gives no weight to {', '.join(missing)}; add it, 0 to ignore the term.")
        if unknown:
            raise ConfigurationError(
                f"{where} weights {', '.join(unknown)}, which the loss does not compute with these labels; its terms "
                f"are {', '.join(sorted(terms))}."
            )

    def _remember(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            value = value.detach()
            self._loss_sums[name] = self._loss_sums[name].to(value.device) + value if name in self._loss_sums else value
            finite = torch.isfinite(value)
            self._finite[name] = self._finite[name] & finite if name in self._finite else finite


def parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """All parameters in two groups; embeddings and parameters of at most one dimension are kept from weight decay."""
    embeddings = {id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters(recurse=False)}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    kept = [p for p in trained if p.ndim <= 1 or id(p) in embeddings]
    decayed = [p for p in trained if p.ndim > 1 and id(p) not in embeddings]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": kept, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
