"""What a batch of fits found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from training.optimizers.batched_least_squares import WORDS, Status

GOOD = (Status.CONVERGED, Status.AT_BOUND)
"""Ends at a minimum of the allowed region."""


@dataclass(frozen=True)
class FitResult:
    """One row for each fit, in the order of the data; failed ones included. Float64 tensors on the CPU.

    Attributes:
        parameters: (B, p); where nothing was fitted, the start.
        coefficients: (B, k) of the linear terms; not numbers where nothing was fitted.
        covariance: (B, p + k, p + k), parameters first. Not a number for a parameter at its bound (the others' are
            conditional on it there) and for singular, unfinished and failed fits.
        chi2: (B,) ``Σ ((data − prediction)/σ)²`` and the priors' part.
        dof: (B,) unmasked data and priors, less parameters and linear terms.
        iterations: (B,) evaluations of the model.
        status: (B,) int64, see `Status`.
        start: (B,) which of several starts led there.
        timings: seconds, by what they were spent on; ``fits_per_second``; ``predicted_<device>`` where it was measured.
        device: where it was computed.
        names: of the parameters.
    """

    parameters: Tensor
    coefficients: Tensor
    covariance: Tensor
    chi2: Tensor
    dof: Tensor
    iterations: Tensor
    status: Tensor
    start: Tensor
    timings: Mapping[str, float]
    device: str
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.status)

    @property
    def errors(self) -> Tensor:
        """Standard errors of the parameters, (B, p)."""
        p = self.parameters.shape[1]
        return self.covariance.diagonal(dim1=1, dim2=2)[:, :p].sqrt()

    @property
    def good(self) -> Tensor:
        """Whether each fit ended at a minimum, (B,): converged, or at a bound."""
        return sum((self.status == status for status in GOOD), torch.zeros_like(self.status)).bool()

    @property
    def words(self) -> list[str]:
        """The status of each fit in a word."""
        return [WORDS[Status(code)] for code in self.status.tolist()]

    @property
    def counts(self) -> dict[str, int]:
        """How many fits ended in which way; ways in which none ended are left out."""
        found = torch.bincount(self.status, minlength=len(Status)).tolist()
        return {WORDS[Status(code)]: count for code, count in enumerate(found) if count}

    def summary(self) -> dict[str, Any]:
        """Counts and timings as plain values."""
        return {"fits": len(self), "ended": self.counts, "device": self.device, "timings": dict(self.timings)}
