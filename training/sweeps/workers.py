"""A worker process of a sweep: bound to its cores, threads and GPU, replaced when it dies or is killed."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

from training.engines import THREAD_VARIABLES, Answer
from training.sweeps.job import Start, get_ready


@dataclass(frozen=True)
class Place:
    """What belongs to one worker.

    Attributes:
        number: counted from 0.
        threads: of its numerical libraries; None: as in this process.
        cores: it is bound to; empty where the system cannot do that.
        device: number of its GPU; None: all.
    """

    number: int
    threads: int | None = None
    cores: tuple[int, ...] = ()
    device: int | None = None

    def environment(self) -> dict[str, str]:
        """Variables of a process that works here, read by libraries when they are loaded."""
        variables = {} if self.threads is None else dict.fromkeys(THREAD_VARIABLES, str(self.threads))
        if self.device is not None:
            variables["CUDA_VISIBLE_DEVICES"] = str(self.device)
        return variables


def places(workers: int, threads: int | None, devices: Sequence[int]) -> list[Place]:
    """A place for every worker: cores in blocks, GPUs in turn.

    Args:
        workers: how many.
        threads: of each, and cores it is bound to; None: all, for a worker that is alone.
        devices: numbers of the GPUs; empty: every worker sees all.
    """
    cores = sorted(os.sched_getaffinity(0)) if threads is not None and hasattr(os, "sched_getaffinity") else []
    block = threads or 0
    return [
        Place(
            number,
            threads,
            tuple(cores[number * block : (number + 1) * block]),
            devices[number % len(devices)] if devices else None,
        )
        for number in range(workers)
    ]


class Worker:
    """One process that runs ``training.worker``, and the connection to it.

    Args:
        place: what belongs to it.
        modules: dotted names of what every run loads.
        log: file for what it prints before its first run; None: where this process prints.
    """

    def __init__(self, place: Place, modules: Sequence[str], log: Path | None = None) -> None:
        self.place = place
        self.started = time.monotonic()
        self.ready: float | None = None
        self.connection, theirs = Pipe()
        paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
        output = None if log is None else log.open("ab")
        with theirs:
            # a session of its own: Ctrl-C reaches only the parent, and what a run starts ends with the worker
            self._process = subprocess.Popen(
                [sys.executable, "-m", "training.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": paths, **place.environment()},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        if output is not None:
            output.close()
        self.give(get_ready, Start(place.cores, tuple(modules)))

    @property
    def pid(self) -> int:
        """Of the process, which leads a group of its own."""
        return self._process.pid

    def give(self, function: Callable[[Any], Any], task: Any) -> None:
        """Hand over a task; a worker that has died is found by `answer`."""
        with suppress(BrokenPipeError):
            self.connection.send_bytes(pickle.dumps((function, task)))

    def answer(self) -> Answer | None:
        """What came back; None if the process is gone."""
        try:
            answer = pickle.loads(self.connection.recv_bytes())
        except (EOFError, ConnectionResetError):
            return None
        assert isinstance(answer, Answer)
        return answer

    def ask_to_stop(self) -> None:
        """Let the run save itself and end."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)

    def stop(self) -> int:
        """End the process and everything it has started; returns how it ended (the signal's number, negative)."""
        self.connection.close()
        # once waited for, the number may belong to another process
        if self._process.returncode is None:
            # the group may be gone already; macOS answers with the second error
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        return self._process.wait()
