"""A drift on a line, looked up instead of computed: the network is asked once per node, not once per agent."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from training.errors import InputError


class DriftTable:
    """Values of a drift at equally spaced nodes and times, with straight lines between them and beyond.

    The error is an eighth of the drift's second derivative times the square of the distance of two nodes, which is
    1e-6 for 2,000 nodes where the drift bends by one over the whole length.

    Args:
        times: (k,) in order, equally spaced; one alone is a drift that does not change.
        low, high: the first and the last node.
        values: (k, nodes).

    Raises:
        InputError: if shapes do not fit.
    """

    def __init__(self, times: Tensor, low: float, high: float, values: Tensor) -> None:
        if values.ndim != 2 or len(values) != len(times) or values.shape[1] < 2 or not low < high:
            raise InputError(
                f"A table has one row of two or more nodes per time, between ends in order; got {tuple(values.shape)} "
                f"for {len(times)} times, from {low:g} to {high:g}."
            )
        self.start = float(times[0])
        self.interval = float(times[-1] - times[0]) / max(len(times) - 1, 1)
        self.low, self.high = float(low), float(high)
        self.cell = (self.high - self.low) / (values.shape[1] - 1)
        self.values = values.to(torch.float64).contiguous()

    @classmethod
    def of(
        cls, drift: Callable[[Tensor, float], Tensor], times: Tensor, low: float, high: float, nodes: int = 2001
    ) -> DriftTable:
        """The table of a drift in one dimension.

        Args:
            drift: places (n, 1) and a time to velocities (n, 1).
            times: (k,) equally spaced; those at which steps begin need no interpolation.
            low, high: where agents are; outside, the drift is continued along a straight line.
            nodes: per time.
        """
        places = torch.linspace(low, high, nodes, dtype=torch.float64, device=times.device)[:, None]
        return cls(times, low, high, torch.stack([drift(places, float(t))[:, 0] for t in times]))

    def at(self, t: float) -> Tensor:
        """The nodes' values at a time: (nodes,), between two rows if it is between them.

        Raises:
            InputError: if the time is outside the table.
        """
        if self.interval == 0:
            return self.values[0]
        place = (t - self.start) / self.interval
        row = round(place)
        if abs(place - row) < 1e-9 and 0 <= row < len(self.values):
            return self.values[row]
        below = int(place)
        if not 0 <= place < len(self.values) - 1:
            end = self.start + self.interval * (len(self.values) - 1)
            raise InputError(f"The table of the drift reaches from t={self.start:g} to t={end:g}; got {t:g}.")
        return torch.lerp(self.values[below], self.values[below + 1], place - below)

    def __call__(self, places: Tensor, t: float) -> Tensor:
        """Velocities (n, 1) at places (n, 1)."""
        values = self.at(t)
        place = (places - self.low) / self.cell
        node = place.long().clamp(0, len(values) - 2)
        return torch.lerp(values[node], values[node + 1], place - node)
