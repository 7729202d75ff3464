"""Which structures make the next batch: a pure function of seed, epoch and position, limited by edges.

Memory and time of a step grow with the edges of a batch, not with its structures, so a batch is closed when the next
structure would exceed the edges allowed. Several micro-batches in a row form a group, which is one large batch to the
optimizer; each micro-batch knows the structures of its whole group, so that its loss can be normalised by their number.

What was handed out and what was trained on differ by the loader's prefetching. The position counts the latter: it moves
only when `advance` is called, and a resumed run goes on with the first batch that was not trained on.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Sampler

from training.errors import ConfigurationError


class MicroBatch(list[int]):
    """Indices of the structures of one micro-batch.

    Attributes:
        group: indices of all structures of the large batch it is a part of, its own included.
    """

    def __init__(self, indices: Sequence[int], group: Sequence[int]) -> None:
        super().__init__(indices)
        self.group = tuple(group)


class EdgeLimitedBatchSampler(Sampler[list[int]]):
    """Batches in random order, each structure once per epoch, in whole groups.

    So that no group is cut off by the end of an epoch, its largest batches are halved until the groups come out even;
    only where single structures are left to halve, a few of them wait for another epoch.

    The number of batches differs a little between epochs where sizes differ, so the sampler has no ``len``: a trainer
    that took the first epoch's would drop batches of later ones. Ask `batches_per_epoch`.

    Args:
        edges_per_structure: (n,) edges of each structure.
        max_edges: edges of a micro-batch, at most; a structure that has more goes alone, with one warning.
        max_structures: structures of a micro-batch, at most.
        accumulate: micro-batches of a group.
        seed: of the order.
        shuffle: False keeps the order of the data.

    Attributes:
        epoch, position: batches of ``epoch`` before ``position`` have been trained on.

    Raises:
        ConfigurationError: if a limit is below one, or there are fewer structures than micro-batches in a group.
    """

    def __init__(
        self,
        edges_per_structure: Sequence[int] | np.ndarray,
        max_edges: int,
        max_structures: int,
        accumulate: int = 1,
        seed: int = 0,
        shuffle: bool = True,
    ) -> None:
        self._edges = np.asarray(edges_per_structure, dtype=np.int64)
        limits = {"max_edges": max_edges, "max_structures": max_structures, "accumulate": accumulate}
        wrong = [f"{name} is {value}" for name, value in limits.items() if value < 1]
        if wrong:
            raise ConfigurationError(f"The limits of a batch are at least 1, but {', '.join(wrong)}.")
        if len(self._edges) < accumulate:
            raise ConfigurationError(
                f"{len(self._edges)} structures cannot fill the {accumulate} micro-batches of a step (accumulate)."
            )
        self.max_edges, self.max_structures, self.accumulate = max_edges, max_structures, accumulate
        self.seed, self.shuffle = seed, shuffle
        self.epoch = self.position = 0
        self._planned: tuple[int, list[MicroBatch]] | None = None
        self._warn_of_large_structures()

    def __iter__(self) -> Iterator[MicroBatch]:
        """The batches of the present epoch that have not been trained on."""
        return iter(self.plan(self.epoch)[self.position :])

    def plan(self, epoch: int) -> list[MicroBatch]:
        """All batches of an epoch, the same whenever and wherever it is asked for."""
        if self._planned is None or self._planned[0] != epoch:
            self._planned = (epoch, self._make_plan(epoch))
        return self._planned[1]

    @property
    def batches_per_epoch(self) -> int:
        """Micro-batches of the present epoch."""
        return len(self.plan(self.epoch))

    def advance(self) -> None:
        """One more batch has been trained on; after the last of an epoch the next epoch begins."""
        self.position += 1
        if self.position >= self.batches_per_epoch:
            self.begin_epoch(self.epoch + 1)

    def begin_epoch(self, epoch: int) -> None:
        """Go to the first batch of an epoch."""
        self.epoch, self.position = epoch, 0

    def state_dict(self) -> dict[str, int]:
        """Where the training is, and what the plan was made from."""
        return {"epoch": self.epoch, "position": self.position, **self._origin()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another run was.

        Raises:
            ConfigurationError: if the other run made its batches from other data, limits or another seed.
        """
        different = [f"{k} was {state.get(k)} and is {v}" for k, v in self._origin().items() if state.get(k) != v]
        if different:
            raise ConfigurationError(
                f"The checkpoint's order of batches cannot be continued: {'; '.join(different)}. Restore these values, "
                "or start afresh with run.resume=false."
            )
        self.epoch, self.position = int(state["epoch"]), int(state["position"])

    def _origin(self) -> dict[str, int]:
        return {
            "seed": self.seed,
            "structures": len(self._edges),
            "edges": int(self._edges.sum()),
            "max_edges": self.max_edges,
            "max_structures": self.max_structures,
            "accumulate": self.accumulate,
        }

    def _make_plan(self, epoch: int) -> list[MicroBatch]:
        n = len(self._edges)
        order = np.random.default_rng([self.seed, epoch]).permutation(n) if self.shuffle else np.arange(n)
        packed = _even(pack(order, self._edges, self.max_edges, self.max_structures), self.accumulate)
        plan = []
        for first in range(0, len(packed), self.accumulate):
            parts = packed[first : first + self.accumulate]
            group = [index for part in parts for index in part]
            plan += [MicroBatch(part, group) for part in parts]
        return plan

    def _warn_of_large_structures(self) -> None:
        large = np.flatnonzero(self._edges > self.max_edges)
        if len(large):
            worst = int(large[self._edges[large].argmax()])
            warnings.warn(
                f"{len(large)} structures have more than max_edges = {self.max_edges} edges and go alone; structure "
                f"{worst} has {self._edges[worst]}. If memory runs out, reduce the cutoff or leave them out.",
                stacklevel=3,
            )


def pack(order: Sequence[int] | np.ndarray, edges: np.ndarray, max_edges: int, max_structures: int) -> list[list[int]]:
    """Cut an order of structures into batches of at most so many edges and structures; too large ones go alone."""
    batches: list[list[int]] = []
    total = 0
    for index, count in zip(np.asarray(order).tolist(), edges[np.asarray(order)].tolist(), strict=True):
        if not batches or total + count > max_edges or len(batches[-1]) >= max_structures:
            batches.append([])
            total = 0
        batches[-1].append(index)
        total += count
    return batches


def _even(batches: list[list[int]], accumulate: int) -> list[list[int]]:
    """Halve the largest batches until their number is a multiple of ``accumulate``; see the sampler."""
    batches = list(batches)
    while len(batches) % accumulate:
        sizes = [len(batch) for batch in batches]
        if max(sizes) == 1:
            return batches[: len(batches) - len(batches) % accumulate]
        place = len(sizes) - 1 - sizes[::-1].index(max(sizes))  # the last of the largest
        batch = batches[place]
        half = (len(batch) + 1) // 2
        batches[place : place + 1] = [batch[:half], batch[half:]]
    return batches
