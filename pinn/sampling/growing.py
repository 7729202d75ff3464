"""Samplers that keep every point and add to them."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from pinn.sampling.sampler import Draw, Kind, PointFunction, Sampler
from training.errors import ConfigurationError


class Growing(Sampler):
    """Every ``every`` steps ``add`` candidates join the points, until there are ``maximum``.

    Args:
        n: number of points at the start.
        every: optimizer steps between two additions.
        add: points of one addition; the last one may be smaller.
        maximum: points in the end; from then on nothing changes and no residual is asked for.
        candidates: size of the candidate set, drawn afresh from the domain each time; at least ``add``.
        first: steps before the first addition, ``every`` unless given.
        kind: how candidates and first points are drawn.
    """

    def __init__(
        self, n: int, every: int, add: int, maximum: int, candidates: int, first: int | None, kind: Kind
    ) -> None:
        super().__init__(n, every, first, kind)
        self._require("add", add, add >= 1, "at least one point")
        self._require("maximum", maximum, maximum > n, f"more than the n={n} points of the start")
        self._require(
            "candidates", candidates, candidates >= add, f"at least add={add}, better a hundred times as many"
        )
        self.add, self.maximum, self.candidates = add, maximum, candidates

    def due(self, step: int) -> bool:
        """Whether points are added at this step; never beyond the maximum."""
        return len(self.points) < self.maximum and super().due(step)

    @abstractmethod
    def _choose(self, residuals: Tensor, n: int) -> Tensor:
        """Rows (n,) of the candidates that join."""

    def _change(self, residual: PointFunction, uncertainty: PointFunction | None) -> Draw:
        candidates = self._candidates(self.candidates)
        n = min(self.add, self.maximum - len(self.points))
        chosen = self._choose(self._scores(candidates, residual), n)
        return self._kept_and_fresh(torch.arange(len(self.points)), candidates[chosen])

    def _check_given(self, points: Tensor) -> None:
        dimension = len(self.domain.coordinates)
        if points.ndim != 2 or points.shape[1] != dimension or not 1 <= len(points) <= self.maximum:
            raise ConfigurationError(
                f"{type(self).__name__} works with points of the shape (up to {self.maximum}, {dimension}), but was "
                f"started from {tuple(points.shape)}. Raise its maximum, or start it from fresh points."
            )
