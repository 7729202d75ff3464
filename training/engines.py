"""Engines: who does a list of independent tasks. Processes on this machine, or this process itself.

The core of a job knows no engine: it is a module-level function of one picklable task that keeps its result in a file,
and a finished file is the checkpoint. Another engine (a cluster's queue, Ray) is one more class with the same ``run``.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, Self, TypeVar, cast

from pydantic import Field, field_validator

from training.errors import ConfigurationError, InputError, Interrupted, LimbeckError
from training.hardware import available_cores
from training.settings import Settings

Task = TypeVar("Task")
Result = TypeVar("Result")

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
"""Read by the numerical libraries when they are loaded, so they are set before a worker starts."""

ATTEMPTS = 2
"""How often a task is tried when its worker is killed."""

CHECK_EVERY = 0.5
"""Seconds between two looks at whether to stop."""

Check = Callable[[], None]


class WorkerLost(LimbeckError):
    """A worker process died on the same task again and again; finished tasks are kept."""


class Engine(Protocol):
    """Does independent tasks, in any order."""

    workers: int

    def run(
        self, function: Callable[[Task], Result], tasks: Sequence[Task], on_done: Callable[[int, Result], Task | None]
    ) -> None:
        """Call ``function`` once with each task.

        Args:
            function: defined at the top of an importable module.
            tasks: picklable.
            on_done: called in this process with the position of a task and its result, as they come. It may return a
                task that continues the work at that position (the next segment of a trajectory), which is then queued.

        Raises:
            WorkerLost: if a worker is killed twice on one task.
            Interrupted: if this process is asked to stop by SIGTERM and nobody else handles that signal.
            Exception: whatever the function raises; the other tasks are given up.
        """


class EngineSettings(Settings):
    """Which engine does independent work such as teacher calls."""

    kind: str = "process_pool"
    """process_pool (worker processes on this machine) or serial (this process)"""
    workers: int | None = Field(default=None, ge=1)
    """worker processes; null takes as many as there are cores for them"""
    threads_per_worker: int = Field(default=1, ge=1)
    """threads the numerical libraries may use in each worker"""

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        if kind not in ENGINES:
            later = "is not available yet" if kind in ("ray", "submitit") else "is no engine"
            raise ValueError(f"{kind!r} {later}; choose {' or '.join(ENGINES)}")
        return kind

    def build(self, check: Check | None = None) -> Engine:
        """The engine these settings describe.

        Args:
            check: called between tasks and while waiting; may raise to stop the work, as ``Interruption.check`` does.
        """
        return ENGINES[self.kind](self, check or _carry_on)


class SerialEngine:
    """Does the tasks one after another in this process.

    Args:
        check: called between tasks; may raise to stop the work.
    """

    workers = 1

    def __init__(self, check: Check | None = None) -> None:
        self._check = check or _carry_on

    def run(
        self, function: Callable[[Task], Result], tasks: Sequence[Task], on_done: Callable[[int, Result], Task | None]
    ) -> None:
        queue = deque(enumerate(tasks))
        with _terminable():
            while queue:
                self._check()
                position, task = queue.popleft()
                following = on_done(position, function(task))
                if following is not None:
                    queue.append((position, following))


class ProcessPool:
    """Does the tasks in fresh Python processes on this machine.

    The workers are started by ``exec``: they share no state with this process, do not import its main script (so that
    scripts without a main guard, notebooks and ``python -c`` work), and end with it even if it is killed.

    Args:
        workers: how many processes.
        threads_per_worker: threads the numerical libraries may use in each.
        check: called every half second; may raise to stop the work.
    """

    def __init__(self, workers: int, threads_per_worker: int = 1, check: Check | None = None) -> None:
        if os.name != "posix":
            raise ConfigurationError("The process pool needs Linux or macOS; choose engine=serial.")
        self.workers = workers
        self.threads_per_worker = threads_per_worker
        self._check = check or _carry_on

    def run(
        self, function: Callable[[Task], Result], tasks: Sequence[Task], on_done: Callable[[int, Result], Task | None]
    ) -> None:
        if function.__module__ == "__main__":
            raise InputError(
                f"{function.__qualname__} is defined in the main script, which worker processes do not load. "
                "Move it into a module, or choose engine=serial."
            )
        queue = deque(_Job(position, task) for position, task in enumerate(tasks))
        with _terminable(), _Crew(min(self.workers, len(queue)), self.threads_per_worker) as crew:
            while queue or crew.busy:
                self._check()
                while queue and crew.idle:
                    crew.give(function, queue.popleft())
                for job, answer in crew.answers():
                    if answer is None:
                        queue.appendleft(job)
                        continue
                    following = on_done(job.position, answer.result())
                    if following is not None:
                        queue.append(_Job(job.position, following))


@dataclass
class _Job:
    position: int
    task: Any
    attempts: int = 0


@dataclass(frozen=True)
class Answer:
    """What a worker sends back: a value, or the exception with its trace as text."""

    value: Any = None
    error: Exception | None = None
    trace: str = ""

    def result(self) -> Any:
        """The value, or the exception raised here with the worker's trace as its cause."""
        if self.error is not None:
            raise self.error from RuntimeError(f"in a worker process:\n{self.trace}")
        return self.value


