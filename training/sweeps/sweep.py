"""A sweep from the words behind ``-m`` to an exit code: check everything, run what is left, compare, advise."""

from __future__ import annotations

import importlib
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.errors import InputError, Interrupted
from training.hardware import available_cores
from training.interruption import Interruption
from training.progress import Progress
from training.run_folder import NOT_IDENTITY, RunFolder
from training.sweeps import cluster
from training.sweeps.combinations import combinations
from training.sweeps.costs import Costs, advice
from training.sweeps.in_turn import InTurn
from training.sweeps.metric import choose_metric
from training.sweeps.page import SweepFacts, verdict, write_page
from training.sweeps.plan import PlannedRun, Planner, digest
from training.sweeps.pool import Pool, fixed_source
from training.sweeps.records import FILE_NAME, Attempt, Records
from training.sweeps.suggestions import Suggestions, require_optuna
from training.sweeps.table import CSV, JSON, Table, lines, write_table
from training.sweeps.words import Request, read_request
from training.sweeps.workers import places

FOLDER = "sweeps"
"""Below the root of all runs."""

LOGS = "logs"

FILES = {
    FILE_NAME: "one line for every attempt, never changed",
    CSV: "one line for every run",
    JSON: "the same, with what it cost",
    f"{LOGS}/": "what the runs printed, where several were made at a time",
}


@dataclass(frozen=True)
class Sweep:
    """What is to be done.

    Attributes:
        request: as the user has asked.
        planner: composes and checks.
        runs: all of them; of ``optuna`` a few that show whether the space is usable.
        launcher: of Hydra's, if jobs are sent to a cluster.
        halves: module prefixes of the code that a configuration may name.
        configs: the folder of YAML files.
        loading: seconds this process took to load what runs need, and to check them.
    """

    request: Request
    planner: Planner
    runs: list[PlannedRun]
    launcher: str | None
    halves: tuple[str, ...]
    configs: Path
    loading: float

    @property
    def adaptive(self) -> bool:
        """Whether what is run follows from what came out."""
        return self.request.settings.method == "optuna"

    @property
    def planned(self) -> int:
        """Runs of the sweep."""
        return (self.request.settings.runs or 0) if self.adaptive else len(self.runs)


def run_sweep(
    words: Sequence[str], configs: Path, halves: Sequence[str] | None = None, progress: Progress | None = None
) -> int:
    """Make all runs that the words describe; the same words go on where a sweep was stopped.

    Args:
        words: of the command line, without ``-m``.
        configs: the folder of YAML files.
        halves: module prefixes of the code that a configuration may name; those of the command unless given.
        progress: where to report; standard output unless given.

    Returns:
        The exit code of the worst run.

    Raises:
        LimbeckError: its subclasses say what the user can do; nothing was started after a `ConfigurationError`.
    """
    progress = Progress() if progress is None else progress
    sweep = prepare(words, configs, halves)
    first = sweep.runs[0]
    root = Path(first.config["run"]["root"])
    with RunFolder.open(root, FOLDER, _name(sweep), _description(sweep), resume=True) as folder:
        records = Records(folder.path)
        done = records.complete()
        left = [run for run in sweep.runs if run.id not in done]
        finished = len(done) if sweep.adaptive else len(sweep.runs) - len(left)
        progress.say(f"Sweep folder: {folder.path}{' (continued)' if folder.resumed else ''}")
        progress.say(f"{_runs(sweep.planned)}, {_how(sweep)}{f'; {finished} finished before' if finished else ''}.")
        try:
            costs = None
            if sweep.launcher:
                _run_on_cluster(sweep, left, records, folder.path)
            elif finished < sweep.planned:
                costs = _run_here(sweep, left, records, folder.path, progress)
        except Interrupted:
            _conclude(sweep, records, folder.path, None, progress)
            raise
        return _conclude(sweep, records, folder.path, costs, progress)


def prepare(words: Sequence[str], configs: Path, halves: Sequence[str] | None = None) -> Sweep:
    """Read the words and check every run.

    Raises:
        ConfigurationError: names every complaint at once.
    """
    request = read_request(words, configs)
    settings = request.settings
    launcher = cluster.chosen_launcher(request.fixed)
    if settings.method == "optuna":
        require_optuna()
        if launcher:
            raise InputError("sweep=optuna learns from run to run and needs workers here; leave out hydra/launcher.")
    began = time.monotonic()
    if halves is None:
        from training.run import HALVES  # takes seconds, as it does for a worker: part of what is measured

        halves = HALVES
    threads = None if settings.in_this_process or launcher else settings.threads()
    planner = Planner(configs, request.fixed, halves, threads)
    runs = planner.plan(combinations(settings, request.space))
    for module in _modules(runs):
        importlib.import_module(module)
    return Sweep(request, planner, runs, launcher, tuple(halves), configs, time.monotonic() - began)


def _run_here(sweep: Sweep, left: list[PlannedRun], records: Records, folder: Path, progress: Progress) -> Costs:
    """Make the runs in this process or on others."""
    settings = sweep.request.settings
    suggestions = Suggestions(settings, sweep.request.space, sweep.planner, records) if sweep.adaptive else None
    workers = min(settings.workers, sweep.planned if suggestions else len(left))
    session: list[Attempt] = []

    def on_attempt(attempt: Attempt, repeat: bool) -> None:
        records.add(attempt)
        session.append(attempt)
        if suggestions is not None:
            suggestions.tell(attempt, repeat)
        progress.say(_line(attempt, repeat, len(records.latest()), sweep))

    with Interruption() as interruption:
        executor = _executor(sweep, workers, lambda: interruption.requested is not None, records, folder)
        began = time.monotonic()
        executor.run(suggestions.next_run if suggestions is not None else fixed_source(left), on_attempt)
        wall = time.monotonic() - began
    return Costs.of(session, workers, max(executor.startup_seconds, default=sweep.loading), wall)


