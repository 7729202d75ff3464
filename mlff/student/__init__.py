"""The student: a small PaiNN whose forces are written out by hand."""

from __future__ import annotations

from typing import Any

from mlff.student.painn import PaiNN, Prediction
from mlff.student.schnetpack import from_schnetpack

__all__ = ["PaiNN", "Prediction", "build", "from_schnetpack"]


def build(architecture: dict[str, Any]) -> PaiNN:
    """The untrained network that `PaiNN.architecture` describes.

    Raises:
        ValueError: if a value is impossible.
        TypeError: if a key is unknown or missing.
    """
    return PaiNN(**architecture)
