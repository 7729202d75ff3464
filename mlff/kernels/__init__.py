"""The hot operations of the student, three times: `reference` is the oracle in plain torch, the kernels of numba run on
the CPU, those of Triton on a GPU."""

from __future__ import annotations

import importlib.util
import logging
import os
from functools import cache

import torch

_log = logging.getLogger(__name__)

SPLIT = "triton-3xtf32"
"""Triton's kernels with matrix products that are split for tensor cores; see `mlff.kernels.triton_products`."""

CHOICES = ("auto", "reference", "numba", "triton", SPLIT)

REASONS = {
    "numba": "because the tensors are on the CPU: one pass over the edges each",
    "triton": "because the tensors are on a GPU: a row of edges per program, recorded as a CUDA graph",
}


def choose(kernels: str, device: torch.device, dtype: torch.dtype, gradients: bool = False) -> str:
    """Which implementation to use: "numba", "triton" or "reference".

    Args:
        kernels: "auto" takes the fastest one there is for the device and precision that keeps all digits of float32;
            the others insist, and "triton-3xtf32" is "triton" here.
        device: where the tensors are.
        dtype: of the weights.
        gradients: whether derivatives of the results are wanted, which the kernels of Triton do not have.

    Raises:
        ValueError: for an unknown name, or one that cannot run there.
    """
    if kernels not in CHOICES:
        raise ValueError(f"Unknown kernels {kernels!r}; choose one of {', '.join(CHOICES)}.")
    if kernels == "reference":
        return kernels
    wanted = {"auto": "triton" if device.type == "cuda" else "numba", SPLIT: "triton"}.get(kernels, kernels)
    obstacle = triton_obstacle(device, dtype) if wanted == "triton" else _numba_obstacle(device, dtype)
    if not obstacle and wanted == "triton" and gradients:
        obstacle = "derivatives are wanted, which they do not have"
    if kernels == SPLIT and dtype != torch.float32:
        obstacle = f"products of float32 are split, and the weights are {dtype}"
    if obstacle and kernels != "auto":
        raise ValueError(f"The {kernels} kernels cannot be used: {obstacle}. Choose kernels='auto'.")
    chosen = "reference" if obstacle else wanted
    _announce(chosen, obstacle, gradients)
    return chosen


def triton_obstacle(device: torch.device, dtype: torch.dtype) -> str:
    """Why the kernels of Triton cannot run, or nothing.

    On the CPU they run where the environment variable ``TRITON_INTERPRET=1`` was set before Triton was loaded, which
    lets Python interpret them: for tests, as it takes ten thousand times as long.
    """
    if dtype not in (torch.float32, torch.float64):
        return f"they compute in float32 or float64, and the weights are {dtype}"
    if device.type != "cuda" and not (device.type == "cpu" and _is_interpreted()):
        return f"they run on CUDA devices, and the tensors are on {device.type}"
    if device.type == "cuda" and not torch.cuda.is_available():
        return "torch finds no CUDA device"
    if torch.is_autocast_enabled(device.type):
        return "they do not mix precisions"
    if importlib.util.find_spec("triton") is None:
        return "the package triton is not installed (pip install triton)"
    return ""


def _is_interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on", "yes", "y")


def _numba_obstacle(device: torch.device, dtype: torch.dtype) -> str:
    """Why the kernels of numba cannot run, or nothing."""
    if device.type != "cpu":
        return f"they run on the CPU, and the tensors are on {device.type}"
    if dtype not in (torch.float32, torch.float64):
        return f"they compute in float32 or float64, and the weights are {dtype}"
    if torch.is_autocast_enabled("cpu"):
        return "they do not mix precisions"
    return ""


@cache
def _announce(name: str, obstacle: str, gradients: bool) -> None:
    """Once for each reason; training on a GPU takes the reference as a matter of course."""
    reason = f"because the fast ones cannot be used: {obstacle}" if obstacle else REASONS[name]
    (_log.warning if obstacle and not gradients else _log.info)("Kernels: %s, %s.", name, reason)
