"""Levenberg–Marquardt on many independent small problems in lock-step.

The batch is outside of the optimizer: one evaluation serves all problems that are still at work, while each has its own
damping, its own accepted steps and its own end. A fixed number of slots is worked on; a problem that ends makes room
for the next, and at the end the slots close up, so that no evaluation is spent on a finished problem.

The steps are those of `training.optimizers.gauss_newton.GaussNewton` with Marquardt's metric: the same equations, the
same damping rule, the same test. What is different follows from the size: a handful of parameters, sums over the
predictions instead of a Jacobian that is kept, linear terms projected out, bounds and priors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import torch
from torch import Tensor

from training.optimizers.batched_damping import BatchedDamping
from training.optimizers.batched_model import Model
from training.optimizers.batched_steps import Bounds, bounded_steps, decrements, raised_metric
from training.optimizers.batched_sums import LinearTerms, NormalEquations, normal_equations


class Status(IntEnum):
    """How a fit ended."""

    CONVERGED = 0
    """At a minimum inside the bounds, to the tolerance."""

    AT_BOUND = 1
    """At the best point of the bounded region, at least one parameter at its bound: no error bar for that one."""

    MAX_ITERATIONS = 2
    """Still going down when the iterations were over."""

    STALLED = 3
    """No step, however small, lowers χ²: a kink, noise in the model, or derivatives that are not those of the model."""

    SINGULAR = 4
    """A minimum, but some combination of parameters or linear terms has no influence on the predictions there."""

    NOT_FINITE = 5
    """Data, errors or the prediction at the start are not finite numbers: nothing was fitted."""

    TOO_FEW_DATA = 6
    """Fewer unmasked data than parameters and linear terms: nothing was fitted."""


WORDS = {status: status.name.lower() for status in Status}
"""By status: the word in tables."""


@dataclass(frozen=True)
class Stopping:
    """When a fit ends, and the limits of its damping.

    Attributes:
        tolerance: distance to the minimum, in standard errors, at which a fit has converged.
        max_iterations: evaluations of a fit, at most.
        damping: the first μ, relative to the diagonal of the Gauss-Newton matrix.
        lowest_damping, highest_damping: limits of μ; beyond the highest a fit has stalled.
    """

    tolerance: float = 1e-3
    max_iterations: int = 100
    damping: float = 1e-3
    lowest_damping: float = 1e-15
    highest_damping: float = 1e10


@dataclass(frozen=True)
class Batch:
    """B problems with the same number of parameters p and of predictions m.

    Attributes:
        model: predictions and their derivatives.
        data: (B, m) float64, 0 where the weight is 0.
        weights: (B, m) float64, ``1/σ²``, 0 where masked.
        start: (B, p) float64, inside the bounds.
        bounds: (B, p) each.
        prior_mean, prior_weight: (B, p) ``(p − mean)²`` times the weight is part of χ²; 0 for no prior.
        inputs: what else the model takes, (B, …) each.
        terms: linear terms, or None.
        sums: from predictions to normal equations.
    """

    model: Model
    data: Tensor
    weights: Tensor
    start: Tensor
    bounds: Bounds
    prior_mean: Tensor
    prior_weight: Tensor
    inputs: Sequence[Tensor] = ()
    terms: LinearTerms | None = None
    sums: Callable[[Tensor, Tensor, Tensor, LinearTerms | None], NormalEquations] = normal_equations

    @property
    def size(self) -> int:
        return self.start.shape[0]

    @property
    def n_terms(self) -> int:
        return self.terms.count if self.terms else 0


@dataclass
class Fitted:
    """Where B fits ended, in the order of the batch.

    Attributes:
        parameters: (B, p).
        equations: the normal equations there, priors included.
        status: (B,) int64, `Status` without SINGULAR, which the covariance finds.
        iterations: (B,) int64, evaluations.
        evaluations: evaluations of all fits together, by lock-step.
    """

    parameters: Tensor
    equations: NormalEquations
    status: Tensor
    iterations: Tensor
    evaluations: list[int]


@dataclass
class _Slots:
    """The problems at work, row by row; `count` of them.

    `counted` is the number of data that count, `squares` the weighted sum of their squares.
    """

    row: Tensor
    parameters: Tensor
    trial: Tensor
    foretold: Tensor
    equations: NormalEquations
    damping: BatchedDamping
    metric: Tensor
    iterations: Tensor
    data: Tensor
    weights: Tensor
    counted: Tensor
    squares: Tensor
    count: int = 0

    def tables(self) -> tuple[Tensor, ...]:
        """Everything that belongs to a slot and moves with it."""
        return (
            self.row, self.parameters, self.trial, self.foretold, self.damping.value, self.damping.growth, self.metric,
            self.iterations, self.data, self.weights, self.counted, self.squares, *self.equations.parts(),
        )  # fmt: skip


class LockStep:
    """A batch of fits on its way down.

    Args:
        batch: the problems.
        slots: how many are worked on at the same time.
        stopping: when a fit ends.
    """

    def __init__(self, batch: Batch, slots: int, stopping: Stopping | None = None) -> None:
        self.batch = batch
        self.stopping = Stopping() if stopping is None else stopping
        size, p = batch.start.shape
        device = batch.start.device
        self.result = Fitted(
            batch.start.clone(),
            NormalEquations.empty(size, p, batch.n_terms, device),
            torch.full((size,), Status.NOT_FINITE.value, device=device),
            torch.zeros(size, dtype=torch.int64, device=device),
            [],
        )
        self._slots = self._empty(min(slots, size))
        self._next = 0
        self._rounding = 0.0

    @torch.no_grad()
    def run(self, progress: Callable[[int], None] | None = None) -> Fitted:
        """All fits to their ends.

        Args:
            progress: called with the number of fits that have ended since the last call.
        """
        slots = self._slots
        self._admit(torch.arange(len(slots.row), device=slots.row.device))
        slots.count = len(slots.row)
        while slots.count:
            self._step_forward()
            self._walk()
            ended = self._ended()
            if len(ended) and progress is not None:
                progress(len(ended))
            self._close_up(ended)
        return self.result

    def _empty(self, n: int) -> _Slots:
        batch = self.batch
        p = batch.start.shape[1]
        row = torch.zeros(n, dtype=torch.int64, device=batch.start.device)
        zero = batch.start.new_zeros(n)
        return _Slots(
            row,
            batch.start.new_zeros(n, p),
            batch.start.new_zeros(n, p),
            zero.clone(),
            NormalEquations.empty(n, p, batch.n_terms, row.device),
            BatchedDamping.starting(self.stopping.damping, zero),
            batch.start.new_zeros(n, p),
            row.clone(),
            batch.data.new_zeros(n, batch.data.shape[1]),
            batch.weights.new_zeros(n, batch.weights.shape[1]),
            zero.clone(),
            zero.clone(),
        )

    def _admit(self, places: Tensor) -> Tensor:
        """Let the next problems in at the places; returns the places that are left without one."""
        batch, slots = self.batch, self._slots
        n = min(len(places), batch.size - self._next)
        into, rest = places[:n], places[n:]
        rows = torch.arange(self._next, self._next + n, device=places.device)
        self._next += n
        if n:
            slots.row[into] = rows
            slots.parameters[into] = batch.start[rows]
            slots.trial[into] = batch.start[rows]
            slots.foretold[into] = 0.0
            slots.damping.value[into] = self.stopping.damping
            slots.damping.growth[into] = 2.0
            slots.metric[into] = 0.0
            slots.iterations[into] = 0
            slots.data[into] = batch.data[rows]
            slots.weights[into] = weights = batch.weights[rows]
            slots.counted[into] = (weights > 0).sum(1).double()
            slots.squares[into] = (weights * batch.data[rows] ** 2).sum(1)
            slots.equations.chi2[into] = torch.inf
        return rest

    def _active(self) -> _Slots:
        """Views of the slots that are in use."""
        slots, n = self._slots, self._slots.count
        return replace(
            slots,
            row=slots.row[:n], parameters=slots.parameters[:n], trial=slots.trial[:n], foretold=slots.foretold[:n],
            equations=NormalEquations(*(part[:n] for part in slots.equations.parts())),
            damping=BatchedDamping(slots.damping.value[:n], slots.damping.growth[:n]), metric=slots.metric[:n],
            iterations=slots.iterations[:n], data=slots.data[:n], weights=slots.weights[:n],
            counted=slots.counted[:n], squares=slots.squares[:n],
        )  # fmt: skip

    def _evaluate(self, at: _Slots) -> NormalEquations:
        """The normal equations at the trial parameters, priors included."""
        batch = self.batch
        jet = batch.model.linearise(at.trial, *(given[at.row] for given in batch.inputs))
        equations = batch.sums(jet, at.data, at.weights, batch.terms)
        off, weight = at.trial - batch.prior_mean[at.row], batch.prior_weight[at.row]
        equations.chi2 += (weight * off * off).sum(1)
        equations.gradient += weight * off
        equations.matrix.diagonal(dim1=1, dim2=2).add_(weight)
        self._rounding = torch.finfo(jet.dtype).eps
        self.result.evaluations.append(len(at.row))
        return equations

    def _step_forward(self) -> None:
        """Evaluate all trials, keep what is better, and learn from the rest."""
        at, limits = self._active(), self.stopping
        found = self._evaluate(at)
        finite = torch.isfinite(found.chi2) & torch.isfinite(found.gradient).all(1)
        finite &= torch.isfinite(found.matrix).all(2).all(1)
        accepted = finite & (found.chi2 < at.equations.chi2)
        first = torch.isinf(at.equations.chi2)
        gain = (at.equations.chi2 - found.chi2) / at.foretold
        # a step that was cut at a bound may lower χ² where the linear model foretold nothing
        gain = torch.where(at.foretold > 0, gain, 0.5)
        raised = at.damping.after(accepted, torch.where(accepted & ~first, gain, 0.5))
        keep = first & accepted
        value = torch.where(keep, at.damping.value, raised.value).clamp(min=limits.lowest_damping)
        at.damping.growth.copy_(torch.where(keep, at.damping.growth, raised.growth))
        at.damping.value.copy_(value)
        at.parameters.copy_(torch.where(accepted[:, None], at.trial, at.parameters))
        at.equations.replace(accepted, found)
        at.metric.copy_(torch.where(accepted[:, None], raised_metric(at.metric, at.equations.matrix), at.metric))
        at.iterations += 1

    def _walk(self) -> None:
        """The next trial of every fit, and what it is expected to gain."""
        at = self._active()
        bounds = self.batch.bounds.rows(at.row)
        steps, foretold = bounded_steps(
            at.equations.matrix, at.equations.gradient, at.damping.value, at.metric, at.parameters, bounds
        )
        # to the last bit inside, also where start + (bound − start) rounds to beyond the bound
        at.trial.copy_(torch.clamp(at.parameters + steps, bounds.lower, bounds.upper))
        at.foretold.copy_(foretold)

    def _ended(self) -> Tensor:
        """Places of the fits that have ended, their results written."""
        at, limits = self._active(), self.stopping
        bounds = self.batch.bounds.rows(at.row)
        held = bounds.held(at.parameters, at.equations.gradient)
        left = decrements(at.equations.matrix, at.equations.gradient, held)
        chi2 = at.equations.chi2
        freedom = (at.counted - at.parameters.shape[1]).clamp(min=1)
        size = at.squares
        # rounding of the predictions, at random signs, moves a χ² made of numbers of this size by about so much
        resolution = self._rounding * (size * chi2 / at.data.shape[1]).sqrt() + self._rounding**2 * size
        converged = left <= torch.maximum(limits.tolerance**2 * chi2 / freedom, resolution)
        started = torch.isfinite(chi2)
        status = torch.full_like(at.row, -1)
        status[at.iterations >= limits.max_iterations] = Status.MAX_ITERATIONS.value
        status[at.damping.value > limits.highest_damping] = Status.STALLED.value
        status[converged] = Status.CONVERGED.value
        status[converged & held.any(1)] = Status.AT_BOUND.value
        status[~started] = Status.NOT_FINITE.value
        places = (status >= 0).nonzero()[:, 0]
        if len(places):
            rows = at.row[places]
            result = self.result
            result.parameters[rows] = at.parameters[places]
            result.equations.put(rows, at.equations.take(places))
            result.status[rows] = status[places]
            result.iterations[rows] = at.iterations[places]
        return places

    def _close_up(self, ended: Tensor) -> None:
        """Fill the places that became free with new problems, then with the last ones at work."""
        slots = self._slots
        if not len(ended):
            return
        free = self._admit(ended)
        if not len(free):
            return
        remaining = slots.count - len(free)
        holes = free[free < remaining]
        tail = torch.ones(slots.count - remaining, dtype=torch.bool, device=free.device)
        tail[free[free >= remaining] - remaining] = False
        moved = tail.nonzero()[:, 0] + remaining
        if len(moved):
            for table in slots.tables():
                table[holes] = table[moved]
        slots.count = remaining
