"""The hot operations of the student. `reference` is the oracle in plain torch; `rows` are its fast CPU kernels."""

from __future__ import annotations

import logging
from functools import cache

import torch

_log = logging.getLogger(__name__)

CHOICES = ("auto", "reference", "numba")


def choose(kernels: str, device: torch.device, dtype: torch.dtype) -> str:
    """Which implementation to use: "numba" or "reference".

    Args:
        kernels: "auto" takes the fastest one there is for the device and precision; the other two insist.
        device: where the tensors are.
        dtype: of the weights.

    Raises:
        ValueError: for an unknown name, or one that cannot run there.
    """
    if kernels not in CHOICES:
        raise ValueError(f"Unknown kernels {kernels!r}; choose one of {', '.join(CHOICES)}.")
    if kernels == "reference":
        return kernels
    obstacle = _obstacle(device, dtype)
    if obstacle and kernels == "numba":
        raise ValueError(f"The numba kernels cannot be used: {obstacle}. Choose kernels='auto'.")
    _announce("reference" if obstacle else "numba", obstacle)
    return "reference" if obstacle else "numba"


def _obstacle(device: torch.device, dtype: torch.dtype) -> str:
    """Why the numba kernels cannot run, or nothing."""
    if device.type != "cpu":
        return f"they run on the CPU, and the tensors are on {device.type}"
    if dtype not in (torch.float32, torch.float64):
        return f"they compute in float32 or float64, and the weights are {dtype}"
    if torch.is_autocast_enabled("cpu"):
        return "they do not mix precisions"
    return ""


@cache
def _announce(name: str, obstacle: str) -> None:
    """Once for each reason."""
    reason = f"because the fast ones cannot be used: {obstacle}" if obstacle else "one pass over the edges each"
    (_log.warning if obstacle else _log.info)("Kernels: %s, %s.", name, reason)
