"""Labelling: structures in, a label store out, shard by shard, so that a killed run loses a few seconds of work."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Protocol

from mlff.data.records import Record
from mlff.data.shards import fingerprint, write_shard
from mlff.data.store import LabelStore
from mlff.teachers.evaluate import TeacherFailed, evaluate
from mlff.teachers.gates import FAILED, unphysical, unusable
from mlff.teachers.settings import LabellingSettings
from mlff.teachers.teacher import Capabilities, Teacher
from training.engines import Engine
from training.errors import InputError
from training.files import write_json_atomically

SHARD_SECONDS = 10.0
"""Work in a shard of automatic size: what a killed worker may lose."""

LARGEST_SHARD = 64
"""Structures in a shard of automatic size, whatever the speed of the teacher."""

SHARDS_PER_WORKER = 4
"""At least this many, so that the workers finish together."""

ENOUGH_TO_JUDGE = 10
"""Structures before the share of failures is believed."""


class Phase(Protocol):
    def advance(self, n: int = 1, note: str | None = None) -> None:
        """``n`` more units are done."""


class Reporter(Protocol):
    """What labelling and sampling need of `training.progress.Progress`."""

    def say(self, text: str) -> None:
        """One message."""

    def phase(self, name: str, total: int | None = None, unit: str = "steps", done: int = 0) -> AbstractContextManager:
        """A piece of work with an end."""


@dataclass(frozen=True)
class ShardTask:
    """A shard to be labelled, with all a worker needs to know."""

    teacher: Teacher
    records: tuple[Record, ...]
    path: Path
    properties: frozenset[str]
    max_force: float
    min_distance: float


@dataclass(frozen=True)
class ShardReport:
    """What became of a shard: how many calls it took, and how many structures were refused for which reason."""

    path: Path
    calls: int
    reasons: dict[str, int]


def label(
    records: Sequence[Record],
    teacher: Teacher,
    store: LabelStore,
    engine: Engine,
    settings: LabellingSettings,
    progress: Reporter,
    capabilities: Capabilities | None = None,
    name: str = "labels",
) -> None:
    """Fill the store with the records, each labelled by the teacher or rejected with a reason.

    The number of calls and the expected time are said before the first call. Records that come with a reason for
    rejection are kept with it and cost no call. Interrupted at any moment, the same call continues: no structure is
    labelled twice, none is left out, and the labels are those of an uninterrupted run.

    Args:
        records: in the order in which the store will number them.
        teacher: its fingerprint must be the store's.
        store: an open label store; the shards of these records are named after ``name``.
        engine: does the shards.
        settings: size of the shards and gates.
        progress: where the user sees it.
        capabilities: of the teacher for these structures; found by one probe if not given.
        name: of this set of records in the store.

    Raises:
        InputError: if the store holds labels of another teacher, or other records under this name; if the teacher fails
            on the first structure or on too many.
    """
    store.require_fingerprint(teacher.fingerprint())
    if not records:
        raise InputError("There is no structure to label.")
    engine = teacher.engine(engine, progress)
    size = _planned_size(records, store, name)
    if size is None:
        capabilities = capabilities or _probe(records, teacher)
        size = settings.shard_size or _shard_size(len(records), capabilities.seconds_per_call, engine.workers)
        _write_plan(records, store, name, size)
    shards = {f"{name}-{i // size:06d}": tuple(records[i : i + size]) for i in range(0, len(records), size)}
    store.refresh()
    missing = {shard: part for shard, part in shards.items() if shard not in store}
    if missing:
        capabilities = capabilities or _probe(records, teacher)
        tasks = [
            ShardTask(
                teacher, part, store.path_of(shard), capabilities.properties, settings.max_force, settings.min_distance
            )
            for shard, part in missing.items()
        ]
        cost = capabilities.cost(_calls(missing.values()), min(engine.workers, len(tasks)))
        progress.say(f"Labels: {cost}")
        _run(tasks, _calls(shards.values()), teacher, store, engine, settings, progress)
    reasons = _refused(store)
    refused = f"; {reasons.total():,} rejected: {listed(reasons)}" if reasons else ""
    progress.say(f"Labels: {len(store) - reasons.total():,} of {len(store):,} structures labelled{refused}.")


def label_shard(task: ShardTask) -> ShardReport:
    """Label the structures of one shard and write its file; what a worker does.

    The calculator starts fresh where its answers depend on what it did before, so that the labels of a shard do not
    depend on which worker makes them or when.
    """
    calculator = task.teacher.calculator()
    labelled = []
    calls = 0
    for record in task.records:
        reason = record.rejected or unphysical(record.atoms, task.min_distance)
        if reason:
            labelled.append(replace(record, rejected=reason))
            continue
        calls += 1
        try:
            labels = evaluate(calculator, record.atoms, task.properties)
        except TeacherFailed as error:
            labelled.append(replace(record, rejected=f"{FAILED}: {error}"))
            # a calculator that has failed may carry the wreck of that calculation into the next one
            calculator = task.teacher.calculator()
            continue
        labelled.append(replace(record, labels=labels, rejected=unusable(labels, task.max_force)))
    write_shard(task.path, labelled)
    return ShardReport(task.path, calls, Counter(record.rejected for record in labelled if record.rejected))


def _probe(records: Sequence[Record], teacher: Teacher) -> Capabilities:
    usable = [record for record in records if not record.rejected]
    if not usable:
        reasons = Counter(record.rejected for record in records)
        raise InputError(f"All {len(records)} structures are rejected before labelling: {listed(reasons)}.")
    return teacher.check(usable[0].atoms)


def _planned_size(records: Sequence[Record], store: LabelStore, name: str) -> int | None:
    """Structures in a shard as an earlier run has divided these records, so that they are divided in the same way."""
    path = _plan_path(store, name)
    if not path.exists():
        return None
    plan = json.loads(path.read_text())
    if plan["records"] != fingerprint(records):
        raise InputError(
            f"{store.folder} was begun with other structures than these under the name {name!r}. Start afresh "
            "(run.resume=false), or go back to the settings of that run."
        )
    return int(plan["shard_size"])


def _write_plan(records: Sequence[Record], store: LabelStore, name: str, size: int) -> None:
    plan = {"records": fingerprint(records), "structures": len(records), "shard_size": size}
    write_json_atomically(_plan_path(store, name), plan)


def _plan_path(store: LabelStore, name: str) -> Path:
    return store.folder / f"{name}.plan.json"


def _shard_size(count: int, seconds_per_call: float, workers: int) -> int:
    """One structure for a teacher slower than 10 s, so that every label is kept; dozens for a fast one."""
    by_time = SHARD_SECONDS / max(seconds_per_call, 1e-6)
    by_balance = ceil(count / (SHARDS_PER_WORKER * workers))
    return max(1, min(LARGEST_SHARD, int(by_time), by_balance))


def _run(
    tasks: Sequence[ShardTask],
    total: int,
    teacher: Teacher,
    store: LabelStore,
    engine: Engine,
    settings: LabellingSettings,
    progress: Reporter,
) -> None:
    before = total - _calls(task.records for task in tasks)
    reasons = _refused(store)
    with progress.phase("Labels", total=total, unit="teacher calls", done=before) as phase:

        def adopt(position: int, report: ShardReport) -> None:
            store.adopt(report.path)
            reasons.update(report.reasons)
            phase.advance(report.calls, note=f"{reasons.total()} rejected" if reasons else None)
            _require_success(reasons, len(store), settings.max_failures, teacher, store)

        engine.run(label_shard, tasks, adopt)


def _require_success(
    reasons: Counter[str], structures: int, max_failures: float, teacher: Teacher, store: LabelStore
) -> None:
    failures = Counter({reason: count for reason, count in reasons.items() if reason.startswith(FAILED)})
    if structures >= ENOUGH_TO_JUDGE and failures.total() > max_failures * structures:
        raise InputError(
            f"Teacher {teacher.name} failed on {failures.total()} of {structures} structures: {listed(failures)}. "
            f"Check teacher.arguments; then delete {store.folder} and run again. labelling.max_failures allows more."
        )


def _calls(parts: Iterable[Sequence[Record]]) -> int:
    return sum(not record.rejected for part in parts for record in part)


def _refused(store: LabelStore) -> Counter[str]:
    return Counter(reason for reason in store.rejections if reason)


def listed(reasons: Counter[str]) -> str:
    """The commonest reasons in words: ``12 atoms too close, 3 force above 30 eV/Å``."""
    return ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common(5))
