"""What every logger of a run understands beyond Lightning's interface: stages, figures, a summary, a resume."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only


class RunLogger(Logger):
    """A Lightning logger whose steps go on counting from one stage, that is one `Trainer`, to the next.

    Args:
        experiment: first part of the run's place, ``checkpoints/<experiment>/<run>``.
        run: its second part.

    Attributes:
        first_step: steps done in earlier stages; added to the step Lightning reports.
    """

    def __init__(self, experiment: str, run: str) -> None:
        super().__init__()
        self._experiment_name = experiment
        self._run_name = run
        self.first_step = 0

    @property
    def name(self) -> str:
        return self._experiment_name

    @property
    def version(self) -> str:
        return self._run_name

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Called by Lightning with the step of the current `Trainer`."""
        if step is None:
            raise ValueError("A metric is logged at a step; Lightning gives one for every value.")
        self.write(metrics, self.first_step + step)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the resolved config of the run is recorded once, when the tracker is built."""

    @abstractmethod
    def write(self, metrics: Mapping[str, Any], step: int) -> None:
        """Record metrics at a step counted over all stages; steps do not go back except through `resume_from`."""

    @abstractmethod
    def figure(self, name: str, path: Path, step: int) -> None:
        """Record the PNG file ``path`` under a name."""

    @abstractmethod
    def summary(self, values: Mapping[str, Any], step: int) -> None:
        """Record the final numbers of the run; nested names are joined with a slash."""

    @abstractmethod
    def resume_from(self, step: int, stored: int) -> None:
        """Make sure that no step appears twice: ``step`` is logged next, steps up to ``stored`` were logged before."""

    @abstractmethod
    def close(self, ok: bool) -> None:
        """Flush and let go of files and processes; idempotent."""


def flatten(values: Mapping[str, Any], separator: str, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one level, their names joined: ``{"a": {"b": 1}}`` becomes ``{"a.b": 1}``."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, separator, f"{prefix}{name}{separator}"))
        else:
            flat[f"{prefix}{name}"] = value
    return flat
