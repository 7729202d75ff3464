"""The hot operations of the student. `reference` is the oracle in plain torch; a fast kernel has the same signatures."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch

from mlff.kernels import reference

_log = logging.getLogger(__name__)

CHOICES = ("auto", "reference", "numba")


class Kernels(NamedTuple):
    """One implementation of message passing.

    Attributes:
        name: what to call it in a log.
        message, message_reverse: as in `mlff.kernels.reference`.
    """

    name: str
    message: Callable
    message_reverse: Callable


REFERENCE = Kernels("reference", reference.message, reference.message_reverse)


def choose(kernels: str, device: torch.device) -> Kernels:
    """The implementation to use on a device.

    Args:
        kernels: "auto" takes the fastest one the device has; "reference" and "numba" insist.
        device: where the tensors are.

    Raises:
        ValueError: for an unknown name, or one that cannot run on the device.
    """
    if kernels not in CHOICES:
        raise ValueError(f"Unknown kernels {kernels!r}; choose one of {', '.join(CHOICES)}.")
    if kernels == "numba" and device.type != "cpu":
        raise ValueError(f"The numba kernels run on the CPU, not on {device}; choose kernels='auto'.")
    if kernels == "reference" or device.type != "cpu":
        return REFERENCE
    return _numba()


@cache
def _numba() -> Kernels:
    # numba costs half a second to import, which the other devices need not pay
    from mlff.kernels import fused

    _log.info("Kernels: numba, one pass over the edges per operation; compiled once and kept on disk.")
    return Kernels("numba", fused.message, fused.message_reverse)
