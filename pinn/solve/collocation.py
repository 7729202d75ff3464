"""The points of a run: where equations and conditions are asked to hold, and where the solution is judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pinn.conditions.condition import ConditionPoints, Values
from pinn.problem import Problem
from pinn.sampling.sampler import PointFunction, Sampler
from pinn.solve.stage import SAMPLERS, SolveStage
from training.configuration import instantiate
from training.stages import Stage


class Collocation:
    """Collocation points by the stage's sampler, and the points of the conditions that are learned.

    A `training.stream.StageData` whose batches are the data itself: whoever trains takes the points that are here at
    the moment, and `resample` changes them between two optimizer steps.

    Args:
        problem: its domain and conditions.
        stages: all stages of the run; each one's number and the seed decide its points.
        seed: of the run.
        validation: batches that are validated on, or None.

    Attributes:
        sampler: of the present stage; ``sampler.points`` (n, d) and ``sampler.weights`` (n,) are float64 on the CPU.
        conditions: points of each soft condition, by its name; most are the same throughout a stage.
    """

    sampler: Sampler

    def __init__(
        self, problem: Problem, stages: Mapping[str, SolveStage], seed: int, validation: Any | None = None
    ) -> None:
        self.problem, self.stages, self.seed = problem, dict(stages), seed
        self.validation = validation
        self.conditions: dict[str, ConditionPoints] = {}
        self._started = False

    def enter_stage(self, stage: Stage) -> None:
        """Draw the stage's first points; a stage without a sampler goes on with the points of the one before."""
        assert isinstance(stage, SolveStage)
        index = next(i for i, known in enumerate(self.stages.values()) if known is stage)
        spec = next(s.sampler for s in reversed([*self.stages.values()][: index + 1]) if s.sampler is not None)
        words = np.random.SeedSequence(self.seed, spawn_key=(index,)).generate_state(2, np.uint64)
        generators = [torch.Generator().manual_seed(int(word >> np.uint64(1))) for word in words]
        kept = self.sampler.points if stage.sampler is None and self._started else None
        sampler: Sampler = instantiate(spec, SAMPLERS)
        sampler.start(self.problem.domain, generators[0], kept)
        self.sampler, self._started = sampler, True
        self.conditions = {
            condition.name: condition.sample(self.problem.domain, stage.condition_points, generators[1])
            for condition in self.problem.soft_conditions
        }

    def resample(
        self, step: int, residual: PointFunction, uncertainty: PointFunction | None = None, values: Values | None = None
    ) -> bool:
        """Let the sampler move its points if it is time to, and with them those of conditions that follow the solution.

        Args:
            step: optimizer steps done in the stage.
            residual: |r| at any points, all equations together.
            uncertainty: for samplers that need it.
            values: the fields at any points, for conditions that follow them.

        Returns:
            Whether the points changed.
        """
        moved = self.sampler.update(step, residual, uncertainty if self.sampler.needs_uncertainty else None)
        if moved and values is not None:
            for condition in self.problem.soft_conditions:
                followed = condition.follow(self.problem.domain, self.conditions[condition.name], values)
                if followed is not None:
                    self.conditions[condition.name] = followed
        return moved

    def batch_done(self) -> None:
        """Nothing to count: the state is the points themselves."""

    def train_dataloader(self) -> Endless:
        """The data themselves, again and again."""
        return Endless(self)

    def val_dataloader(self) -> Any | None:
        """What was given for validation."""
        return self.validation

    def state_dict(self) -> dict[str, Any]:
        """Points, weights, random streams and counters of the sampler, and the conditions' points."""
        return {
            "sampler": self.sampler.state_dict(),
            "conditions": {name: _plain(points) for name, points in self.conditions.items()},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with saved points; the stage is entered before.

        Raises:
            ConfigurationError: if they belong to another sampler or domain.
        """
        self.sampler.load_state_dict(state_dict["sampler"])
        self.conditions = {name: ConditionPoints(**saved) for name, saved in state_dict["conditions"].items()}


class Endless:
    """One epoch holds the same object once; `training.stream.BatchStream` begins a new one whenever it ends."""

    def __init__(self, batch: Any) -> None:
        self.batch = batch

    def __iter__(self) -> Iterator[Any]:
        yield self.batch


def in_chunks(function: PointFunction, chunk: int) -> Callable[[Tensor], Tensor]:
    """A function of points that is evaluated on at most ``chunk`` of them at a time."""
    return lambda points: torch.cat([function(part) for part in points.split(chunk)])


def _plain(points: ConditionPoints) -> dict[str, Any]:
    return {
        "points": points.points,
        "normals": points.normals,
        "values": dict(points.values),
        "group": points.group,
    }
