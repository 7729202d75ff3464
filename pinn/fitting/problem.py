"""What a user hands over, checked and brought into one form: float64 tensors with a row for each fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pinn.fitting.starts import Candidates
from training.errors import InputError
from training.optimizers.batched_sums import Effect, LinearTerms

Array = Tensor | np.ndarray | Sequence[Any] | float


@dataclass(frozen=True)
class FitProblem:
    """B fits of p parameters to m data each, on the CPU.

    Attributes:
        data: (B, m), 0 where it does not count.
        weights: (B, m) ``1/σ²``, 0 where masked.
        usable: (B,) whether data and errors are finite where they count.
        start: (B, s, p), or candidates.
        lower, upper: (B, p).
        prior_mean, prior_weight: (B, p).
        inputs: (B, …) each.
        terms: linear terms, or None.
        scaled: whether the size of the errors is unknown and taken from what is left of χ².
    """

    data: Tensor
    weights: Tensor
    usable: Tensor
    start: Tensor | Candidates
    lower: Tensor
    upper: Tensor
    prior_mean: Tensor
    prior_weight: Tensor
    inputs: tuple[Tensor, ...]
    terms: LinearTerms | None
    scaled: bool

    @property
    def size(self) -> int:
        return len(self.data)

    @property
    def n_parameters(self) -> int:
        return self.lower.shape[1]

    @property
    def n_terms(self) -> int:
        return self.terms.count if self.terms else 0

    @property
    def dof(self) -> Tensor:
        """(B,) data and priors, less parameters and linear terms."""
        known = (self.weights > 0).sum(1) + (self.prior_weight > 0).sum(1)
        return known - self.n_parameters - self.n_terms


def prepare(
    data: Array,
    sigma: Array | None,
    mask: Array | None,
    start: Array | Candidates,
    bounds: tuple[Array, Array] | None,
    priors: tuple[Array, Array] | None,
    linear_basis: Array | None,
    linear_effect: Effect,
    inputs: Sequence[Array],
) -> FitProblem:
    """See `pinn.fitting.fit.batched_fit`.

    Raises:
        InputError: names the argument that does not fit, and its shape.
    """
    table = _tensor(data, "data")
    if table.ndim != 2 or not table.numel():
        raise InputError(f"data has the shape (fits, data of each); got {tuple(table.shape)}.")
    size, m = table.shape
    counts = ~_flags(mask, (size, m))
    errors = torch.ones(size, m, dtype=torch.float64) if sigma is None else _spread(sigma, "sigma", (size, m))
    good = torch.isfinite(table) & torch.isfinite(errors) & (errors > 0)
    used = counts & good
    weights = torch.where(used, errors, 1.0).pow(-2) * used
    points = _starts(start, size)
    p = points.points.shape[1] if isinstance(points, Candidates) else points.shape[2]
    lower, upper = _bounds(bounds, (size, p))
    _check_starts(points, lower, upper)
    mean, weight = _priors(priors, (size, p))
    return FitProblem(
        torch.where(used, table, 0.0), weights, (good | ~counts).all(1), points, lower, upper, mean, weight,
        tuple(_input(given, place, size) for place, given in enumerate(inputs)),
        None if linear_basis is None else _terms(linear_basis, linear_effect, m), sigma is None,
    )  # fmt: skip


def _tensor(value: Array, name: str) -> Tensor:
    try:
        found = value.detach() if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value))
        return found.to("cpu", torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{name} is no table of numbers: {error}") from error


def _spread(value: Array, name: str, shape: tuple[int, ...]) -> Tensor:
    found = _tensor(value, name)
    try:
        return found.expand(shape)
    except RuntimeError as error:
        raise InputError(f"{name} has the shape {tuple(found.shape)}, which does not spread to {shape}.") from error


def _flags(mask: Array | None, shape: tuple[int, int]) -> Tensor:
    return torch.zeros(shape, dtype=torch.bool) if mask is None else _spread(mask, "mask", shape) != 0


def _starts(start: Array | Candidates, size: int) -> Tensor | Candidates:
    if isinstance(start, Candidates):
        return Candidates(_tensor(start.points, "start"), start.keep)
    found = _tensor(start, "start")
    if found.ndim == 1:
        found = found[None, None, :].expand(size, 1, -1)
    elif found.ndim == 2:
        found = found[:, None, :]
    if found.ndim != 3 or len(found) != size or not found.numel():
        raise InputError(
            f"start has the shape (p,), ({size}, p) or ({size}, starts, p) for {size} fits; got {tuple(found.shape)}. "
            "Points to be tried by every fit are handed over as Candidates."
        )
    return found


def _bounds(bounds: tuple[Array, Array] | None, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    if bounds is None:
        bounds = (-torch.inf, torch.inf)
    lower, upper = (_spread(b, f"bounds[{i}]", shape).contiguous() for i, b in enumerate(bounds))
    if not bool((lower <= upper).all()):
        raise InputError("A lower bound lies above its upper bound, or is not a number.")
    return lower, upper


def _check_starts(start: Tensor | Candidates, lower: Tensor, upper: Tensor) -> None:
    points = start.points[None] if isinstance(start, Candidates) else start
    outside = ~((points >= lower[:, None]) & (points <= upper[:, None]))
    if bool(outside.any()):
        fit, which, parameter = outside.nonzero()[0].tolist()
        value = points[0 if isinstance(start, Candidates) else fit, which, parameter].item()
        raise InputError(
            f"start {value:g} of parameter {parameter} in fit {fit} is outside its bounds "
            f"[{lower[fit, parameter]:g}, {upper[fit, parameter]:g}], or not a number."
        )


def _priors(priors: tuple[Array, Array] | None, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    if priors is None:
        return torch.zeros(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64)
    mean, width = (_spread(given, f"priors[{i}]", shape) for i, given in enumerate(priors))
    if not bool((width > 0).all()):
        raise InputError("The width of a Gaussian prior is positive, infinite where there is none.")
    weight = width.pow(-2)
    if not bool(torch.isfinite(mean[weight > 0]).all()):
        raise InputError("The mean of a Gaussian prior is not a finite number.")
    return torch.where(weight > 0, mean, 0.0), weight.contiguous()


def _terms(basis: Array, effect: Effect, m: int) -> LinearTerms:
    terms = LinearTerms(_tensor(basis, "linear_basis").contiguous(), effect)
    if len(terms.basis) != m or not bool(torch.isfinite(terms.basis).all()):
        raise InputError(
            f"linear_basis has a finite row for each of the {m} data of a fit; got the shape "
            f"{tuple(terms.basis.shape)}."
        )
    return terms


def _input(given: Array, place: int, size: int) -> Tensor:
    found = given.detach().cpu() if isinstance(given, Tensor) else torch.as_tensor(np.asarray(given))
    if found.ndim == 0 or len(found) != size:
        raise InputError(f"inputs[{place}] has a row for each of the {size} fits; got {tuple(found.shape)}.")
    return found