def _executor(
    sweep: Sweep, workers: int, stopping: Callable[[], bool], records: Records, folder: Path
) -> InTurn | Pool:
    """What makes the runs."""
    settings = sweep.request.settings
    if settings.in_this_process:
        return InTurn(sweep.halves, stopping, records.count)
    logs = None if settings.workers == 1 else folder / LOGS
    if logs is not None:
        logs.mkdir(exist_ok=True)
    return Pool(
        places=places(workers, settings.threads(), settings.devices),
        modules=_modules(sweep.runs),
        halves=sweep.halves,
        logs=logs,
        timeout=None if settings.timeout_minutes is None else 60 * settings.timeout_minutes,
        retries=settings.retries,
        stopping=stopping,
        count=records.count,
    )


def _run_on_cluster(sweep: Sweep, left: list[PlannedRun], records: Records, folder: Path) -> None:
    """Send what is left to the cluster; jobs that ended while nobody waited are written down first."""
    _write_down(left, records, folder)
    left = [run for run in left if run.id not in records.complete()]
    if not left:
        return
    try:
        cluster.launch(left, sweep.request.fixed, sweep.configs, folder, sweep.halves)
    finally:
        _write_down(left, records, folder)


def _write_down(runs: Sequence[PlannedRun], records: Records, folder: Path) -> None:
    """Make records of the jobs that have ended."""
    counts = {run.id: records.count(run.id) for run in runs}
    for attempt in cluster.collect(runs, folder, counts):
        records.add(attempt)
        cluster.answer_path(folder, attempt.id).unlink()


def _conclude(sweep: Sweep, records: Records, folder: Path, costs: Costs | None, progress: Progress) -> int:
    """Compare what there is; say and write it."""
    latest = records.latest()
    order = list(latest) if sweep.adaptive else [run.id for run in sweep.runs if run.id in latest]
    attempts = tuple(latest[run_id] for run_id in order)
    settings = sweep.request.settings
    complaint: InputError | None = None
    try:
        metric = choose_metric(settings.metric, [attempt for attempt in attempts if attempt.complete])
    except InputError as error:
        metric, complaint = None, error
    keys = tuple(dict.fromkeys(key for attempt in attempts for key in attempt.values))
    table = Table(keys, metric, settings.goal, attempts, sweep.planned)
    sentences = [] if costs is None or not costs.runs else advice(costs, available_cores())
    write_table(folder, table, costs.to_dict() if costs is not None and costs.runs else {})
    page = write_page(folder, table, _facts(sweep, folder), sentences)
    for line in [*lines(table), *sentences, verdict(table), f"Page: {page}"]:
        progress.say(line)
    if complaint is not None:
        raise complaint
    from training.command import worst  # the command's own part imports this module

    codes = [1 if attempt.exit_code is None else attempt.exit_code for attempt in attempts]
    return worst([*codes, *([1] if len(attempts) < sweep.planned and not sweep.adaptive else [])])


def _facts(sweep: Sweep, folder: Path) -> SweepFacts:
    request = sweep.request
    words = [*request.fixed, *(f"{key}: {values}" for key, values in request.settings.space.items())]
    return SweepFacts(
        title=f"Sweep {folder.name}",
        command=shlex.join(["python", "train.py", "-m", f"sweep={request.settings.method}", *words]),
        seeds={"draws": request.settings.seed} if request.settings.runs else {},
        environment={"workers": str(request.settings.workers), "runs in": str(sweep.runs[0].folder.parent)},
        files={name: words for name, words in FILES.items() if (folder / name.rstrip("/")).exists()},
    )


def _description(sweep: Sweep) -> dict[str, Any]:
    """What makes this sweep another than the next; how and where it is made is not part of it."""
    settings = sweep.request.settings
    fixed = [word for word in sweep.request.fixed if not word.lstrip("+~").startswith(NOT_IDENTITY)]
    space = {key: repr(values) for key, values in sweep.request.space.items()}
    rows = [] if sweep.adaptive else [list(run.values.values()) for run in sweep.runs]
    return {"method": settings.method, "fixed": fixed, "space": space, "rows": rows, "draw_seed": settings.seed}


def _name(sweep: Sweep) -> str:
    experiment = sweep.runs[0].config["run"]["experiment"]
    return sweep.request.settings.name or f"{experiment}-{digest(_description(sweep))}"


def _modules(runs: Sequence[PlannedRun]) -> tuple[str, ...]:
    """What workers load before the first run."""
    halves = [run.config["half"] for run in runs]
    paths = {half[key].rpartition(".")[0] for half in halves for key in ("settings", "pipeline")}
    return ("training.run", *sorted(paths))


def _how(sweep: Sweep) -> str:
    settings = sweep.request.settings
    if sweep.launcher:
        return f"sent off by {sweep.launcher}"
    if settings.workers == 1:
        return "one after another"
    return f"{settings.workers} at a time with {settings.threads()} threads each"


def _line(attempt: Attempt, repeat: bool, number: int, sweep: Sweep) -> str:
    """What became of an attempt, on one line."""
    values = " ".join(f"{key}={value}" for key, value in attempt.values.items()) or attempt.id
    outcome = attempt.outcome.replace("_", " ")
    how = f" by {attempt.signal}" if attempt.signal else ""
    again = "; it is repeated" if repeat else ""
    where = f"; see {attempt.log}" if attempt.log and not attempt.complete else ""
    return f"[{number}/{sweep.planned}] {values}: {outcome}{how} after {attempt.run_seconds:.1f} s{again}{where}"


def _runs(count: int) -> str:
    return f"{count} run" + ("" if count == 1 else "s")
