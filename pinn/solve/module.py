"""Training a network to satisfy equations: the steps of every kind of optimizer, and what is measured meanwhile."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from pinn.names import hint
from pinn.sampling.sampler import ResidualNotFinite
from pinn.solve.collocation import Collocation
from pinn.solve.judgement import Judge, describe_errors
from pinn.solve.scaling import LossScale
from pinn.solve.snapshots import PointDiary
from pinn.solve.stage import SolveStage
from pinn.solve.steps import TermsNotFinite, objective_changed, take_step
from pinn.solve.system import System
from pinn.solve.task import Task
from pinn.solve.trial import Trial
from pinn.weighting.balance import NotBalanced
from training.blocks import BlockModule
from training.configuration import instantiate
from training.errors import ConfigurationError
from training.module import Diverged, parameter_groups
from training.schedules import StepSchedule
from training.stages import OPTIMIZERS, SCHEDULES, Stage
from training.stopping import StopRule


class SolveModule(BlockModule):
    """A network, the equations it shall satisfy, and the stage it is trained in.

    Points are resampled and weights balanced between two steps, so an optimizer that evaluates the loss several times
    in a step sees one loss. A second-order optimizer hears of every change.

    Args:
        system: the problem's equations and conditions.
        trial: network and unknown parameters.
        collocation: the points; the same object that Lightning gets its batches from.
        judge: measures errors and residuals.
        diary: keeps pictures of the points; None keeps none.

    Attributes:
        record: of every stage so far, steps, seconds, points and the error at its end; plain numbers.
    """

    model: Trial

    def __init__(
        self, system: System, trial: Trial, collocation: Collocation, judge: Judge, diary: PointDiary | None = None
    ) -> None:
        super().__init__(trial)
        self.system, self.collocation, self.judge, self.diary = system, collocation, judge, diary
        self.record: dict[str, dict[str, Any]] = {}
        self.task: Task | None = None
        self.scale = LossScale()
        self._rule: StopRule | None = None
        self._last_loss = math.nan
        self._kept_at = -1
        self._saved: dict[str, Any] = {}
        self._good: list[Tensor] = []
        self._present: list[Tensor] = []

    # a stage begins

    def enter_stage(self, name: str, stage: Stage) -> None:
        """See `StagedModule.enter_stage`; forgets what belongs to the stage before."""
        assert isinstance(stage, SolveStage)
        super().enter_stage(name, stage)
        self.task = None
        self.scale = LossScale()
        self._rule = StopRule(stage.stop)
        self._last_loss = math.nan
        self._kept_at = -1
        self._saved = {}

    def on_train_start(self) -> None:
        """Put the loss of the stage together, and what a checkpoint knows of its balance and its end."""
        stage = self._stage()
        average = self.average.model if stage.ema_decay is not None else None
        assert average is None or isinstance(average, Trial)
        self.task = Task(self.system, self.model, self.collocation, stage, self.device, average)
        if self._saved:
            self.task.balance.load_state_dict(self._saved["balance"])
            self.scale.load_state_dict(self._saved["scale"])
            self._stop_rule().load_state_dict(self._saved["stop"])
            self._last_loss, self._kept_at = self._saved["last_loss"], self._saved["kept_at"]
            self.latest_validation = dict(self._saved["validation"])
            self.task.weights_changed()
        self._good, self._present = ([p.detach().clone() for p in self.model.parameters()] for _ in range(2))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The stage's optimizer and schedule; one of second order sees all weights as one list."""
        stage = self._stage()
        parameters = parameter_groups(self.model) if stage.closure is None else list(self.model.parameters())
        optimizer = instantiate(stage.optimizer, OPTIMIZERS, params=parameters)
        schedule = StepSchedule(optimizer, instantiate(stage.schedule, SCHEDULES), self.total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    # a step

    def advance(self, batch: Collocation) -> Mapping[str, Tensor]:
        """One optimizer step, on points that may have moved just before."""
        task, stage, step = self._task(), self._stage(), self.trainer.global_step
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        with self._moving(step):
            if task.prepare(step):
                objective_changed(optimizer)
        self._keep_points(step)
        self.learning_rate = float(optimizer.param_groups[0]["lr"])
        torch._foreach_copy_(self._present, [parameter.detach() for parameter in self.model.parameters()])
        scale = self.scale if stage.precision == "16-mixed" else None
        try:
            taken = take_step(stage.closure, optimizer, task.objective, stage.clip, scale)
        except TermsNotFinite as error:
            words = f"{', '.join(error.names)} {'are' if len(error.names) > 1 else 'is'} not finite"
            raise Diverged(self._divergence(words, step)) from error
        # their loss was a number
        self._good, self._present = self._present, self._good
        terms, self.gradient_norm = taken.terms, taken.gradient_norm
        with self._moving(step + 1):
            if task.balance_after(step + 1):
                objective_changed(optimizer)
        self._last_loss = float(terms["loss"])
        self._follow_schedule(terms)
        return terms

    def _follow_schedule(self, terms: Mapping[str, Tensor]) -> None:
        schedule = self._schedule()
        if schedule.observes is not None:
            schedule.observe(self._value_of(schedule.observes, terms))
        schedule.step()

    def _value_of(self, name: str, terms: Mapping[str, Tensor]) -> float:
        """The value of a step that a schedule follows."""
        known: dict[str, Tensor | float] = {**terms, **self.latest_validation}
        if self.gradient_norm is not None:
            known["gradient_norm"] = self.gradient_norm
        if name in known:
            return float(known[name])
        if name in self.judge.names:
            return math.nan  # not validated yet
        raise ConfigurationError(
            f"stages.{self.stage_name}.schedule.observes: there is no {name}; {hint(name, [*known, *self.judge.names])}"
        )

    # what is measured

    def loss(self, batch: Any) -> dict[str, Tensor]:
        """The terms on the present points, without gradient; steps compute their own."""
        return {name: value for name, value in self._task().objective.values().items() if name != "loss"}

    def figures(self) -> dict[str, float]:
        """Weights of terms, unknown parameters, training time; see `BlockModule.figures`."""
        values = {f"weight/{name}": value for name, value in self._task().term_weights.items()}
        if len(set(values.values())) == 1:
            values = {}
        with torch.no_grad():
            found = self.model.values(self.system.problem)
        values |= {f"parameter/{name}": float(value) for name, value in found.items()}
        if self._stage().precision == "16-mixed":
            values["loss_scale"] = self.scale.value
        values["points"] = float(len(self.collocation.sampler.points))
        values["seconds"] = self.seconds()
        return values

    def seconds(self) -> float:
        """Training time of all stages and processes so far."""
        before = sum(entry["seconds"] for name, entry in self.record.items() if name != self.stage_name)
        return before + self.stage_seconds()

    def stop_reason(self) -> str | None:
        """Why the stage shall end: its stop rule, or an optimizer that has no further step on these points."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        stopped = str(getattr(optimizer, "stopped", ""))
        if stopped and self.collocation.sampler.every is None:
            return stopped
        return self._stop_rule().check(self.trainer.global_step, self._last_loss, self.stage_seconds())

    def validation_sums(self, model: nn.Module, batch: Any) -> dict[str, tuple[Tensor, Tensor | float]]:
        """Squared errors, squared references and squared residuals, see `pinn.solve.judgement.Judge`."""
        assert isinstance(model, Trial)
        return self.judge.sums(model, batch)

    def validation_metrics(self, means: dict[str, float]) -> dict[str, float]:
        """Relative L2 errors and root mean square residuals."""
        return self.judge.metrics(means)

    def describe(self, metrics: Mapping[str, float]) -> str:
        """Error and residual on one line."""
        return describe_errors(metrics)

    # numbers that are not finite

    def check_finite(self) -> None:
        """Every step looks at its own loss before it moves a weight."""
        self._finite.clear()

    def restore_good_weights(self) -> None:
        """Put back the last weights whose loss was a number."""
        with torch.no_grad():
            for parameter, good in zip(self.model.parameters(), self._good, strict=True):
                parameter.copy_(good)

    @contextmanager
    def _moving(self, step: int) -> Iterator[None]:
        """Points or weights are moved, for which residuals and gradients have to be numbers too."""
        try:
            yield
        except (ResidualNotFinite, NotBalanced) as error:
            # the first sentence names the term; the remedies are those of every divergence
            words = str(error).split(". ")[0]
            raise Diverged(self._divergence(words, step)) from error

    def _divergence(self, words: str, step: int) -> str:
        return (
            f"Training diverged: {words} at step {step} of stage {self.stage_name}. Lower the learning rate "
            f"(stages.{self.stage_name}.optimizer.lr), clip gradients (stages.{self.stage_name}.clip), or look for a "
            "division by zero or a root of a negative number in the equations."
        )

    # state

    def get_extra_state(self) -> dict[str, Any]:
        """What a checkpoint keeps beside weights, average and optimizer; plain values and tensors."""
        state: dict[str, Any] = {"record": self.record}
        if self.task is not None:
            self._note_stage()
            state["stage"] = {
                "balance": self.task.balance.state_dict(),
                "scale": self.scale.state_dict(),
                "stop": self._stop_rule().state_dict(),
                "last_loss": self._last_loss,
                "kept_at": self._kept_at,
                "validation": dict(self.latest_validation),
            }
        return state

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take over `get_extra_state`; what belongs to the stage is used when its training starts."""
        self.record = dict(state["record"])
        self._saved = state.get("stage", {})

    def _note_stage(self) -> None:
        stage = self._stage()
        self.record[self.stage_name] = {
            "optimizer": stage.optimizer["_target_"].rpartition(".")[2],
            "precision": stage.precision,
            "steps": self.trainer.global_step,
            "seconds": self.stage_seconds(),
            "points": len(self.collocation.sampler.points),
            "relative_l2": self.latest_validation.get("relative_l2"),
        }

    def _keep_points(self, step: int) -> None:
        task = self._task()
        if self.diary is None or not self.diary.due(self.stage_name, step, task.moved, self._kept_at):
            return
        sampler = self.collocation.sampler
        total = self.steps_before + step
        self.diary.keep(self.stage_name, step, total, sampler.points, sampler.weights)
        self._kept_at = step

    def _stop_rule(self) -> StopRule:
        assert self._rule is not None, "enter_stage comes first"
        return self._rule

    def _task(self) -> Task:
        assert self.task is not None, "training has not started"
        return self.task

    def _stage(self) -> SolveStage:
        assert isinstance(self.stage, SolveStage), "enter_stage comes first"
        return self.stage
