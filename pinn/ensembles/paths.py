"""Frozen paths: known numbers at known times, straight lines between them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from pinn.ensembles.draws import Kind, uniforms
from pinn.ensembles.processes import Process


@dataclass(frozen=True)
class Paths:
    """One path for each member of an ensemble; member k belongs to row k, always.

    Attributes:
        times: (n_times,) float64, ascending.
        values: (members, n_times) float64.
    """

    times: Tensor
    values: Tensor
    _latest: list[tuple[Tensor, Tensor]] = field(default_factory=list, repr=False, compare=False)

    @classmethod
    def drawn(
        cls, process: Process, end: float, steps: int, members: int, kind: Kind = "sobol", seed: int = 0
    ) -> Paths:
        """Paths of a process from time 0 on.

        Args:
            process: what is drawn.
            end: last time.
            steps: of equal length.
            members: how many paths.
            kind: plain or sobol.
            seed: of the draws.
        """
        times = np.linspace(0, end, steps + 1)
        values = process.paths(times, uniforms(kind, members, steps, process.per_step, seed))
        return cls(torch.from_numpy(times), torch.from_numpy(values))

    def __len__(self) -> int:
        return len(self.values)

    def member(self, index: int) -> Paths:
        """One path, as an ensemble of one."""
        return Paths(self.times, self.values[index : index + 1])

    def pick(self, indices: Tensor) -> Paths:
        """Some paths."""
        return Paths(self.times, self.values[indices])

    def at(self, t: Tensor) -> Tensor:
        """Values at times.

        Args:
            t: (members · n,), the times of member 0 first; those beyond the ends get the value at the end.

        Returns:
            (members · n,), in the precision of ``t``. Remembered for the same tensor, since points stay where they are
            for many steps.
        """
        if self._latest and self._latest[0][0] is t:
            return self._latest[0][1]
        lower, share = self._place(t)
        rows = self.values.to(t.device)
        low, high = rows.gather(1, lower), rows.gather(1, lower + 1)
        found = (low + share * (high - low)).reshape(-1).to(t.dtype)
        self._latest[:] = [(t, found)]
        return found

    def integral(self, t: Tensor) -> Tensor:
        """``∫₀ᵗ`` of the straight lines, exactly; arguments and shape as for `at`."""
        lower, share = self._place(t)
        times, rows = self.times.to(t.device), self.values.to(t.device)
        widths = times.diff()
        whole = torch.cumsum((rows[:, 1:] + rows[:, :-1]) / 2 * widths, dim=1)
        before = torch.cat([torch.zeros_like(whole[:, :1]), whole], dim=1).gather(1, lower)
        low, high = rows.gather(1, lower), rows.gather(1, lower + 1)
        inside = share * widths[lower] * (low + share * (high - low) / 2)
        return (before + inside).reshape(-1).to(t.dtype)

    def _place(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """For every time (members, n) the number of the piece it lies in, and the share of the piece before it."""
        times = self.times.to(t.device)
        rows = t.detach().double().reshape(len(self), -1).contiguous().clamp(times[0], times[-1])
        lower = (torch.searchsorted(times, rows, right=True) - 1).clamp(0, len(times) - 2)
        return lower, (rows - times[lower]) / times.diff()[lower]
