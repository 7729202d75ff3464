"""The factor on the loss that keeps gradients in float16 away from zero."""

from __future__ import annotations

from typing import Any

FIRST, LARGEST = 2.0**16, 2.0**24
PATIENCE = 2000
"""Steps without overflow after which the factor is doubled."""


class LossScale:
    """A power of two that falls when a gradient overflows, and rises when none has for a while.

    The gradients of every chunk are divided by it in float32 before they are added up, so the sum and everything
    that looks at it (clipping, norms, the optimizer) see gradients of the loss itself.
    """

    def __init__(self) -> None:
        self.value = FIRST
        self.steps_without_overflow = 0
        self.skipped = 0

    def update(self, overflow: bool) -> None:
        """After the gradient of each step."""
        if overflow:
            self.value = max(self.value / 2, 1.0)
            self.steps_without_overflow = 0
            self.skipped += 1
            return
        self.steps_without_overflow += 1
        if self.steps_without_overflow >= PATIENCE:
            self.value = min(2 * self.value, LARGEST)
            self.steps_without_overflow = 0

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue."""
        vars(self).update(state)
