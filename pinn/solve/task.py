"""What a stage works on: its points, its weights and the loss made of both, kept together as they change."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from pinn.conditions.condition import ConditionPoints
from pinn.residuals import default_chunk
from pinn.sampling.sampler import PointFunction
from pinn.sampling.uncertainty import disagreement
from pinn.solve.collocation import Collocation, in_chunks
from pinn.solve.objective import Objective, Weights
from pinn.solve.stage import BALANCES, SolveStage
from pinn.solve.system import PointGroup, System
from pinn.solve.trial import Trial
from pinn.weighting.balance import Balance
from pinn.weighting.gradients import AutogradGradients
from pinn.weighting.pointwise import Pointwise
from training.configuration import instantiate

MIXED = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


class Task:
    """The loss of a stage on the points that the collocation holds, whatever moves them.

    Args:
        system: equations and conditions.
        trial: the network.
        collocation: the points.
        stage: weights, balance, chunks, precision.
        device: of the weights.
        average: of the weights, the second opinion of samplers that ask how unsure the network is.

    Attributes:
        objective: the loss at present.
        balance: moves the weights of the terms.
        chunk: points evaluated together, at most.
        moved: whether the points changed in the last `prepare`.
    """

    objective: Objective

    def __init__(
        self,
        system: System,
        trial: Trial,
        collocation: Collocation,
        stage: SolveStage,
        device: torch.device,
        average: Trial | None = None,
    ) -> None:
        self.system, self.trial, self.collocation, self.stage = system, trial, collocation, stage
        self.device, self.average = device, average
        self.chunk = default_chunk(trial.network, system.layout) if stage.chunk is None else stage.chunk
        self.moved = False
        self._conditions: dict[str, tuple[ConditionPoints, PointGroup]] = {}
        self.balance: Balance = instantiate(stage.balance, BALANCES)
        self._follow_points()
        self.balance.start(self.objective.sizes)
        self.objective.keep_residuals = isinstance(self.balance, Pointwise)
        self.weights_changed()

    @property
    def term_weights(self) -> dict[str, float]:
        """w_k: the stage's own times the balance's."""
        given = self.stage.loss_weights
        return {term: given.get(term, 1.0) * self.balance.term_weights[term] for term in self.system.terms}

    def prepare(self, step: int) -> bool:
        """Before a step: move the points if it is time to, and balance before the first.

        Returns:
            Whether the loss is another one than after the step before.
        """
        scales = self.term_weights
        residual = in_chunks(lambda points: self.system.magnitude(self.trial, points, scales), self.chunk)
        self.moved = self.collocation.resample(step, residual, self._uncertainty(), self._values)
        if self.moved:
            origin = self.collocation.sampler.origin
            for term in self.system.equations:
                self.balance.points_changed(term, len(origin), origin)
            self._follow_points()
        balanced = step == 0 and self.balance.update(step, self._gradients())
        if self.moved or balanced:
            self.weights_changed()
        return self.moved or balanced

    def balance_after(self, step: int) -> bool:
        """After a step: move the weights if it is time to; ``step`` are done. Whether they changed."""
        if not self.balance.due(step):
            return False
        changed = self.balance.update(step, self._gradients())
        if changed:
            self.weights_changed()
        return changed

    def weights_changed(self) -> None:
        """Take the weights of balance and sampler into the loss."""
        points: dict[str, Tensor] = {}
        sampled = self.collocation.sampler.weights
        ones = bool((sampled == 1).all())
        for term, size in self.objective.sizes.items():
            own = self.balance.point_weights(term, size)
            if term in self.system.equations and not ones:
                own = sampled if own is None else own * sampled
            if own is not None:
                points[term] = own.to(self.device)
        self.objective.weights = Weights(self.term_weights, points)

    def _uncertainty(self) -> PointFunction | None:
        """How far the trained weights and their average are apart."""
        if self.average is None:
            return None
        members = [partial(self.system.values, trial) for trial in (self.trial, self.average)]
        return in_chunks(disagreement(members), self.chunk)

    def _follow_points(self) -> None:
        """A loss on exactly the points of the sampler."""
        interior = self.system.equation_points(self.collocation.sampler.points.to(self.device))
        weights = Weights(dict.fromkeys(self.system.terms, 1.0))
        former = getattr(self, "objective", None)
        self.objective = Objective(
            self.system,
            self.trial,
            [interior, *self._condition_groups()],
            weights,
            self.chunk,
            self.stage.accumulate,
            MIXED.get(self.stage.precision),
        )
        if former is not None:
            self.objective.keep_residuals = former.keep_residuals

    def _condition_groups(self) -> list[PointGroup]:
        """A group for each condition, the one before where its points have stayed."""
        for name, given in self.collocation.conditions.items():
            if name not in self._conditions or self._conditions[name][0] is not given:
                self._conditions[name] = given, self.system.condition_points(name, given.to(self.device))
        return [group for _, group in self._conditions.values()]

    def _values(self, points: Tensor) -> dict[str, Tensor]:
        """The fields at points (n, d), (n,) by name."""
        found = in_chunks(partial(self.system.values, self.trial), self.chunk)(points.to(self.device))
        return dict(zip(self.system.problem.fields, found.unbind(1), strict=True))

    def _gradients(self) -> _Gradients:
        return _Gradients(self.objective, self.chunk)


class _Gradients(AutogradGradients):
    """Answers to a balance; the residuals are those of the last evaluation of the loss, where there was one."""

    def __init__(self, objective: Objective, chunk: int) -> None:
        self.objective = objective
        functions = {term: _rows(objective, group, term) for group in objective.groups for term in group.terms}
        super().__init__(functions, objective.sizes, objective.parameters, chunk)

    def residual(self, term: str) -> Tensor:
        """(n,) r at all points."""
        kept = self.objective.residuals.get(term)
        return torch.cat(kept) if kept else super().residual(term)


def _rows(objective: Objective, group: PointGroup, term: str) -> Callable[[Tensor], Tensor]:
    """Residuals of one term as a function of the numbers of its residuals."""

    def residuals(rows: Tensor) -> Tensor:
        picked = group.pick(rows)
        return objective.system.residuals(objective.trial, picked, 0, len(picked.points))[term]

    return residuals