class _Crew:
    """Worker processes: idle, or busy with a job. Leaving the context ends them all at once."""

    def __init__(self, workers: int, threads: int) -> None:
        self._workers = workers
        self._threads = threads
        self._stack = ExitStack()
        self.idle: list[_Worker] = []
        self.busy: dict[Connection, tuple[_Worker, _Job]] = {}

    def __enter__(self) -> Self:
        try:
            for _ in range(self._workers):
                self._hire()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def give(self, function: Callable[[Any], Any], job: _Job) -> None:
        """Hand a job to an idle worker."""
        worker = self.idle.pop()
        job.attempts += 1
        payload = pickle.dumps((function, job.task))
        self.busy[worker.connection] = (worker, job)
        # a worker that died while idle is found by the read that follows
        try:
            worker.connection.send_bytes(payload)
        except BrokenPipeError:
            return

    def answers(self) -> Iterator[tuple[_Job, Answer | None]]:
        """Jobs done within half a second; without an answer where the worker died and the job can be tried again."""
        for connection in wait(list(self.busy), timeout=CHECK_EVERY):
            worker, job = self.busy.pop(cast(Connection, connection))
            try:
                answer = pickle.loads(worker.connection.recv_bytes())
            except (EOFError, ConnectionResetError):
                status = worker.stop()
                if job.attempts >= ATTEMPTS:
                    raise WorkerLost(_obituary(job, status)) from None
                self._hire()
                yield job, None
                continue
            self.idle.append(worker)
            yield job, answer

    def _hire(self) -> None:
        worker = _Worker(self._threads)
        self._stack.callback(worker.stop)
        self.idle.append(worker)


class _Worker:
    """One process that runs ``training.worker``, and the connection to it."""

    def __init__(self, threads: int) -> None:
        self.connection, theirs = Pipe()
        paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
        environment = {**os.environ, "PYTHONPATH": paths, **dict.fromkeys(THREAD_VARIABLES, str(threads))}
        with theirs:
            # a session of its own: Ctrl-C reaches only the parent, and programs a teacher starts end with the worker
            self._process = subprocess.Popen(
                [sys.executable, "-m", "training.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def stop(self) -> int:
        """End the process and whatever it started; returns how it ended (the signal's number, negative)."""
        self.connection.close()
        # once waited for, the number may belong to another process
        if self._process.returncode is None:
            # the group may be gone already; macOS answers with the second error
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait()


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM raises `Interrupted` meanwhile, unless somebody else takes care of it."""
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted("Asked to stop (SIGTERM). Finished work is kept; the same command continues.")


def _obituary(job: _Job, status: int) -> str:
    if status == -signal.SIGKILL:
        how = "was killed (SIGKILL), which is what the system does when memory runs out"
    else:
        how = f"died of {signal.Signals(-status).name}" if status < 0 else f"ended by itself with exit code {status}"
    return (
        f"A worker process {how}, {job.attempts} times on task {job.position}. Choose fewer workers "
        "(engine.workers=1), or engine=serial to see the trouble in this process. Finished work is kept; the same "
        "command continues."
    )


def _carry_on() -> None:
    """Nobody asks to stop."""


def _pool(settings: EngineSettings, check: Check) -> Engine:
    workers = settings.workers or max(1, available_cores() // settings.threads_per_worker)
    return ProcessPool(workers, settings.threads_per_worker, check)


def _serial(settings: EngineSettings, check: Check) -> Engine:
    return SerialEngine(check)


ENGINES: dict[str, Callable[[EngineSettings, Check], Engine]] = {"process_pool": _pool, "serial": _serial}
"""The engines a configuration can choose, and how each is built."""
