"""Fitting one model to many data sets at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from pinn.fitting.devices import choose_device, describe_work
from pinn.fitting.problem import Array, FitProblem, prepare
from pinn.fitting.result import FitResult
from pinn.fitting.starts import Candidates, best_candidates
from pinn.fitting.sums import fastest_sums
from training.errors import InputError
from training.optimizers.batched_covariance import covariances
from training.optimizers.batched_least_squares import Batch, Fitted, LockStep, Status, Stopping
from training.optimizers.batched_model import Forward, Jacobian, Model, as_model
from training.optimizers.batched_steps import Bounds
from training.optimizers.batched_sums import Effect

CACHE_BYTES = 12e6
"""Predictions and derivatives of the fits at work on a CPU: written and read again, they should stay in its cache."""

DEVICE_SHARE = 0.2
"""Of a GPU's free memory, for the same; the model's own intermediate results need several times as much."""

PART_BYTES = 1e9
"""Data that lie on the device at the same time."""


def batched_fit(
    forward: Forward | Model,
    data: Array,
    sigma: Array | None = None,
    mask: Array | None = None,
    start: Array | Candidates = (),
    bounds: tuple[Array, Array] | None = None,
    priors: tuple[Array, Array] | None = None,
    linear_basis: Array | None = None,
    device: str = "auto",
    *,
    linear_effect: Effect = "multiplied",
    inputs: Sequence[Array] = (),
    jacobian: Jacobian | None = None,
    names: Sequence[str] = (),
    slots: int | None = None,
    stopping: Stopping | None = None,
    progress: Callable[[int], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> FitResult:
    """Minimise ``χ² = Σ ((data − prediction)/σ)²`` for every row of the data: Levenberg–Marquardt in lock-step.

    Nothing is dropped: a fit that fails keeps its row and says so in its status, and changes no other fit.

    Args:
        forward: ``forward(parameters, *inputs)``, (n, p) to (n, m), in torch, rows independent; or a model with a
            method ``linearise`` (`training.optimizers.batched_model.Model`), which is faster than automatic
            differentiation. It stays where it is unless it has a method ``to``.
        data: (B, m).
        sigma: standard errors, of a shape that spreads to (B, m); None: equal and unknown, taken from what is left.
        mask: true where a datum does not count, as in numpy.ma; spreads to (B, m).
        start: (p,), (B, p), or several starts of each fit (B, s, p), which all go down and of which the lowest χ² is
            kept; or `Candidates`, of which the best go down.
        bounds: lowest and highest values, each spreading to (B, p); infinite where there is none.
        priors: means and standard deviations of Gaussian priors, spreading to (B, p); an infinite one is none.
        linear_basis: (m, k), terms whose coefficients are linear and projected out in every step.
        device: ``cpu``, ``cuda``, or ``auto``: where B fits take less time by a model that is measured once.
        linear_effect: whether the sum of the linear terms multiplies the model or is added to it.
        inputs: what else the model takes, (B, …) each.
        jacobian: ``jacobian(parameters, *inputs)``, (n, m, p), instead of automatic differentiation.
        names: of the parameters.
        slots: fits worked on at the same time; as many as fit into the cache or a GPU's memory unless given.
        stopping: when a fit ends.
        progress: called with the number of fits that have ended since the last call.
        say: receives a line about the choice of the device.

    Returns:
        Parameters, linear coefficients, covariance of both, χ², degrees of freedom, iterations, status, timings.

    Raises:
        InputError: if a shape does not fit, a start is outside its bounds, or a device is not there.
    """
    began = time.perf_counter()
    problem = prepare(data, sigma, mask, start, bounds, priors, linear_basis, linear_effect, inputs)
    model = as_model(forward, jacobian)
    if isinstance(problem.start, Candidates) and problem.inputs:
        raise InputError("Candidates are for models without inputs of their own for each fit; give starts (B, s, p).")
    labels = tuple(names) or tuple(f"p{i}" for i in range(problem.n_parameters))
    if len(labels) != problem.n_parameters:
        raise InputError(f"names has {len(labels)} names for {problem.n_parameters} parameters.")
    limits = Stopping() if stopping is None else stopping

    def solve(rows: Tensor, where: torch.device) -> list[Tensor]:
        return _solve_rows(problem, model, rows, where, slots, limits, progress)

    def trial(n: int, where: torch.device) -> float:
        rows = torch.arange(n) % problem.size
        start_time = time.perf_counter()
        _solve_rows(problem, model, rows, where, slots, limits, None)
        return time.perf_counter() - start_time

    work = describe_work(forward, problem.n_parameters, problem.n_terms, problem.data.shape[1])
    choice = choose_device(device, problem.size, trial, work, hasattr(model, "to"), say)
    if hasattr(model, "to"):
        model.to(choice.device)
    chosen = time.perf_counter()
    parts = [solve(rows, choice.device) for rows in torch.arange(problem.size).split(_part_size(problem))]
    columns = [torch.cat(column) for column in zip(*parts, strict=True)]
    ended = time.perf_counter()
    choice.check(problem.size, ended - chosen, say)
    timings = {
        "total": ended - began, "prepare_and_choose": chosen - began, "fit": ended - chosen,
        "fits_per_second": problem.size / (ended - chosen),
        **{f"predicted_{name}": seconds for name, seconds in choice.predicted.items()},
    }  # fmt: skip
    return _assemble(problem, columns, timings, str(choice.device), labels)


def _solve_rows(
    problem: FitProblem,
    model: Model,
    rows: Tensor,
    device: torch.device,
    slots: int | None,
    stopping: Stopping,
    progress: Callable[[int], None] | None,
) -> list[Tensor]:
    """Fit some rows on a device: parameters, coefficients, covariance, χ², iterations, status and start, on the CPU."""
    if hasattr(model, "to"):
        model.to(device)
    terms = problem.terms.to(device) if problem.terms else None
    enough = (problem.dof[rows] >= 0) & ((problem.weights[rows] > 0).sum(1) > 0)
    fitted_rows = problem.usable[rows] & enough
    data, weights = problem.data[rows].to(device), problem.weights[rows].to(device)
    if isinstance(problem.start, Candidates):
        candidates = Candidates(problem.start.points.to(device), problem.start.keep)
        starts = best_candidates(candidates, model, data, weights, terms)
    else:
        starts = problem.start[rows].to(device)
    s = starts.shape[1]
    owner = fitted_rows.nonzero()[:, 0].repeat_interleave(s).to(device)
    which = torch.arange(s, device=device).repeat(int(fitted_rows.sum()))
    of_fit = rows.to(device)[owner].cpu()
    batch = Batch(
        model, data[owner] if s > 1 or not bool(fitted_rows.all()) else data,
        weights[owner] if s > 1 or not bool(fitted_rows.all()) else weights, starts[owner, which].contiguous(),
        Bounds(problem.lower[of_fit].to(device), problem.upper[of_fit].to(device)),
        problem.prior_mean[of_fit].to(device), problem.prior_weight[of_fit].to(device),
        [given[of_fit].to(device) for given in problem.inputs], terms, fastest_sums(device),
    )  # fmt: skip
    fitted = LockStep(batch, slots or _slots(problem, device), stopping).run(_per_fit(progress, s))
    return _gather(fitted, batch, owner, which, starts, fitted_rows, enough)


def _gather(
    fitted: Fitted, batch: Batch, owner: Tensor, which: Tensor, starts: Tensor, attempted: Tensor, enough: Tensor
) -> list[Tensor]:
    """The best of each fit's starts, and a row for each fit that was not attempted."""
    n, s, p = starts.shape
    covariance, singular = covariances(fitted.equations, fitted.parameters, batch.bounds)
    status = fitted.status
    settled = (status == Status.CONVERGED) | (status == Status.AT_BOUND)
    status = torch.where(settled & singular, Status.SINGULAR.value, status)
    good = (status == Status.CONVERGED) | (status == Status.AT_BOUND)
    covariance = torch.where(good[:, None, None], covariance, torch.nan)
    device, k = status.device, batch.n_terms
    chi2 = starts.new_full((n, s), torch.inf)
    finite = torch.where(status == Status.NOT_FINITE, torch.inf, fitted.equations.chi2)
    chi2[owner, which] = finite
    best = chi2.argmin(dim=1)
    place = torch.full((n, s), -1, dtype=torch.int64, device=device)
    place[owner, which] = torch.arange(len(owner), device=device)
    chosen = place[torch.arange(n, device=device), best]
    rows = (chosen >= 0).nonzero()[:, 0]
    source = chosen[rows]
    missing = torch.where(enough, Status.NOT_FINITE.value, Status.TOO_FEW_DATA.value).to(device)
    out = [
        starts[torch.arange(n, device=device), best].clone(), starts.new_full((n, k), torch.nan),
        starts.new_full((n, p + k, p + k), torch.nan), starts.new_full((n,), torch.nan),
        torch.zeros(n, dtype=torch.int64, device=device), missing, best,
    ]  # fmt: skip
    found = (fitted.parameters, fitted.equations.coefficients, covariance, finite, fitted.iterations, status)
    for target, values in zip(out, found, strict=False):
        target[rows] = values[source]
    failed = out[5] == Status.NOT_FINITE
    out[1][failed], out[3][failed] = torch.nan, torch.nan
    return [part.cpu() for part in out]


