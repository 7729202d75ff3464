"""Launches over fixed memory, recorded once as a CUDA graph and replayed, and how much memory that is.

A graph repeats what was recorded with the addresses that were recorded, so everything it touches has a fixed place and
a fixed size, its capacity. What does not fit is refused by `Capacity.require`, never cut off; who owns the memory makes
larger arrays then, and records again. On other devices the launches simply run, so that all but the recording itself is
the same there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass, fields

import torch

WARM_UPS = 11
"""Runs before a recording: libraries choose their algorithms and allocate during the first ones."""

SMALLEST_ROOM = 16
"""Capacities begin here; powers of two are divided into eight steps above."""


class CapacityExceeded(RuntimeError):
    """Something is larger than the memory that a recorded graph works in."""


@dataclass(frozen=True)
class Capacity:
    """How much fits.

    Attributes:
        atoms, edges, structures: largest numbers.
    """

    atoms: int
    edges: int
    structures: int = 1

    def require(self, needed: Capacity) -> None:
        """Refuse what does not fit.

        Raises:
            CapacityExceeded: names what is too much, and how much there is room for.
        """
        too_much = [
            f"{need:,} {field.name} where {room:,} fit"
            for field, need, room in zip(fields(self), astuple(needed), astuple(self), strict=True)
            if need > room
        ]
        if too_much:
            raise CapacityExceeded(f"{', '.join(too_much)}: make the program again with a larger capacity.")

    def holds(self, needed: Capacity) -> bool:
        """Whether everything fits."""
        return all(need <= room for need, room in zip(astuple(needed), astuple(self), strict=True))

    def grown_for(self, needed: Capacity) -> Capacity:
        """A capacity that holds what is needed: what suffices stays, the rest grows with some room to spare."""
        return Capacity(
            *(
                room if need <= room else rounded_up(need + need // 8)
                for need, room in zip(astuple(needed), astuple(self), strict=True)
            )
        )


def rounded_up(number: int) -> int:
    """The next of sixteen and the numbers of the form (8 … 15) · 2ⁿ above: at most an eighth too much."""
    if number <= SMALLEST_ROOM:
        return SMALLEST_ROOM
    step = 1 << max((number - 1).bit_length() - 4, 0)
    return -(-number // step) * step


class Recorded:
    """A sequence of launches that is called again and again.

    Args:
        launches: the same work over the same memory at every call, and nothing else: no allocation, no copy from
            ordinary host memory, no reading of results. It is run `WARM_UPS` times before it is recorded.
        device: where it works.

    Attributes:
        recordings: how many times it was recorded; zero where there are no graphs.
    """

    def __init__(self, launches: Callable[[], None], device: torch.device) -> None:
        self._launches, self._device = launches, device
        self._graph: torch.cuda.CUDAGraph | None = None
        self.recordings = 0

    def prepare(self) -> None:
        """Record now, for work that changes what it starts from: the runs before a recording would change it, too."""
        if self._device.type == "cuda" and self._graph is None:
            self._graph = self._record()

    def __call__(self) -> None:
        """Do the work, on the current stream."""
        self.prepare()
        if self._graph is None:
            self._launches()
        else:
            self._graph.replay()

    def _record(self) -> torch.cuda.CUDAGraph:
        with torch.cuda.device(self._device):
            aside, usual = torch.cuda.Stream(), torch.cuda.current_stream()
            aside.wait_stream(usual)
            with torch.cuda.stream(aside):
                for _ in range(WARM_UPS):
                    self._launches()
            usual.wait_stream(aside)
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            # other threads, such as those that load data, may allocate meanwhile
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._launches()
        self.recordings += 1
        return graph
