"""What a run hands to its phases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from training.hardware import Hardware, HardwareSettings
from training.interruption import Interruption
from training.progress import Progress
from training.run_folder import RunFolder
from training.settings import Settings
from training.tracking import Tracker, TrackerSettings


class RunFolderSettings(Settings):
    """The group ``run``: where a run lives."""

    experiment: str
    """First folder below the root; the name of the experiment file unless given."""

    name: str | None = None
    """Second folder; made of seed and configuration if null, so that the same command continues."""

    resume: bool = True
    """False starts afresh beside an existing run of the same name."""

    root: str = "checkpoints"
    """Where all runs live."""


class HalfSettings(Settings):
    """The key ``half``: which code runs the configuration."""

    pipeline: str
    """Dotted path of the function that tells the story of a run."""

    settings: str
    """Dotted path of the settings class of the whole configuration."""


class RunSettings(Settings):
    """What every configuration has; a half derives the settings of its own from this."""

    half: HalfSettings
    seed: int = Field(default=0, ge=0, lt=2**32)
    run: RunFolderSettings
    hardware: HardwareSettings = HardwareSettings()
    tracker: TrackerSettings = TrackerSettings()
    checkpoint_seconds: float = Field(default=20.0, ge=0)
    profile: bool = False
    """Print where the time went, and the bottleneck, at the end; profile.json keeps it."""


@dataclass(frozen=True)
class RunContext:
    """A run's surroundings, the same for every phase.

    Attributes:
        folder: where results go; knows which phases are done.
        tracker: where values and figures go.
        hardware: the device.
        progress: what the user sees.
        interruption: call ``interruption.check()`` where stopping loses nothing.
        seed: start of all random streams.
        checkpoint_seconds: how often training is saved.
        config: the whole configuration as plain values, for files that describe the run.
    """

    folder: RunFolder
    tracker: Tracker
    hardware: Hardware
    progress: Progress
    interruption: Interruption
    seed: int
    checkpoint_seconds: float
    config: Mapping[str, Any]
