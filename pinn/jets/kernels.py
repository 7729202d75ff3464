"""Which implementation of the elementwise jet operations runs, and the tables that its loops read."""

from __future__ import annotations

import logging
from functools import cache, lru_cache

import numba
import numpy as np
import torch
from torch import Tensor

from pinn.jets.layout import JetLayout

_log = logging.getLogger(__name__)

LARGEST_NUMBER_OF_THREADS = int(vars(numba.config)["NUMBA_NUM_THREADS"])
"""What numba starts with: all cores, unless NUMBA_NUM_THREADS says otherwise."""

WORTH_SHARING = 1 << 15
"""Numbers below which one thread is as fast as several."""

CHOICES = ("auto", "reference", "numba")
_choice = "auto"


class use_kernels:
    """Insist on an implementation inside a ``with`` block: "reference", "numba" or "auto".

    Raises:
        ValueError: for an unknown name.
    """

    def __init__(self, name: str) -> None:
        if name not in CHOICES:
            raise ValueError(f"Unknown kernels {name!r}; choose one of {', '.join(CHOICES)}.")
        self._name = name

    def __enter__(self) -> None:
        global _choice
        self._before, _choice = _choice, self._name

    def __exit__(self, *_: object) -> None:
        global _choice
        _choice = self._before


def fast(tensor: Tensor) -> bool:
    """Whether the numba loops run for a tensor; says once why not.

    Raises:
        ValueError: if they were asked for by name and cannot run.
    """
    if _choice == "reference":
        return False
    obstacle = _obstacle(tensor.device.type, tensor.dtype)
    if obstacle and _choice == "numba":
        raise ValueError(f"The numba kernels cannot be used: {obstacle}. Choose kernels 'auto'.")
    return not obstacle


@cache
def _obstacle(device: str, dtype: torch.dtype) -> str:
    """Why the numba kernels cannot run, or nothing; cached, so each reason is said once."""
    reason = ""
    if device != "cpu":
        reason = f"they run on the CPU, and the points are on {device}"
    elif dtype not in (torch.float32, torch.float64):
        reason = f"they compute in float32 or float64, and the network is {dtype}"
    if reason:
        _log.warning("Jets: plain torch, because the fast kernels cannot be used: %s.", reason)
    else:
        _log.info("Jets: numba kernels, one pass over each layer's activations (%s).", dtype)
    return reason


def threads_for(size: int) -> int:
    """Let numba run with as many threads as torch, and say how many are worth it for an array of this size."""
    wanted = torch.get_num_threads()
    threads = min(wanted, LARGEST_NUMBER_OF_THREADS)
    if threads == 1 or size < WORTH_SHARING:
        return 1
    numba.set_num_threads(threads)
    # at its first start numba gives the OpenMP library, which torch may share, a number of its own
    if torch.get_num_threads() != wanted:
        torch.set_num_threads(wanted)
    return threads


@lru_cache(maxsize=256)
def composition_table(layout: JetLayout, dtype: torch.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Terms of two or more factors: rows (target, number of factors, factors padded to four), and coefficients."""
    terms = [term for term in layout.compositions if len(term.factors) > 1]
    rows = [(t.target, len(t.factors), *t.factors, *(0,) * (4 - len(t.factors))) for t in terms]
    table = np.array(rows, dtype=np.uintp).reshape(len(rows), 6)
    return table, np.array([term.coefficient for term in terms], dtype=_NUMPY[dtype])


@lru_cache(maxsize=256)
def product_table(layout: JetLayout, dtype: torch.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Leibniz' rule: rows (target, left, right), ascending in the target, and coefficients."""
    rows = [(term.target, term.left, term.right) for term in layout.products]
    return np.array(rows, dtype=np.uintp), np.array([term.coefficient for term in layout.products], dtype=_NUMPY[dtype])


_NUMPY = {torch.float32: np.float32, torch.float64: np.float64}
