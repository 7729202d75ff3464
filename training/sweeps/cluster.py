"""Runs on a cluster, through any launcher of Hydra's; submitit's writes the job arrays of SLURM."""

from __future__ import annotations

import importlib.util
import json
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from hydra import compose as hydra_compose
from hydra._internal.callbacks import Callbacks
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, open_dict

from training.composition import MAIN_CONFIG
from training.errors import ConfigurationError
from training.files import write_json_atomically
from training.sweeps.plan import PlannedRun
from training.sweeps.records import MEANINGS, Attempt, Seconds, date_and_time
from training.sweeps.words import reading

LAUNCHER = "hydra/launcher="
ANSWERS = "cluster"
"""Folder below the sweep's in which jobs leave what became of them."""


def chosen_launcher(words: Sequence[str]) -> str | None:
    """The launcher that the user has named, if any.

    Raises:
        ConfigurationError: if its package is not installed.
    """
    names = [word.removeprefix(LAUNCHER) for word in words if word.startswith(LAUNCHER)]
    if not names:
        return None
    package = names[-1].partition("_")[0]
    if package != "basic" and importlib.util.find_spec("hydra_plugins") is None:
        raise ConfigurationError(_remedy(names[-1], package))
    if package != "basic" and importlib.util.find_spec(f"hydra_plugins.hydra_{package}_launcher") is None:
        raise ConfigurationError(_remedy(names[-1], package))
    return names[-1]


@dataclass(frozen=True)
class ClusterTask:
    """What a job does; it is called with the configuration that Hydra has composed there.

    Attributes:
        folder: of the sweep, on a disk that all machines share.
        runs: ids, by number of the job.
        halves: module prefixes of the code that a configuration may name.
    """

    folder: str
    runs: tuple[str, ...]
    halves: tuple[str, ...]

    def __call__(self, config: DictConfig) -> int:
        """Make the run, and leave a file that says what became of it."""
        from training.run import main  # slow to load, and not needed where jobs are only sent off

        start, began = date_and_time(), time.monotonic()
        exit_code = main(config, self.halves)
        answer = _Answer(exit_code, start, date_and_time(), platform.node(), time.monotonic() - began)
        run_id = self.runs[int(HydraConfig.get().job.num)]
        write_json_atomically(Path(self.folder) / ANSWERS / f"{run_id}.json", asdict(answer))
        return exit_code


@dataclass(frozen=True)
class _Answer:
    exit_code: int
    start: str
    end: str
    machine: str
    seconds: float


def launch(
    runs: Sequence[PlannedRun], fixed: Sequence[str], configs: Path, folder: Path, halves: tuple[str, ...]
) -> None:
    """Send all runs off and wait for them.

    Args:
        runs: to be made.
        fixed: words every run has, those about the launcher among them.
        configs: the folder of YAML files.
        folder: of the sweep.
        halves: module prefixes of the code that a configuration may name.

    Raises:
        Exception: what the launcher raises; jobs that ended have left their files all the same.
    """
    about_launcher = [word for word in fixed if word.startswith("hydra")]
    task = ClusterTask(str(folder.resolve()), tuple(run.id for run in runs), halves)
    with reading(configs) as loader:
        config = hydra_compose(MAIN_CONFIG, overrides=list(fixed), return_hydra_config=True)
        with open_dict(config):
            config.hydra.mode = RunMode.MULTIRUN
            config.hydra.job.name = folder.name
            config.hydra.sweep.dir = str(folder / ANSWERS)
        context = HydraContext(config_loader=loader, callbacks=Callbacks())
        launcher = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=config)
        words = [[word for word in run.words if word not in about_launcher] for run in runs]
        launcher.launch(words, initial_job_idx=0)


def collect(runs: Sequence[PlannedRun], folder: Path, counts: dict[str, int]) -> list[Attempt]:
    """Records of the jobs that have ended; their files are removed by the caller once they are written down.

    Args:
        runs: that were sent off.
        folder: of the sweep.
        counts: attempts so far, by run.
    """
    attempts = []
    for run in runs:
        path = answer_path(folder, run.id)
        if not path.exists():
            continue
        answer = _Answer(**json.loads(path.read_text()))
        outcome = MEANINGS.get(answer.exit_code, "failed")
        facts = {"signal": None, "worker": 0, "cores": (), "device": None}
        seconds = Seconds(0.0, 0.0, answer.seconds)
        attempt = Attempt.of(
            run, counts.get(run.id, 0) + 1, outcome, answer.start, seconds, exit_code=answer.exit_code, **facts
        )
        attempts.append(replace(attempt, end=answer.end, machine=answer.machine))
    return attempts


def answer_path(folder: Path, run_id: str) -> Path:
    """Where a job leaves what became of it."""
    return folder / ANSWERS / f"{run_id}.json"


def _remedy(name: str, package: str) -> str:
    return (
        f"hydra/launcher={name} needs a package: pip install hydra-{package}-launcher. On one machine "
        "sweep.workers=N needs none."
    )
