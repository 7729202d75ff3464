"""Learning-rate schedules: pure functions of the step, chosen in a config by ``_target_``."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class Schedule(ABC):
    """The factor on the learning rate: a linear rise from almost zero, then a shape over the rest of the stage.

    Args:
        warmup_steps: length of the rise; at most half of the stage.
    """

    def __init__(self, warmup_steps: int = 0) -> None:
        if warmup_steps < 0:
            raise ValueError(f"warmup_steps={warmup_steps} is negative.")
        self.warmup_steps = warmup_steps

    @abstractmethod
    def shape(self, progress: float) -> float:
        """The factor after the rise, for a progress from 0 to 1."""

    def factor(self, step: int, total_steps: int) -> float:
        """The factor of the step with this number, counted from 0."""
        warmup = min(self.warmup_steps, total_steps // 2)
        if step < warmup:
            return self.shape(0.0) * (step + 1) / (warmup + 1)
        return self.shape(min((step - warmup) / max(total_steps - warmup, 1), 1.0))


class Constant(Schedule):
    """``1``."""

    def shape(self, progress: float) -> float:
        return 1.0


class _Falling(Schedule):
    """A schedule that falls from 1 to ``final``."""

    def __init__(self, warmup_steps: int = 0, final: float = 0.0) -> None:
        super().__init__(warmup_steps)
        if not 0 <= final <= 1:
            raise ValueError(f"final={final} is the factor at the end of the stage, between 0 and 1.")
        self.final = final


class Cosine(_Falling):
    """``final + (1 − final) (1 + cos π p) / 2``."""

    def shape(self, progress: float) -> float:
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * progress)) / 2


class Linear(_Falling):
    """``1 − (1 − final) p``."""

    def shape(self, progress: float) -> float:
        return 1 - (1 - self.final) * progress


class Exponential(_Falling):
    """``final^p``, the same relative fall at every step; ``final`` must be positive."""

    def __init__(self, warmup_steps: int = 0, final: float = 0.01) -> None:
        super().__init__(warmup_steps, final)
        if final == 0:
            raise ValueError("final=0 cannot be reached by an exponential; choose a small positive factor.")

    def shape(self, progress: float) -> float:
        return self.final**progress


class OneCycle(Schedule):
    """Half a cosine up from ``start`` to 1 at the share ``peak`` of the stage, then half a cosine down to ``final``.

    Source: L. N. Smith, N. Topin, "Super-convergence", arXiv:1708.07120, with cosines for the straight lines.
    """

    def __init__(self, start: float = 0.04, peak: float = 0.3, final: float = 0.0) -> None:
        super().__init__()
        if not 0 < peak < 1:
            raise ValueError(f"peak={peak} is the share of the stage at which the rate is highest, between 0 and 1.")
        self.start = start
        self.peak = peak
        self.final = final

    def shape(self, progress: float) -> float:
        if progress < self.peak:
            return _half_cosine(self.start, 1.0, progress / self.peak)
        return _half_cosine(1.0, self.final, (progress - self.peak) / (1 - self.peak))


class StepSchedule(LRScheduler):
    """Applies a `Schedule` to an optimizer, step by step, as Lightning and checkpoints expect a scheduler.

    Args:
        optimizer: its learning rates are the ones that the factor multiplies.
        schedule: the pure function.
        total_steps: length of the stage; may be set to another number while it runs.
    """

    def __init__(self, optimizer: Optimizer, schedule: Schedule, total_steps: int) -> None:
        self.schedule = schedule
        self.total_steps = total_steps
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """Learning rate of every parameter group at the current step."""
        factor = self.schedule.factor(self.last_epoch, self.total_steps)
        return [base * factor for base in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers; the schedule itself comes from the configuration."""
        return {
            "last_epoch": self.last_epoch,
            "base_lrs": [float(rate) for rate in self.base_lrs],
            "last_lr": [float(rate) for rate in self.get_last_lr()],
            "total_steps": self.total_steps,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue at the saved step."""
        self.last_epoch = state_dict["last_epoch"]
        self._step_count = self.last_epoch + 1
        self.base_lrs = list(state_dict["base_lrs"])
        self._last_lr = list(state_dict["last_lr"])
        self.total_steps = state_dict["total_steps"]


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
