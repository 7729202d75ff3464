"""Training as the stages of a run do it, step by step under a clock that stands still while something is measured.

Points, loss, steps, schedules and averages are those of `pinn.solve`; what is left out is the run around them: the run
folder, checkpoints, logs, the report.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from pinn.problem import Problem
from pinn.solve.collocation import Collocation
from pinn.solve.judgement import Judge
from pinn.solve.results import RELATIVE_L2, RESIDUAL
from pinn.solve.scaling import LossScale
from pinn.solve.stage import SolveStage
from pinn.solve.steps import objective_changed, take_step
from pinn.solve.system import System
from pinn.solve.task import Task
from pinn.solve.trial import Trial, untrained
from training.averaging import AveragedModel
from training.configuration import instantiate
from training.module import parameter_groups
from training.schedules import StepSchedule
from training.stages import OPTIMIZERS, SCHEDULES

# the first step of a gradient scaler may be skipped, and the schedule steps all the same
warnings.filterwarnings(
    "ignore", message=".*Detected call of `lr_scheduler.step\\(\\)` before `optimizer.step\\(\\)`.*"
)

CHUNK = 10_000
"""Points evaluated together when an error is measured."""


@dataclass(frozen=True)
class Moment:
    """A look at the network.

    Attributes:
        stage, step: where, steps counted in the stage.
        seconds: of training so far, resampling included, measuring not.
        relative_l2: of the worst field.
        residual_rms: on fixed points that are evenly spread over the domain.
    """

    stage: str
    step: int
    seconds: float
    relative_l2: float
    residual_rms: float


@dataclass
class Course:
    """One training.

    Args:
        problem: with a reference.
        network: ``_target_`` and arguments, as in a configuration.
        stages: by name, in order.
        seed: of weights and points.
        clock: in seconds.
    """

    problem: Problem
    network: Mapping[str, Any]
    stages: Mapping[str, SolveStage]
    seed: int
    clock: Callable[[], float]
    moments: list[Moment] = field(default_factory=list)
    seconds: float = 0.0
    costs: dict[str, tuple[float, int]] = field(default_factory=dict)
    """Seconds and steps of each stage, its first two steps left out."""

    def __post_init__(self) -> None:
        self.system = System(self.problem)
        self.judge = Judge(self.system, 4000, CHUNK)
        self.trial = untrained(self.problem, self.network, self.seed)
        self.collocation = Collocation(self.problem, self.stages, self.seed)

    def run(self, limit: float | None = None, every: float = 2.0, target: float | None = None) -> list[Moment]:
        """Go through the stages.

        Args:
            limit: seconds of training after which it ends; None: it ends with its steps.
            every: seconds between two looks.
            target: relative L2 error at which it ends.
        """
        seen = 0.0
        for name, stage in self.stages.items():
            over = False
            for step in self._steps(name, stage):
                over = limit is not None and self.seconds >= limit
                if over or step == stage.steps or self.seconds - seen >= every:
                    seen = self.seconds
                    self._look(name, step)
                    over = over or (target is not None and self.moments[-1].relative_l2 <= target)
                if over:
                    break
            if over:
                break
        return self.moments

    def _steps(self, name: str, stage: SolveStage) -> Iterator[int]:
        """Take the steps of a stage, and give the number of each."""
        self.trial.to(stage.weight_dtype)
        self.collocation.enter_stage(stage)
        average = None if stage.ema_decay is None else AveragedModel(self.trial)
        second_opinion = None if average is None else average.model
        assert second_opinion is None or isinstance(second_opinion, Trial)
        task = Task(self.system, self.trial, self.collocation, stage, torch.device("cpu"), second_opinion)
        parameters = parameter_groups(self.trial) if stage.closure is None else list(self.trial.parameters())
        optimizer = instantiate(stage.optimizer, OPTIMIZERS, params=parameters)
        schedule = StepSchedule(optimizer, instantiate(stage.schedule, SCHEDULES), stage.steps)
        scale = LossScale() if stage.precision == "16-mixed" else None
        for step in range(stage.steps):
            start = self.clock()
            if task.prepare(step):
                objective_changed(optimizer)
            take_step(stage.closure, optimizer, task.objective, stage.clip, scale)
            if task.balance_after(step + 1):
                objective_changed(optimizer)
            schedule.step()
            if average is not None and stage.ema_decay is not None:
                average.update(self.trial, stage.ema_decay)
            took = self.clock() - start
            self.seconds += took
            if step > 1:
                before, steps = self.costs.get(name, (0.0, 0))
                self.costs[name] = (before + took, steps + 1)
            yield step + 1

    def _look(self, name: str, step: int) -> None:
        means = {key: float(total / count) for key, (total, count) in self._sums().items()}
        metrics = self.judge.metrics(means)
        self.moments.append(Moment(name, step, self.seconds, metrics[RELATIVE_L2], metrics[RESIDUAL]))

    def _sums(self) -> dict[str, tuple[Any, Any]]:
        added: dict[str, tuple[Any, Any]] = {}
        for rows in self.judge:
            for key, (total, count) in self.judge.sums(self.trial, rows).items():
                before = added.get(key, (0.0, 0.0))
                added[key] = (before[0] + total, before[1] + count)
        return added


def at_time(moments: list[Moment], seconds: float) -> Moment:
    """The last look not later than this."""
    return [moment for moment in moments if moment.seconds <= seconds + 1e-9][-1]


def at_step(moments: list[Moment], step: int) -> Moment:
    """The last look in the last stage not later than this."""
    return [moment for moment in moments if moment.stage == moments[-1].stage and moment.step <= step][-1]


def plain(moments: list[Moment]) -> list[dict[str, Any]]:
    """For JSON."""
    return [asdict(moment) for moment in moments]
