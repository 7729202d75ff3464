"""Learning-rate schedules, chosen in a config by ``_target_``: pure functions of the step, or of what they observe."""

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


class Cyclical(Schedule):
    """Triangles: ``cycles`` times up from ``lowest`` to the peak and down again, in straight lines.

    The peaks are 1, ``decay``, ``decay²`` …

    Source: L. N. Smith, "Cyclical learning rates for training neural networks", arXiv:1506.01186.
    """

    def __init__(self, cycles: int = 4, lowest: float = 0.1, decay: float = 1.0) -> None:
        super().__init__()
        if cycles < 1:
            raise ValueError(f"cycles={cycles} is the number of triangles in the stage, at least 1.")
        if not 0 < decay <= 1:
            raise ValueError(f"decay={decay} is the height of a triangle relative to the one before, up to 1.")
        if not 0 < lowest <= decay ** (cycles - 1):
            raise ValueError(f"lowest={lowest} lies between 0 and the lowest peak, {decay ** (cycles - 1):g}.")
        self.cycles = cycles
        self.lowest = lowest
        self.decay = decay

    def shape(self, progress: float) -> float:
        cycle = min(int(progress * self.cycles), self.cycles - 1)
        height = 1 - abs(2 * (progress * self.cycles - cycle) - 1)
        return self.lowest + (self.decay**cycle - self.lowest) * height


class ObservingSchedule(Schedule):
    """A schedule that follows a value it is shown; what it remembers is saved with the scheduler.

    Args:
        observes: name of the value: a term of the loss, ``loss``, ``gradient_norm`` or a validation metric.
        warmup_steps: as in `Schedule`.
    """

    def __init__(self, observes: str, warmup_steps: int = 0) -> None:
        super().__init__(warmup_steps)
        self.observes = observes

    @abstractmethod
    def observe(self, value: float) -> None:
        """Take note of the value of a step; the following steps' factor depends on it."""

    def state_dict(self) -> dict[str, Any]:
        """What is remembered, as plain numbers."""
        return {name[1:]: value for name, value in vars(self).items() if name.startswith("_")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember what was saved."""
        for name, value in state_dict.items():
            setattr(self, f"_{name}", value)


class Plateau(ObservingSchedule):
    """Falls by ``factor`` each time the observed value has not become smaller in ``patience`` observations.

    Args:
        factor: between 0 and 1.
        patience: observations without improvement that are borne.
        threshold: relative decrease that counts as improvement.
        final: the factor does not fall below it.
        observes: see `ObservingSchedule`.
        warmup_steps: as in `Schedule`.
    """

    def __init__(
        self,
        factor: float = 0.5,
        patience: int = 100,
        threshold: float = 1e-3,
        final: float = 1e-3,
        observes: str = "loss",
        warmup_steps: int = 0,
    ) -> None:
        super().__init__(observes, warmup_steps)
        if not 0 < factor < 1:
            raise ValueError(f"factor={factor} is the fall at a plateau, between 0 and 1.")
        if patience < 1:
            raise ValueError(f"patience={patience} is a number of observations, at least 1.")
        if not (0 <= threshold < 1 and 0 < final <= 1):
            raise ValueError(f"threshold={threshold} is at least 0 and below 1; final={final} above 0 and at most 1.")
        self.factor_at_plateau = factor
        self.patience = patience
        self.threshold = threshold
        self.final = final
        self._rate = 1.0
        self._best = math.inf
        self._since = 0

    def observe(self, value: float) -> None:
        if value < self._best * (1 - self.threshold) or (math.isinf(self._best) and math.isfinite(value)):
            self._best, self._since = value, 0
            return
        self._since += 1
        if self._since >= self.patience:
            self._rate, self._since = max(self._rate * self.factor_at_plateau, self.final), 0

    def shape(self, progress: float) -> float:
        return self._rate


class GradientNorm(ObservingSchedule):
    """``(n / n₀)^power`` between ``final`` and 1: steep ground is crossed fast, and the rate falls as the norm does.

    n is the running mean of the gradient's norm, n₀ the largest that it has been.

    Args:
        power: 1 follows the norm, 0.5 its root.
        decay: of the running mean, per observation.
        final: lowest factor.
        observes: see `ObservingSchedule`.
        warmup_steps: as in `Schedule`.
    """

    def __init__(
        self,
        power: float = 0.5,
        decay: float = 0.98,
        final: float = 1e-3,
        observes: str = "gradient_norm",
        warmup_steps: int = 0,
    ) -> None:
        super().__init__(observes, warmup_steps)
        if power <= 0:
            raise ValueError(f"power={power} is positive.")
        if not (0 <= decay < 1 and 0 < final <= 1):
            raise ValueError(f"decay={decay} is at least 0 and below 1; final={final} is above 0 and at most 1.")
        self.power = power
        self.decay = decay
        self.final = final
        self._sum = 0.0
        self._weight = 0.0
        self._largest = 0.0

    def observe(self, value: float) -> None:
        if not math.isfinite(value):
            # a step that a gradient scaler skips has no norm
            return
        self._sum = self.decay * self._sum + (1 - self.decay) * value
        self._weight = self.decay * self._weight + (1 - self.decay)
        self._largest = max(self._largest, self._sum / self._weight)

    def shape(self, progress: float) -> float:
        if self._largest == 0:
            return 1.0
        return max((self._sum / self._weight / self._largest) ** self.power, self.final)


class StepSchedule(LRScheduler):
    """Applies a `Schedule` to an optimizer, step by step, as Lightning and checkpoints expect a scheduler.

    Args:
        optimizer: its learning rates are the ones that the factor multiplies.
        schedule: the function.
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

    @property
    def observes(self) -> str | None:
        """Name of the value to show to `observe`; None if the schedule follows the step alone."""
        return self.schedule.observes if isinstance(self.schedule, ObservingSchedule) else None

    def observe(self, value: float) -> None:
        """Show the schedule the value of the step just done, before ``step()``."""
        if isinstance(self.schedule, ObservingSchedule):
            self.schedule.observe(value)

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers; the schedule itself comes from the configuration."""
        return {
            "last_epoch": self.last_epoch,
            "base_lrs": [float(rate) for rate in self.base_lrs],
            "last_lr": [float(rate) for rate in self.get_last_lr()],
            "total_steps": self.total_steps,
            "observed": self.schedule.state_dict() if isinstance(self.schedule, ObservingSchedule) else {},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue at the saved step."""
        self.last_epoch = state_dict["last_epoch"]
        self._step_count = self.last_epoch + 1
        self.base_lrs = list(state_dict["base_lrs"])
        self._last_lr = list(state_dict["last_lr"])
        self.total_steps = state_dict["total_steps"]
        if isinstance(self.schedule, ObservingSchedule):
            self.schedule.load_state_dict(state_dict["observed"])


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
