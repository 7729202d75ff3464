"""A run from its composed configuration to an exit code: check, choose hardware, open the folder, call the half."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from training.composition import name_experiment
from training.configuration import plain, validate
from training.context import RunContext, RunSettings
from training.environment import write_environment
from training.errors import ConfigurationError, InputError, Interrupted, LimbeckError
from training.files import write_json_atomically
from training.fitting import fit_stages
from training.hardware import choose_hardware
from training.interruption import Interruption
from training.profiling import Profile
from training.progress import Progress
from training.run_folder import RunFolder
from training.seeding import seed_everything
from training.tracking import build_tracker

__all__ = ["RunContext", "execute", "fit_stages", "main"]

HALVES = ("mlff.", "pinn.")
"""Module prefixes that may run a configuration."""


def main(config: DictConfig, halves: Sequence[str] = HALVES) -> int:
    """Run a configuration as the command does, and say what went wrong in words.

    Args:
        config: composed, not yet validated.
        halves: module prefixes of the code that a configuration may name.

    Returns:
        0 finished; 2 the configuration or an input is not usable; 3 a gate is not met; 75 stopped on request and saved;
        1 anything else, with a traceback where it was unexpected.
    """
    try:
        execute(config, halves)
    except LimbeckError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Stopped at once; the last checkpoint is kept. Run the same command to continue.", file=sys.stderr)
        return Interrupted.exit_code
    except Exception:
        traceback.print_exc()
        return LimbeckError.exit_code
    return 0


def execute(
    config: DictConfig,
    halves: Sequence[str] = HALVES,
    progress: Progress | None = None,
    pipeline: Callable[[Any, RunContext], Any] | None = None,
) -> Any:
    """Run a configuration and return what its half returns; errors are raised.

    Args:
        config: composed, not yet validated.
        halves: module prefixes of the code that a configuration may name.
        progress: where to report; standard output unless given.
        pipeline: called with settings and context instead of the function that ``half.pipeline`` names, by scripts that
            hand over objects no configuration can hold.

    Raises:
        LimbeckError: its subclasses say what the user can do.
    """
    progress = Progress() if progress is None else progress
    if HydraConfig.initialized():
        config = name_experiment(config, HydraConfig.get().runtime.choices)
    values = plain(config)
    half = values.get("half", {})
    schema = _load(half.get("settings"), "half.settings", halves)
    settings = validate(values, schema)
    if not isinstance(settings, RunSettings):
        raise ConfigurationError(f"half.settings: {half['settings']} is not derived from training.context.RunSettings.")
    if pipeline is None:
        pipeline = _load(settings.half.pipeline, "half.pipeline", halves)
    hardware = choose_hardware(settings.hardware)
    # with all defaults filled in, so that a default that changes later is noticed
    complete = settings.model_dump(mode="json")
    run = settings.run
    with RunFolder.open(Path(run.root), run.experiment, run.name, complete, run.resume) as folder:
        progress.say(f"Run folder: {folder.path}{' (continued)' if folder.resumed else ''}")
        progress.say(f"Hardware: {hardware.reason}")
        environment = write_environment(folder.path, hardware, settings.seed)
        _compare_threads(environment, progress)
        seed_everything(settings.seed)
        try:
            with (
                Interruption() as interruption,
                _profiled(settings.profile, folder.path, progress),
                build_tracker(
                    settings.tracker, folder.path, run.experiment, folder.name, complete, progress.say
                ) as tracker,
            ):
                context = RunContext(
                    folder=folder,
                    tracker=tracker,
                    hardware=hardware,
                    progress=progress,
                    interruption=interruption,
                    seed=settings.seed,
                    checkpoint_seconds=settings.checkpoint_seconds,
                    config=complete,
                )
                return pipeline(settings, context)
        except (ConfigurationError, InputError):
            folder.discard_if_empty()
            raise


@contextmanager
def _profiled(wanted: bool, folder: Path, progress: Progress) -> Iterator[None]:
    """Record where the time goes, and say it at the end, however that comes; ``profile.json`` keeps it."""
    if not wanted:
        yield
        return
    profile, refused = Profile(), False
    try:
        with profile:
            yield
    except (ConfigurationError, InputError):
        refused = True
        raise
    finally:
        if not refused:
            progress.say(profile.table())
            write_json_atomically(folder / "profile.json", profile.to_dict())


def _load(path: object, key: str, halves: Sequence[str]) -> Any:
    """The function or class with a dotted path, from the allowed packages only."""
    if not isinstance(path, str) or not path.startswith(tuple(halves)):
        raise ConfigurationError(f"{key}: {path!r} must be a dotted path that starts with {' or '.join(halves)}")
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise InputError(f"{key}: {path} needs the package {error.name}: pip install {error.name}") from error
        raise ConfigurationError(f"{key}: there is no {path} ({error}).") from error
    except AttributeError as error:
        raise ConfigurationError(f"{key}: there is no {path} ({error}).") from error


def _compare_threads(environment: dict[str, Any], progress: Progress) -> None:
    earlier = environment["earlier"]
    if earlier and earlier[-1]["threads"] != environment["threads"]:
        progress.say(
            f"NOTE: {environment['threads']} threads instead of {earlier[-1]['threads']}: sums are rounded in another "
            "order, so the continued run does not equal an uninterrupted one bit for bit."
        )
