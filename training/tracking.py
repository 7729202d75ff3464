"""Following a run: every value in ``metrics.jsonl``, and on request in Weights & Biases and the local dashboard."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from training.errors import ConfigurationError, InputError
from training.loggers.metrics_file import FILE_NAME, curve, read_figures, read_metrics
from training.settings import Settings

if TYPE_CHECKING:
    from training.loggers.base import RunLogger

__all__ = ["Tracker", "TrackerSettings", "build_tracker", "curve", "read_figures", "read_metrics"]


class TrackerSettings(Settings):
    """Where a run's values go beside ``metrics.jsonl``, which is always written."""

    kind: Literal["wandb", "trackio", "none"] = "wandb"
    """wandb: online when logged in, else in files of the run folder; trackio: the local dashboard alone; none."""
    project: str = Field(default="limbeck", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    """Project the runs are listed under."""
    dashboard: bool = True
    """Show a run that wandb tracks in the local dashboard too, where the extra is installed."""


class Tracker:
    """Hands values to the loggers of a run; closes them when used as a context manager.

    Attributes:
        loggers: for Lightning's ``Trainer(logger=…)``; empty in processes other than the first of a distributed run.
        path: the run's ``metrics.jsonl``.
    """

    def __init__(self, folder: Path, loggers: list[RunLogger]) -> None:
        self.loggers = loggers
        self.path = Path(folder) / FILE_NAME

    @property
    def last_step(self) -> int:
        """The highest step logged so far, counted over all stages and resumes; -1 before the first."""
        return getattr(self.loggers[0], "last_step", -1) if self.loggers else -1

    def begin_stage(self, first_step: int) -> None:
        """Let the steps of the next `Trainer`, which start at zero, count on from ``first_step``."""
        for logger in self.loggers:
            logger.first_step = first_step

    def resume_from(self, step: int) -> None:
        """Forget what was logged at ``step`` and later: ``step`` is the next to be logged, counted over all stages.

        A run that starts afresh in an existing folder resumes from step 0.
        """
        stored = self.last_step
        for logger in self.loggers:
            logger.resume_from(step, stored)

    def log(self, metrics: Mapping[str, Any], step: int) -> None:
        """Log numbers at a step counted over all stages; steps do not go back.

        Raises:
            ValueError: if a metric is no number or bears a reserved name.
        """
        for logger in self.loggers:
            logger.write(metrics, step)

    def figure(self, name: str, path: Path) -> None:
        """Show a PNG file of the run folder under a name, at the latest step.

        Raises:
            InputError: if the file is missing, no PNG, or outside the run folder.
        """
        path = Path(path)
        if not path.is_file() or path.suffix.lower() != ".png":
            raise InputError(f"Figure {name}: {path} is no PNG file.")
        if not path.resolve().is_relative_to(self.path.parent.resolve()):
            raise InputError(f"Figure {name}: {path} is outside the run folder {self.path.parent}; save it inside.")
        for logger in self.loggers:
            logger.figure(name, path, max(self.last_step, 0))

    def summary(self, values: Mapping[str, Any]) -> None:
        """Record the final numbers; nested mappings are allowed."""
        for logger in self.loggers:
            logger.summary(values, max(self.last_step, 0))

    def finish(self, ok: bool) -> None:
        """Flush and close every logger; idempotent. wandb shows the run as finished or failed."""
        for logger in reversed(self.loggers):
            logger.close(ok)

    def __enter__(self) -> Tracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish(ok=error is None)


def build_tracker(
    settings: TrackerSettings,
    folder: Path,
    experiment: str,
    name: str,
    config: Mapping[str, Any],
    say: Callable[[str], None] = print,
) -> Tracker:
    """Open the loggers of a run. Asks nothing, needs no account, and stays off the network unless wandb has a key.

    Args:
        settings: of the config group ``tracker``.
        folder: the run folder, ``<root>/<experiment>/<name>``.
        experiment: groups the runs on a dashboard.
        name: of the run within its experiment.
        config: the resolved config as plain values.
        say: receives one line per logger.

    Raises:
        ConfigurationError: if what was asked for is not available, with the remedy.
        InputError: if the run folder cannot be written or its ``metrics.jsonl`` is damaged.
    """
    from pytorch_lightning.utilities.rank_zero import rank_zero_only

    from training.loggers.jsonl_logger import JsonlLogger

    folder = Path(folder)
    if getattr(rank_zero_only, "rank", None) not in (None, 0):
        return Tracker(folder, [])
    loggers: list[RunLogger] = [JsonlLogger(folder, experiment, name)]
    if settings.kind == "wandb":
        loggers += _wandb(settings, folder, experiment, name, config, say)
    if settings.kind == "trackio":
        loggers.append(_trackio(settings, folder, experiment, name, config, say))
    elif settings.kind == "wandb" and settings.dashboard:
        try:
            loggers.append(_trackio(settings, folder, experiment, name, config, say))
        except ConfigurationError as error:
            say(f"Local dashboard: not written now. {error} 'make dashboard' shows this run from its metrics.jsonl.")
    return Tracker(folder, loggers)


def _wandb(
    settings: TrackerSettings,
    folder: Path,
    experiment: str,
    name: str,
    config: Mapping[str, Any],
    say: Callable[[str], None],
) -> list[RunLogger]:
    from training.loggers.wandb_logger import WandbLogger, choose_mode

    mode = choose_mode()
    if mode == "disabled":
        say("wandb: disabled by WANDB_MODE.")
        return []
    logger = WandbLogger(folder, settings.project, experiment, name, config, mode, say)
    if logger.mode == "online":
        say("wandb: online.")
    else:
        say(f"wandb: offline; 'wandb leet {folder / 'wandb' / 'latest-run'}' shows the run in the terminal.")
    return [logger]


def _trackio(
    settings: TrackerSettings,
    folder: Path,
    experiment: str,
    name: str,
    config: Mapping[str, Any],
    say: Callable[[str], None],
) -> RunLogger:
    from training.loggers.trackio_logger import TrackioLogger
    from training.loggers.trackio_store import TrackioStore

    root = folder.resolve().parents[1]
    store = TrackioStore(root, settings.project, f"{experiment}/{name}")
    return TrackioLogger(store, folder, experiment, name, config, say)
