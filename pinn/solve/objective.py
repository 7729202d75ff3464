"""The loss of a stage: weighted mean squares of residuals, gradients added up over chunks of points.

``L = Σ_k w_k mean_i ω_i λ_ki r_ki²`` over terms k (equations, and conditions that are learned) and their points i,
with the weight w_k of the stage and the balance, the sampler's ω and the balance's λ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from pinn.residuals import accumulate
from pinn.solve.system import PointGroup, System
from pinn.solve.trial import Trial


@dataclass
class Weights:
    """What multiplies the squared residuals.

    Attributes:
        terms: w_k, plain numbers; a term of weight 0 is computed but does not count.
        points: for some terms (n,), mean not necessarily one; those not here count alike.
    """

    terms: Mapping[str, float]
    points: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Chunk:
    """Rows of one group of points."""

    group: PointGroup
    start: int
    stop: int


class Objective:
    """The loss on given points, for one network.

    Args:
        system: the problem's equations and conditions.
        trial: the network; its parameters receive the gradients.
        groups: the points.
        weights: of terms and points.
        chunk: points that are evaluated together, at most.
        accumulate: parts in which the points are evaluated, at least.
        mixed: type of the products (bfloat16, float16), None for that of the weights.
    """

    def __init__(
        self,
        system: System,
        trial: Trial,
        groups: Sequence[PointGroup],
        weights: Weights,
        chunk: int,
        accumulate: int = 1,
        mixed: torch.dtype | None = None,
    ) -> None:
        self.system, self.trial, self.weights, self.mixed = system, trial, weights, mixed
        self.groups = list(groups)
        self.sizes = {term: len(group) for group in groups for term in group.terms}
        total = sum(len(group.points) for group in groups)
        self.packs = list(pack(groups, min(chunk, -(-total // accumulate))))
        self.parameters = [parameter for parameter in trial.parameters() if parameter.requires_grad]
        self.keep_residuals = False
        self.residuals: dict[str, list[Tensor]] = {}

    def gradients(self, scale: float = 1.0) -> dict[str, Tensor]:
        """Put the gradient of the loss into ``.grad``, replacing what is there.

        Args:
            scale: factor on the loss before the backward pass; the gradients of each chunk are divided by it again
                before they are added, so that their sum is that of the loss.

        Returns:
            ``loss`` and the unweighted terms, scalars without graph.
        """
        for parameter in self.parameters:
            parameter.grad = None
        terms: dict[str, Tensor] = {}
        return {"loss": accumulate(self._shares(terms), self.parameters, scale), **terms}

    @torch.no_grad()
    def values(self) -> dict[str, Tensor]:
        """``loss`` and the unweighted terms, without gradients."""
        terms: dict[str, Tensor] = {}
        first, *others = [share() for share in self._shares(terms)]
        return {"loss": sum(others, first), **terms}

    def residual(self, term: str) -> Tensor:
        """(n,) of the last evaluation, where ``keep_residuals`` was set before it."""
        return torch.cat(self.residuals[term])

    def scaled_residuals(self, chunk: Chunk) -> dict[str, Tensor]:
        """The residuals of a chunk as components of a least-squares problem, ``sqrt(w ω λ / n) r``, by term.

        Returns:
            (m,) each, with graph; terms of weight 0 are left out.
        """
        found = self.system.residuals(self.trial, chunk.group, chunk.start, chunk.stop)
        return {
            term: self._root(term, chunk, residual) * residual
            for term, residual in found.items()
            if self.weights.terms[term]
        }

    def _shares(self, terms: dict[str, Tensor]) -> Iterator[Callable[[], Tensor]]:
        """For each pack a function that computes its share of the loss; it adds to the unweighted terms."""
        self.residuals = {}
        return (partial(self._share, chunks, terms) for chunks in self.packs)

    def _share(self, chunks: Sequence[Chunk], terms: dict[str, Tensor]) -> Tensor:
        with self._precision():
            return self._weighted(chunks, terms)

    def _weighted(self, chunks: Sequence[Chunk], terms: dict[str, Tensor]) -> Tensor:
        loss: Tensor | None = None
        for chunk in chunks:
            for term, residual in self.system.residuals(self.trial, chunk.group, chunk.start, chunk.stop).items():
                if self.keep_residuals:
                    self.residuals.setdefault(term, []).append(residual.detach())
                size, factor = self.sizes[term], self.weights.terms[term]
                square = residual.square()
                mean = square.sum() / size
                add(terms, {term: mean.detach()})
                point_weights = self._point_weights(term, chunk, residual)
                weighted = mean if point_weights is None else torch.dot(point_weights, square) / size
                share = weighted if factor == 1.0 else factor * weighted
                loss = share if loss is None else loss + share
        assert loss is not None
        return loss

    def _point_weights(self, term: str, chunk: Chunk, like: Tensor) -> Tensor | None:
        weights = self.weights.points.get(term)
        if weights is None:
            return None
        per = chunk.group.rows_per_residual
        return weights[chunk.start // per : -(-chunk.stop // per)].to(like)

    def _root(self, term: str, chunk: Chunk, like: Tensor) -> Tensor:
        squares = self.weights.terms[term] / self.sizes[term]
        weights = self._point_weights(term, chunk, like)
        return like.new_tensor(squares**0.5) if weights is None else (weights * squares).sqrt()

    def _precision(self) -> AbstractContextManager[object]:
        if self.mixed is None:
            return nullcontext()
        return torch.autocast(self.parameters[0].device.type, dtype=self.mixed)


def pack(groups: Sequence[PointGroup], limit: int) -> Iterator[list[Chunk]]:
    """Chunks of all groups, put together until a pack holds as many points as allowed.

    A chunk never splits rows that belong together, so a pack may exceed the limit by less than those.
    """
    pending: list[Chunk] = []
    room = limit
    for group in groups:
        start, per = 0, group.rows_per_residual
        while start < len(group.points):
            take = min(max(room // per, 1) * per, len(group.points) - start)
            pending.append(Chunk(group, start, start + take))
            start += take
            room -= take
            if room < per:
                yield pending
                pending, room = [], limit
    if pending:
        yield pending


def add(totals: dict[str, Tensor], parts: Mapping[str, Tensor]) -> None:
    """Add numbers by name."""
    for name, value in parts.items():
        totals[name] = totals[name] + value if name in totals else value
