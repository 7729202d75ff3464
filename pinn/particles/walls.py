"""What happens to an agent at the ends of a coordinate: it comes back, comes in again on the other side, or is gone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from training.errors import ConfigurationError

Kind = Literal["open", "periodic", "reflecting", "absorbing"]
KINDS: tuple[Kind, ...] = ("open", "periodic", "reflecting", "absorbing")


@dataclass(frozen=True)
class Walls:
    """Both ends of one coordinate.

    Attributes:
        kind: ``open`` lets agents go anywhere; ``periodic`` joins the ends; ``reflecting`` sends an agent back by as
            much as it went too far; ``absorbing`` takes it out of the game where it crossed.
        low, high: where they are.

    Raises:
        ConfigurationError: if the kind is not known, or walls that do something are not finite and in order.
    """

    kind: Kind = "open"
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigurationError(f"Walls are {', '.join(KINDS)}; got {self.kind!r}.")
        if self.kind != "open" and not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ConfigurationError(
                f"{self.kind} walls need finite ends in order; got {self.low:g} and {self.high:g}."
            )

    def crossed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Which agents (n,) are beyond the lower and the upper end; the upper end of a period is its lower one."""
        return x < self.low, (x >= self.high) if self.kind == "periodic" else (x > self.high)

    def meet(self, x: Tensor) -> Tensor:
        """Where agents (n,) are after a step that knew of no walls; those that are absorbed are on the wall."""
        if self.kind == "periodic":
            return self.low + torch.remainder(x - self.low, self.high - self.low)
        if self.kind == "reflecting":
            length = self.high - self.low
            return self.low + length - (torch.remainder(x - self.low, 2 * length) - length).abs()
        return x.clamp(self.low, self.high) if self.kind == "absorbing" else x

    def gone(self, x: Tensor) -> Tensor:
        """Which agents (n,) an absorbing wall takes after such a step."""
        if self.kind != "absorbing":
            return torch.zeros_like(x, dtype=torch.bool)
        return (x < self.low) | (x > self.high)


OPEN = Walls()
