"""Agents that follow a drift and their own noise: Euler–Maruyama on one device, walls, and what crosses them.

    dX = b(X, t) dt + σ dW

The noise of a step is drawn for all agents at once from one generator, so that results do not depend on how many go
through the drift together. It is drawn in float32, ten times faster than float64 on a CPU and cut off at 5.7 standard
deviations, where one number in 10⁸ would be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor

from pinn.particles import numba_cpu
from pinn.particles.table import DriftTable
from pinn.particles.walls import KINDS, OPEN, Walls
from training.errors import InputError

Drift = Callable[[Tensor, float], Tensor]
"""Places (k, d) and a time to velocities (k, d)."""

Scheme = Literal["euler", "heun"]


class Agents:
    """A population in d dimensions.

    Args:
        places: (n, d) or (n,) at the start; copied, float64, on the device where everything happens.
        drift: b; a `DriftTable` is read without leaving a loop over the agents.
        noise: σ, zero or positive, the same for all.
        generator: of the noise, on the device of the places.
        walls: of each coordinate; none unless given.
        scheme: ``euler`` (Euler–Maruyama, weak order 1), or ``heun``, which takes the mean of the drift at both ends of
            a step: weak order 2 for this noise at twice the price.
        chunk: agents that go through the drift together, at most: it bounds the memory.

    Attributes:
        places: (n, d).
        alive: (n,) bool; an absorbing wall ends a life.
        crossings: (d, 2) int64, how many agents have crossed the lower and the upper end of each coordinate.

    Raises:
        InputError: if shapes do not fit, or the noise is negative.
    """

    def __init__(
        self,
        places: Tensor,
        drift: Drift,
        noise: float,
        generator: torch.Generator,
        walls: Sequence[Walls] | Walls = (),
        scheme: Scheme = "euler",
        chunk: int = 100_000,
    ) -> None:
        self.places = places.detach().reshape(len(places), -1).to(torch.float64, copy=True)
        n, d = self.places.shape
        self.walls = ((walls,) if isinstance(walls, Walls) else tuple(walls)) or (OPEN,) * d
        if len(self.walls) != d:
            raise InputError(f"Agents in {d} dimensions have walls for each; got {len(self.walls)}.")
        if not 0 <= noise < math.inf:
            raise InputError(f"The noise is zero or positive; got {noise}.")
        if scheme not in ("euler", "heun"):
            raise InputError(f"scheme is euler or heun; got {scheme!r}.")
        self.drift, self.noise, self.generator, self.scheme, self.chunk = drift, float(noise), generator, scheme, chunk
        device = self.places.device
        self.alive = torch.ones(n, dtype=torch.bool, device=device)
        self.crossings = torch.zeros(d, 2, dtype=torch.int64, device=device)
        self._kicks = torch.empty(n, d, dtype=torch.float32, device=device)

    def __len__(self) -> int:
        return len(self.places)

    def run(self, start: float, end: float, steps: int) -> None:
        """Go from start to end in equal steps."""
        for _ in self.snapshots(start, end, steps, 1):
            pass

    def snapshots(self, start: float, end: float, steps: int, every: int) -> Iterator[float]:
        """The same; after each ``every`` steps, and after the last, the time is yielded.

        Raises:
            InputError: if there is not one step at least.
        """
        if steps < 1 or every < 1:
            raise InputError(f"There is one step at least; got steps={steps}, every={every}.")
        for step in range(steps):
            t, after = (start + (end - start) * (step + share) / steps for share in (0, 1))
            self.step(t, after)
            if (step + 1) % every == 0 or step + 1 == steps:
                yield after

    def step(self, t: float, after: float) -> None:
        """One step from a time to a later one."""
        kicks = self._kicks.normal_(0.0, self.noise * math.sqrt(after - t), generator=self.generator)
        d = self.places.shape[1]
        if isinstance(self.drift, DriftTable) and d == 1 and self.scheme == "euler" and kicks.device.type == "cpu":
            return self._step_by_table(self.drift, kicks, t, after)
        moved = self.places + kicks
        first = self._velocity(self.places, t)
        if self.scheme == "heun":
            first = (first + self._velocity(moved + (after - t) * first, after)) / 2
        moved.add_(first, alpha=after - t)
        taken = torch.zeros_like(self.alive)
        for k, wall in enumerate(self.walls):
            column = moved[:, k]
            self.crossings[k] += (torch.stack(wall.crossed(column)) & self.alive).sum(1)
            taken |= wall.gone(column)
            moved[:, k] = wall.meet(column)
        self.places = torch.where(self.alive[:, None], moved, self.places)
        self.alive = self.alive & ~taken
        return None

    def _velocity(self, places: Tensor, t: float) -> Tensor:
        return torch.cat([self.drift(some, t) for some in places.split(self.chunk)])

    def _step_by_table(self, table: DriftTable, kicks: Tensor, t: float, after: float) -> None:
        wall = self.walls[0]
        numba_cpu.move(
            self.places[:, 0].numpy(),
            kicks[:, 0].numpy(),
            self.alive.numpy(),
            table.at(t).numpy(),
            table.low,
            table.cell,
            after - t,
            KINDS.index(wall.kind),
            wall.low,
            wall.high,
            self.crossings[0].numpy(),
        )
