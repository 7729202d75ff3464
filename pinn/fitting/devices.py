"""Where a batch of fits is computed: on the device that a measured model ``t = a + b·B`` says is faster."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from training.errors import InputError

SMALL, LARGE = 8, 256
"""Numbers of fits that are timed."""

WRONG = 1.5
"""A prediction that is off by more than this factor is worth a warning."""

_log = logging.getLogger(__name__)
_known: dict[tuple[str, str], TimeModel] = {}


@dataclass(frozen=True)
class TimeModel:
    """``t = a + b·B`` seconds for B fits."""

    a: float
    b: float

    @classmethod
    def through(cls, small: float, large: float) -> TimeModel:
        """The line through the times of `SMALL` and `LARGE` fits; neither cost is negative."""
        slope = max((large - small) / (LARGE - SMALL), 0.0)
        return cls(max(small - SMALL * slope, 0.0), slope)

    def seconds(self, n: int) -> float:
        return self.a + self.b * n


@dataclass(frozen=True)
class Choice:
    """A device and why.

    Attributes:
        device: where to compute.
        predicted: seconds for these fits, by device; empty where there was nothing to choose from.
    """

    device: torch.device
    predicted: Mapping[str, float] = field(default_factory=dict)

    def check(self, n: int, seconds: float, say: Callable[[str], None] | None) -> None:
        """Warn if the fits took much longer or shorter than was predicted."""
        expected = self.predicted.get(self.device.type)
        if expected is None or 1 / WRONG <= seconds / expected <= WRONG:
            return
        text = (
            f"{n:,} fits on {self.device.type} took {seconds:.3g} s instead of the {expected:.3g} s predicted: the "
            "choice of the device may be wrong. Name one, or start again to measure anew."
        )
        _log.warning(text)
        if say is not None:
            say(f"NOTE: {text}")


def available_devices() -> list[torch.device]:
    """The CPU, and the GPU if there is one."""
    return [torch.device("cpu")] + ([torch.device("cuda")] if torch.cuda.is_available() else [])


def describe_work(forward: Any, n_parameters: int, n_terms: int, n_data: int) -> str:
    """What the time of a fit depends on, as a key: the model, the sizes, the threads."""
    name = getattr(forward, "work", None) or getattr(forward, "__qualname__", type(forward).__qualname__)
    return f"{name}: {n_parameters} + {n_terms} of {n_data}, {torch.get_num_threads()} threads"


def choose_device(
    wanted: str,
    n: int,
    trial: Callable[[int, torch.device], float],
    work: str,
    movable: bool,
    say: Callable[[str], None] | None = None,
    devices: Callable[[], list[torch.device]] = available_devices,
) -> Choice:
    """The device asked for, or the one on which n fits take less time.

    Each device is timed once for each kind of work: a first call to warm it up, then `SMALL` and `LARGE` fits of the
    caller's own, copies included.

    Args:
        wanted: ``auto``, ``cpu`` or ``cuda``.
        n: fits to come.
        trial: fits some of them on a device, and returns the seconds it took.
        work: key under which what was measured is kept.
        movable: whether the model can be moved; one that cannot stays on the CPU.
        say: receives the predictions and the choice.
        devices: what there is to choose from.

    Raises:
        InputError: if the device is not there.
    """
    there = devices()
    if wanted != "auto":
        if wanted not in {device.type for device in there}:
            raise InputError(f"device={wanted!r} is not there; there are {', '.join(d.type for d in there)}, and auto.")
        return Choice(torch.device(wanted))
    if len(there) == 1 or not movable:
        return Choice(there[0])
    for device in there:
        if (work, device.type) not in _known:
            trial(SMALL, device)
            _known[work, device.type] = TimeModel.through(trial(SMALL, device), trial(LARGE, device))
    predicted = {device.type: _known[work, device.type].seconds(n) for device in there}
    best = min(there, key=lambda device: predicted[device.type])
    text = f"{n:,} fits: " + ", ".join(f"{name} {seconds:.3g} s" for name, seconds in predicted.items())
    text += f" predicted; computed on {best.type}."
    _log.info(text)
    if say is not None:
        say(text)
    return Choice(best, predicted)
