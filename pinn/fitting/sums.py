"""Which implementation of the sums over the data runs on a device."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pinn.fitting import numba_sums
from training.optimizers.batched_sums import LinearTerms, NormalEquations, normal_equations

Sums = Callable[[Tensor, Tensor, Tensor, LinearTerms | None], NormalEquations]


def fastest_sums(device: torch.device) -> Sums:
    """Numba's single pass on the CPU, plain torch elsewhere."""
    return numba_sums.normal_equations if device.type == "cpu" else normal_equations
