"""Hierarchical boxes: cells are halved where the residual's mass is, and each cell gets its share of the points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pinn.sampling.cells import Cell, CellRefinement, even_counts, points_inside
from pinn.sampling.sampler import Domain, Draw, Kind, PointFunction, Sampler


class Hierarchical(Sampler):
    """Box refinement by residual mass, for features much narrower than the spacing of any affordable candidate set.

    A change starts from the bounding box. A cell with more than ``1 / cells`` of the mass ``∫ |r|^k`` is halved along
    the coordinate in which its halves differ most, and each half is looked at with ``proposals`` more points, until
    there are ``cells`` of them or none is too heavy. A cell then gets ``n (mass share + c · volume share) / (1 + c)``
    points, uniform over its part of the domain. Where features need it, neighbouring points come arbitrarily close,
    whereas `RAD` can only choose among candidates it has already drawn.

    A change costs ``candidates + 2 · proposals · cells`` evaluations of the residual at most, in about as many calls as
    a cell was halved, and as many rows of memory.

    Args:
        n: number of points.
        every: optimizer steps between two changes.
        candidates: points from which the refinement starts, drawn afresh from the domain.
        cells: how many there are in the end, at most.
        proposals: points proposed in each half; those outside the domain are dropped.
        depth: how often one cell may be halved.
        k: power of the residual.
        c: uniform share; 0 leaves smooth parts of the domain without points.
        first: steps before the first change, ``every`` unless given.
        kind: how candidates and first points are drawn.

    Attributes:
        cells: corners (n_cells, 2, d) of the cells of the last change, low and high; empty before it.

    Raises:
        ConfigurationError: if a value is impossible.
    """

    def __init__(
        self,
        n: int,
        every: int,
        candidates: int = 20_000,
        cells: int = 64,
        proposals: int = 256,
        depth: int = 30,
        k: float = 1.0,
        c: float = 1.0,
        first: int | None = None,
        kind: Kind = "uniform",
    ) -> None:
        super().__init__(n, every, first, kind)
        self._require("candidates", candidates, candidates >= 1, "at least one, better ten times n")
        self._require("cells", cells, cells >= 2, "at least two")
        self._require("proposals", proposals, proposals >= 16, "at least 16, to see the volume of a cell")
        self._require("depth", depth, 1 <= depth <= 100, "between 1 and 100 halvings")
        self._require("k", k, k >= 0, "zero or a positive power")
        self._require("c", c, c >= 0, "zero or a positive share")
        self.candidates, self.max_cells, self.proposals, self.depth = candidates, cells, proposals, depth
        self.k, self.c = k, c
        self.cells = torch.empty(0, 2, 0, dtype=torch.float64)

    def start(self, domain: Domain, generator: torch.Generator, points: Tensor | None = None) -> None:
        """As `Sampler.start`, without cells."""
        super().start(domain, generator, points)
        self.cells = torch.empty(0, 2, len(domain.coordinates), dtype=torch.float64)

    def state_dict(self) -> dict[str, Any]:
        """As `Sampler.state_dict`, with the cells."""
        return {**super().state_dict(), "cells": self.cells.clone()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """As `Sampler.load_state_dict`, with the cells."""
        super().load_state_dict(state_dict)
        self.cells = state_dict["cells"].clone()

    def _change(self, residual: PointFunction, uncertainty: PointFunction | None) -> Draw:
        cells = self._refined(residual)
        counts = even_counts(self._shares(cells), self.n)
        drawn = [
            points_inside(self.domain.contains, cell.low, cell.high, count, self.generator)
            for cell, count in zip(cells, counts, strict=True)
        ]
        self.cells = torch.stack([torch.stack([cell.low, cell.high]) for cell in cells])
        return self._fresh(torch.cat(drawn))

    def _refined(self, residual: PointFunction) -> list[Cell]:
        candidates = self._candidates(self.candidates)
        residuals = self._scores(candidates, residual)
        # only ratios matter, and those of values near one neither overflow nor vanish
        unit = float(residuals.max()) or 1.0
        refinement = CellRefinement(
            self.domain,
            self.generator,
            lambda points: (self._scores(points, residual) / unit) ** self.k,
            self.max_cells,
            self.proposals,
            self.depth,
        )
        return refinement.cells(candidates, (residuals / unit) ** self.k)

    def _shares(self, cells: list[Cell]) -> Tensor:
        """(n_cells,) of the points, not normalised."""
        masses = torch.tensor([cell.mass for cell in cells], dtype=torch.float64)
        volumes = torch.tensor([cell.volume for cell in cells], dtype=torch.float64)
        volumes = volumes / volumes.sum()
        return masses / masses.sum() + self.c * volumes if masses.sum() > 0 else volumes
