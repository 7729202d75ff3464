"""What every reference offers: values at any points, and its own error with the way it was measured."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from training.errors import InputError

ROUNDING = 1e-15
"""Relative error of a closed form in double precision: a handful of roundings of 1.1e-16."""


class Reference(ABC):
    """A solution of known error.

    Attributes:
        fields: names of the fields that have a reference value; a problem may have more fields than that.
        coordinates: names of the columns of the points.
    """

    fields: tuple[str, ...]
    coordinates: tuple[str, ...]

    @abstractmethod
    def values(self, points: Tensor) -> dict[str, Tensor]:
        """The fields at points.

        Args:
            points: (n_points, n_coordinates), any floating type; computed in float64.

        Returns:
            For each field (n_points,) float64, on the device of the points.

        Raises:
            InputError: if the points have another number of columns or lie outside what the reference knows.
        """

    @property
    @abstractmethod
    def floor(self) -> float:
        """Relative L2 error of the reference itself: no smaller error of a solution means anything."""

    @property
    def floors(self) -> dict[str, float]:
        """The floor of each field; `floor` is the largest."""
        return dict.fromkeys(self.fields, self.floor)

    @property
    @abstractmethod
    def floor_note(self) -> str:
        """How the floor was measured, for the report."""

    def columns(self, points: Tensor) -> dict[str, Tensor]:
        """The columns of the points by the names of the coordinates: (n_points,) float64 each."""
        if points.ndim != 2 or points.shape[1] != len(self.coordinates):
            raise InputError(
                f"Points of shape {tuple(points.shape)} do not fit the coordinates {', '.join(self.coordinates)}; give "
                f"one row per point and {len(self.coordinates)} columns."
            )
        return dict(zip(self.coordinates, points.to(torch.float64).unbind(1), strict=True))


class Exact(Reference):
    """A solution in closed form.

    Args:
        coordinates: names of the coordinates, in the order of the columns of points.
        functions: for each field a function of all coordinates in that order, written with torch functions.
        floor: relative error of evaluating the formulas.
        note: how that is known.
    """

    def __init__(
        self,
        coordinates: Sequence[str],
        functions: Mapping[str, Callable[..., Tensor]],
        floor: float = ROUNDING,
        note: str = "closed form, evaluated in double precision",
    ) -> None:
        self.coordinates = tuple(coordinates)
        self.functions = dict(functions)
        self.fields = tuple(functions)
        self._floor = floor
        self._note = note

    def values(self, points: Tensor) -> dict[str, Tensor]:
        columns = self.columns(points)
        return {
            name: torch.broadcast_to(function(*columns.values()), (len(points),))
            for name, function in self.functions.items()
        }

    @property
    def floor(self) -> float:
        return self._floor

    @property
    def floor_note(self) -> str:
        return self._note


def relative_l2(values: Tensor, reference: Tensor, weights: Tensor | None = None) -> float:
    """``‖values − reference‖₂ / ‖reference‖₂`` over all entries.

    Args:
        values: of any shape.
        reference: of the same shape.
        weights: of a shape that broadcasts to theirs, such as quadrature weights; all one unless given.
    """
    w = 1.0 if weights is None else weights
    error, norm = ((values - reference).abs() ** 2 * w).sum(), (reference.abs() ** 2 * w).sum()
    return math.sqrt(float(error / norm))