def _assemble(
    problem: FitProblem, columns: list[Tensor], timings: dict[str, float], device: str, names: tuple[str, ...]
) -> FitResult:
    parameters, coefficients, covariance, chi2, iterations, status, start = columns
    dof = problem.dof
    if problem.scaled:
        covariance = covariance * (chi2 / dof.clamp(min=1))[:, None, None]
    return FitResult(
        parameters, coefficients, covariance, chi2, dof, iterations, status, start, timings, device, names
    )  # fmt: skip


def _per_fit(progress: Callable[[int], None] | None, starts: int) -> Callable[[int], None] | None:
    """Count a fit when as many rows have ended as it has starts."""
    if progress is None or starts == 1:
        return progress
    ended = 0

    def count(n: int) -> None:
        nonlocal ended
        before, ended = ended // starts, ended + n
        if ended // starts > before:
            cast(Any, progress)(ended // starts - before)

    return count


def _slots(problem: FitProblem, device: torch.device) -> int:
    """How many fits to work on at the same time."""
    each = 8 * problem.data.shape[1] * (1 + problem.n_parameters)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return max(1, int(DEVICE_SHARE * free / each))
    return max(8, int(CACHE_BYTES / each))


def _part_size(problem: FitProblem) -> int:
    starts = problem.start.keep if isinstance(problem.start, Candidates) else problem.start.shape[1]
    return max(1, int(PART_BYTES / (16 * problem.data.shape[1] * (1 + starts))))
