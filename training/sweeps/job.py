"""What a worker process does: bind itself to its cores once, load what runs need, then make one run after another."""

from __future__ import annotations

import gc
import importlib
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf


@dataclass(frozen=True)
class Start:
    """What a worker is told first.

    Attributes:
        cores: it is bound to; empty: all.
        modules: dotted names of what every run loads.
    """

    cores: tuple[int, ...]
    modules: tuple[str, ...]


@dataclass(frozen=True)
class Job:
    """One run for a worker.

    Attributes:
        config: composed, resolved and checked.
        halves: module prefixes of the code that it may name.
        log: file for everything the run prints; None: where the worker prints.
    """

    config: Mapping[str, Any]
    halves: tuple[str, ...]
    log: str | None


@dataclass(frozen=True)
class Result:
    """What a worker answers.

    Attributes:
        exit_code: of the run.
        received, began, ended: on the clock that all processes of a machine share, in seconds.
    """

    exit_code: int
    received: float
    began: float
    ended: float


def get_ready(start: Start) -> None:
    """Bind this process to its cores and load what all runs need.

    Raises:
        ImportError: if a module is missing.
    """
    # before the numerical libraries are loaded, which count the cores they may use
    if start.cores:
        os.sched_setaffinity(0, start.cores)
    for module in start.modules:
        importlib.import_module(module)
    # what is loaded stays; the collection after every run need not look at it
    gc.freeze()


def make_run(job: Job) -> Result:
    """Make one run as the command does."""
    received = time.monotonic()
    from training.run import main  # loaded when the worker got ready

    if job.log is not None:
        print_into(job.log)
    config = OmegaConf.create(dict(job.config))
    began = time.monotonic()
    exit_code = main(config, job.halves)
    ended = time.monotonic()
    sys.stdout.flush()
    sys.stderr.flush()
    # networks and trainers refer to each other; their memory is not the next run's burden
    gc.collect()
    return Result(exit_code, received, began, ended)


def print_into(path: str) -> None:
    """Everything that this process and its children print goes to the end of a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
