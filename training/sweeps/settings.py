"""The group ``sweep``: which combinations are run, how many at a time, and what they are compared by."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from training.errors import ConfigurationError
from training.hardware import available_cores
from training.settings import Settings

Method = Literal["grid", "list", "random", "sobol", "optuna"]

DRAWN = ("random", "sobol", "optuna")
"""Methods that draw a number of combinations from ranges."""


class SweepSettings(Settings):
    """What ``python train.py -m`` does with the values it is given."""

    method: Method = "grid"
    """grid (all combinations), list (first values together, then second ones, …), random, sobol, optuna"""

    space: dict[str, Any] = Field(default_factory=dict)
    """Key and values as on the command line, for studies kept in a file; the command line wins."""

    file: Path | None = None
    """Only for ``list``: a file with the words of one run on each line."""

    runs: int | None = Field(default=None, ge=1)
    """How many combinations random, sobol and optuna draw."""

    seed: int = Field(default=0, ge=0, lt=2**32)
    """Of the draws."""

    metric: str | None = None
    """The figure of ``summary.json`` that runs are compared by; the first bar's figure if null."""

    goal: Literal["minimize", "maximize"] = "minimize"
    """What is good in a metric."""

    workers: int = Field(default=1, ge=1)
    """Runs at the same time, each in a process of its own; 1: one after another."""

    threads_per_worker: int | None = Field(default=None, ge=1)
    """Cores a worker is bound to, and threads of its numerical libraries; the cores are divided evenly if null."""

    devices: tuple[int, ...] = ()
    """Numbers of the GPUs, which workers take in turn; empty: every worker sees all."""

    timeout_minutes: float | None = Field(default=None, gt=0)
    """A run that takes longer is killed with everything it has started."""

    retries: int = Field(default=2, ge=0)
    """How often a run is repeated whose process was killed; a run that fails by itself is never repeated."""

    name: str | None = None
    """Folder below ``run.root/sweeps``; made of the experiment and the combinations if null."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.method in DRAWN and self.runs is None:
            raise ValueError(f"sweep={self.method} draws combinations: say how many with sweep.runs=20")
        if self.method not in DRAWN and self.runs is not None:
            raise ValueError(f"sweep.runs has no meaning for sweep={self.method}, which makes every run that is named")
        if self.method != "list" and self.file is not None:
            raise ValueError(f"sweep.file belongs to sweep=list, not to sweep={self.method}")
        if self.method == "optuna" and self.metric is None:
            raise ValueError("sweep=optuna needs the figure it improves: sweep.metric=NAME, a name in summary.json")
        return self

    @property
    def in_this_process(self) -> bool:
        """Whether runs need no process of their own: one at a time, never ended by force, bound to nothing."""
        return (
            self.workers == 1 and self.timeout_minutes is None and self.threads_per_worker is None and not self.devices
        )

    def threads(self) -> int:
        """Threads of each worker.

        Raises:
            ConfigurationError: if the workers together need more cores than there are.
        """
        cores = available_cores()
        threads = self.threads_per_worker or max(1, cores // self.workers)
        if threads * self.workers > cores:
            raise ConfigurationError(
                f"sweep.workers={self.workers} with {threads} thread{'s' if threads > 1 else ''} each need "
                f"{threads * self.workers} cores; this process may use {cores}. Choose fewer."
            )
        return threads
