"""When a stage ends before its last step: the target is reached, the loss no longer falls, or the time is up."""

from __future__ import annotations

import math
from typing import Any

from pydantic import Field

from training.settings import Settings


class StopSettings(Settings):
    """The rules that may end a stage early; the first that holds does. Without any, the number of steps decides."""

    target: float | None = Field(default=None, gt=0)
    """Loss at or below which the stage has done its work."""

    plateau_patience: int | None = Field(default=None, ge=1)
    """Steps in which the loss must fall by ``plateau_factor``."""

    plateau_factor: float = Field(default=0.99, gt=0, lt=1)
    """Progress is a loss below this factor times the lowest one at the last progress."""

    minutes: float | None = Field(default=None, gt=0)
    """Wall-clock time of the stage, over all processes that worked on it; the result then depends on the machine."""


class StopRule:
    """Watches the loss of one stage.

    Args:
        settings: the rules.
    """

    def __init__(self, settings: StopSettings) -> None:
        self.settings = settings
        self._lowest = math.inf
        self._since: int | None = None

    def check(self, step: int, loss: float, seconds: float) -> str | None:
        """Why to stop after this step, or None.

        Args:
            step: number of the step in the stage; it may leave out steps.
            loss: at this step; one that is not finite is no progress.
            seconds: spent in the stage so far.
        """
        settings = self.settings
        if loss < self._lowest * settings.plateau_factor or (math.isinf(self._lowest) and math.isfinite(loss)):
            self._lowest, self._since = loss, step
        elif self._since is None:
            self._since = step
        if settings.target is not None and loss <= settings.target:
            return f"the loss {loss:.3g} has reached its target {settings.target:.3g}"
        patience = settings.plateau_patience
        if patience is not None and step - self._since >= patience:
            return f"the loss has not fallen below {settings.plateau_factor:g} × {self._lowest:.3g} in {patience} steps"
        if settings.minutes is not None and seconds >= 60 * settings.minutes:
            return f"its {settings.minutes:g} minutes are over"
        return None

    def state_dict(self) -> dict[str, Any]:
        """The lowest loss and when it was reached, as plain values."""
        return {"lowest": self._lowest, "since": self._since}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with what was seen before an interruption."""
        self._lowest = state_dict["lowest"]
        self._since = state_dict["since"]
