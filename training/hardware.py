"""Which device a run uses, how many threads, and why."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from training.errors import ConfigurationError
from training.settings import Settings


class HardwareSettings(Settings):
    """The group ``hardware``."""

    device: Literal["auto", "cpu", "gpu"] = "auto"
    """``auto`` takes the GPU if there is one, else the CPU; ``gpu`` is an error where there is none."""

    threads: int | None = Field(default=None, ge=1)
    """CPU threads of the training process; all cores this process may use if null."""

    devices: int = Field(default=1, ge=1)
    """How many GPUs."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a run computes on.

    Attributes:
        device: ``"cpu"`` or ``"cuda"``, as PyTorch names it.
        accelerator: ``"cpu"`` or ``"gpu"``, as Lightning names it.
        devices: how many of them.
        threads: CPU threads of this process.
        reason: one sentence for the log.
    """

    device: str
    accelerator: str
    devices: int
    threads: int
    reason: str


def choose_hardware(settings: HardwareSettings) -> Hardware:
    """Pick the device and set the number of threads of this process.

    Raises:
        ConfigurationError: if a GPU is asked for and PyTorch sees none, or more than one device is asked for.
    """
    import torch  # slow, and worker processes import this module for its settings only

    if settings.devices > 1:
        raise ConfigurationError(
            f"hardware.devices={settings.devices}: a run trains on one device, because batches are not split between "
            "processes. Use hardware.devices=1 and run several seeds side by side."
        )
    threads = settings.threads or available_cores()
    torch.set_num_threads(threads)
    found_gpu = torch.cuda.is_available()
    apple = torch.backends.mps.is_available()
    if settings.device == "gpu" and not found_gpu:
        why = "Apple's GPU has no float64, which energies need" if apple else _why_no_gpu(torch.version.cuda)
        raise ConfigurationError(f"hardware=gpu, but there is no usable GPU: {why}. Use hardware=cpu or hardware=auto.")
    if settings.device != "cpu" and found_gpu:
        name = torch.cuda.get_device_name(0)
        asked = "asked for" if settings.device == "gpu" else "found"
        return Hardware("cuda", "gpu", 1, threads, f"GPU {name} ({asked}), {_threads(threads)}")
    if settings.device == "cpu":
        why = "asked for"
    elif apple:
        why = "Apple's GPU has no float64, which energies need"
    else:
        why = _why_no_gpu(torch.version.cuda)
    return Hardware("cpu", "cpu", 1, threads, f"CPU with {_threads(threads)} ({why})")


def available_cores() -> int:
    """Cores this process may use, which on a shared machine are fewer than it has."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


def _why_no_gpu(cuda: str | None) -> str:
    return "PyTorch finds no GPU" if cuda else "this PyTorch is built for the CPU only"


def _threads(count: int) -> str:
    return f"{count} thread" + ("" if count == 1 else "s")
