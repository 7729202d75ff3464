"""Boxes over a domain, halved again and again where the residual's mass is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pinn.sampling.sampler import Domain, PointFunction
from training.errors import InputError

MAX_ROUNDS = 200
"""Rounds of proposals in one cell before it is given up; a cell exists because points of the domain were seen in it."""
MAX_PROPOSALS = 100_000
"""Of one round."""


@dataclass
class Cell:
    """A box, and the candidates of the domain inside it.

    Attributes:
        low, high: (d,) corners.
        volume: of the part of the box that is inside the domain, in units of the coordinates.
        points: (m, d) candidates, uniform over that part.
        scores: (m,) what is to be resolved there, ``|r|^k`` up to a common factor.
        halvings: how often the bounding box was halved to get it.
    """

    low: Tensor
    high: Tensor
    volume: float
    points: Tensor
    scores: Tensor
    halvings: int = 0

    @property
    def mass(self) -> float:
        """Integral of the score over the cell, estimated from its candidates."""
        return self.volume * float(self.scores.mean())


class CellRefinement:
    """Halves the cells that hold more than an even share of the mass.

    Args:
        domain: the geometry; boxes reach beyond it, points never do.
        generator: source of the proposals.
        score: from points (m, d) to (m,), not negative.
        limit: cells in the end, at most.
        proposals: points proposed in each new cell, at least a few dozen.
        max_halvings: of one cell.
    """

    def __init__(
        self,
        domain: Domain,
        generator: torch.Generator,
        score: PointFunction,
        limit: int,
        proposals: int,
        max_halvings: int,
    ) -> None:
        self.domain, self.generator, self.score = domain, generator, score
        self.limit, self.proposals, self.max_halvings = limit, proposals, max_halvings

    def cells(self, candidates: Tensor, scores: Tensor) -> list[Cell]:
        """Cells that cover the domain, refined from candidates (m, d) uniform over it and their scores (m,)."""
        low = torch.tensor([self.domain.bounds[name][0] for name in self.domain.coordinates], dtype=torch.float64)
        high = torch.tensor([self.domain.bounds[name][1] for name in self.domain.coordinates], dtype=torch.float64)
        cells = [Cell(low, high, float((high - low).prod()), candidates, scores)]
        while heavy := self._heavy(cells):
            halves = [half for cell in heavy for half in self._halve(cell)]
            self._refine(halves)
            # a cell that was split leaves the list by identity: tensors have no single truth value
            split = {id(cell) for cell in heavy}
            cells = [cell for cell in cells if id(cell) not in split] + halves
        return cells

    def _heavy(self, cells: list[Cell]) -> list[Cell]:
        """The cells to split in this round, the heaviest first."""
        masses = [cell.mass for cell in cells]
        share = sum(masses) / self.limit
        order = sorted(range(len(cells)), key=lambda i: -masses[i])
        heavy = [cells[i] for i in order if masses[i] > share and cells[i].halvings < self.max_halvings]
        return heavy[: max(self.limit - len(cells), 0)]

    def _halve(self, cell: Cell) -> list[Cell]:
        """Two cells, or one where the domain was never seen in the other half."""
        axis = _axis(cell)
        middle = (cell.low[axis] + cell.high[axis]) / 2
        upper = cell.points[:, axis] >= middle
        halves = []
        for inside, is_upper in ((~upper, False), (upper, True)):
            low, high = cell.low.clone(), cell.high.clone()
            (low if is_upper else high)[axis] = middle
            if inside.any():
                halves.append(Cell(low, high, 0.0, cell.points[inside], cell.scores[inside], cell.halvings + 1))
        return halves

    def _refine(self, cells: list[Cell]) -> None:
        """Measure the volume of cells and give them more candidates; one evaluation of the score for all of them."""
        found = []
        for cell in cells:
            proposals = _uniform(cell.low, cell.high, self.proposals, self.generator)
            inside = proposals[self.domain.contains(proposals)]
            # none inside although candidates are: less than the share of one proposal
            share = max(len(inside), 0.5) / self.proposals
            cell.volume = float((cell.high - cell.low).prod()) * share
            found.append(inside)
        scores = self.score(torch.cat(found)).split([len(points) for points in found])
        for cell, points, values in zip(cells, found, scores, strict=True):
            cell.points, cell.scores = torch.cat([cell.points, points]), torch.cat([cell.scores, values])


def points_inside(
    contains: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, n: int, generator: torch.Generator
) -> Tensor:
    """n points (n, d), uniform over the part of a box that is inside a domain.

    Raises:
        InputError: if the domain is hardly ever met in the box.
    """
    found: list[Tensor] = []
    missing, proposed = n, 0
    for _ in range(MAX_ROUNDS):
        if missing <= 0:
            break
        share = max((n - missing) / proposed, 0.01) if proposed else 1.0
        proposals = _uniform(low, high, min(int(1.2 * missing / share) + 8, MAX_PROPOSALS), generator)
        inside = proposals[contains(proposals)]
        found.append(inside)
        missing -= len(inside)
        proposed += len(proposals)
    if missing > 0:
        raise InputError(
            f"Hierarchical: of {proposed} points in the box from {low.tolist()} to {high.tolist()} only {n - missing} "
            f"are inside the domain, where {n} are wanted. Lower its depth or its cells, or choose pinn.sampling.RAD."
        )
    return torch.cat(found)[:n] if found else torch.empty(0, len(low), dtype=torch.float64)


def even_counts(shares: Tensor, n: int) -> list[int]:
    """Whole numbers with sum n, as close to ``n · shares`` as rounding allows (largest remainder)."""
    exact = n * shares / shares.sum()
    counts = exact.floor().to(torch.int64)
    order = torch.argsort(exact - counts, descending=True, stable=True)
    counts[order[: n - int(counts.sum())]] += 1
    return [int(count) for count in counts]


def _axis(cell: Cell) -> int:
    """The coordinate along which the two halves differ most in their mean score."""
    upper = (cell.points >= (cell.low + cell.high) / 2).to(torch.float64)
    counts = torch.stack([1 - upper, upper]).sum(dim=1).clamp(min=1)
    sums = torch.stack([cell.scores @ (1 - upper), cell.scores @ upper])
    difference = (sums / counts)[1] - (sums / counts)[0]
    # few points in a half say little about its mean: weigh the difference by what each half holds
    return int((difference**2 * counts[0] * counts[1]).argmax())


def _uniform(low: Tensor, high: Tensor, n: int, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(n, len(low), dtype=torch.float64, generator=generator)
