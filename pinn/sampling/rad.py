"""RAD: all points are redrawn with a density that follows the residual."""

from __future__ import annotations

import torch
from torch import Tensor

from pinn.sampling.density import draw, residual_density
from pinn.sampling.sampler import Draw, Kind, PointFunction, Sampler


class RAD(Sampler):
    """Residual-based adaptive distribution.

    Every ``every`` steps a dense set of candidates is drawn afresh from the domain, and all n points are chosen among
    them without replacement with ``p ∝ |r|^k / mean |r|^k + c``.

    A change costs ``candidates`` evaluations of the residual and 24 bytes for each beside the points themselves.

    Args:
        n: number of points.
        every: optimizer steps between two changes.
        candidates: size of the candidate set, at least n; ten times n or more.
        k: power of the residual; larger follows sharp features closer.
        c: uniform share; 0 leaves smooth parts of the domain without points.
        first: steps before the first change, ``every`` unless given.
        kind: how candidates and first points are drawn.

    Raises:
        ConfigurationError: if a value is impossible.

    Source: Wu et al., CMAME 403 (2023) 115671, algorithm 2, with its defaults k = 1, c = 1.
    """

    def __init__(
        self,
        n: int,
        every: int,
        candidates: int = 100_000,
        k: float = 1.0,
        c: float = 1.0,
        first: int | None = None,
        kind: Kind = "uniform",
    ) -> None:
        super().__init__(n, every, first, kind)
        self._require("candidates", candidates, candidates >= n, f"at least n={n}, better ten times as many")
        self._require("k", k, k >= 0, "zero or a positive power")
        self._require("c", c, c >= 0, "zero or a positive share")
        self.candidates, self.k, self.c = candidates, k, c

    def _change(self, residual: PointFunction, uncertainty: PointFunction | None) -> Draw:
        candidates = self._candidates(self.candidates)
        density = residual_density(self._magnitudes(candidates, residual, uncertainty), self.k, self.c)
        rows, probability = draw(density, self.n, self.generator)
        return self._fresh(candidates[rows])._replace(weights=self._weights(probability))

    def _magnitudes(self, points: Tensor, residual: PointFunction, uncertainty: PointFunction | None) -> Tensor:
        """(m,) what the density follows."""
        return self._scores(points, residual)

    def _weights(self, probability: Tensor) -> Tensor:
        """(n,) weights of points that were drawn with these probabilities."""
        return torch.ones_like(probability)
