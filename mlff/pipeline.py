"""A force-field run from top to bottom: one call per phase, each of which a killed run takes up where it stopped."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mlff.configuration import DistilSettings
from mlff.data.exchange import read_labelled
from mlff.data.material import Material, prepare
from mlff.data.records import Record
from mlff.data.store import LabelStore
from mlff.deploy.calculator import StudentCalculator
from mlff.deploy.export import FILE_NAME, save_student, weights_fingerprint
from mlff.distill.training import train_student
from mlff.facts import gather_facts
from mlff.structures.sampling import is_held_out, sample
from mlff.structures.sources import load_seeds
from mlff.teachers.evaluate import TeacherFailed, evaluate
from mlff.teachers.labelling import label
from mlff.teachers.teacher import Teacher
from mlff.validate.accuracy import Accuracy
from mlff.validate.examination import (
    draw_data,
    draw_learning,
    examine_accuracy,
    examine_dynamics,
    examine_speed,
)
from mlff.validate.gates import judge, sentence
from mlff.validate.model_card import write_model_card
from mlff.validate.report import write_report
from mlff.validate.results import Results
from mlff.validate.summary import write_summary
from training import profiling
from training.context import RunContext
from training.errors import GateFailed, InputError
from training.loggers.metrics_file import FILE_NAME as METRICS
from training.loggers.metrics_file import read_metrics
from training.report.page import FILE_NAME as REPORT
from training.report.style import SavedFigure
from training.report.summary import FILE_NAME as SUMMARY

FINISHED = "report"
"""The last phase."""

SAME_METHOD = 0.02
"""eV/Å; forces of one method on different machines and with different settings of convergence differ by less."""

UNITS = {"length": "Å", "energy": "eV", "forces": "eV/Å", "stress": "eV/Å³ (ASE's sign)"}


@dataclass(frozen=True)
class Labelled:
    """Structures with labels, and who gave them.

    Attributes:
        records: labelled and accepted; the held-out ones among them.
        test: labelled structures from a file of their own.
        held_out: trajectories that only the final judgement sees.
        rejected: how many structures were refused, by reason.
        teacher: None where the labels came from a file.
        start: a structure near a minimum, for molecular dynamics.
    """

    records: list[Record]
    test: list[Record]
    held_out: set[str]
    rejected: Counter[str]
    teacher: Teacher | None
    start: Atoms


@dataclass
class Examined:
    """What is known of the student so far."""

    results: Results
    figures: list[SavedFigure] = field(default_factory=list)


def run(
    settings: DistilSettings,
    context: RunContext,
    seeds: Sequence[Atoms] | None = None,
    teacher: Teacher | None = None,
) -> dict[str, Any]:
    """Distil a student, prove it, and leave a report.

    Args:
        settings: the whole configuration.
        context: run folder, tracker, hardware, progress.
        seeds: structures to start from, instead of ``structures.source``.
        teacher: an ASE calculator of the caller's, instead of ``teacher``.

    Returns:
        The final numbers, as in ``summary.json``.

    Raises:
        GateFailed: if a bar is not met; everything is written all the same.
        LimbeckError: its subclasses say what the user can do.
    """
    if context.folder.done(FINISHED):
        return _finished_before(context)
    if settings.data.train is None:
        with _phase(context, "structures and labels"):
            labelled = _label(settings, context, seeds, teacher or _teacher(settings))
    else:
        with _phase(context, "reading labels"):
            labelled = _read(settings, context)
    material = prepare(labelled.records, settings.data, settings.seed, labelled.held_out, labelled.test)
    _describe(material, context)
    with _phase(context, "training"):
        model = train_student(material, settings.student, settings.data, settings.stages, context)
    path = context.folder.path / FILE_NAME
    exported = _exporter(path, model, material, labelled, settings)
    exported({})
    calculator = StudentCalculator(path, device=str(context.hardware.device))
    with _phase(context, "validation"):
        examined = _examine(calculator, material, labelled, settings, context)
    assert examined.results.accuracy is not None
    exported(_accuracy_of(examined.results.accuracy))
    return _conclude(examined, material, labelled, settings, context)


def _finished_before(context: RunContext) -> dict[str, Any]:
    """The results of a run that needs nothing more, with its verdict."""
    folder = context.folder.path
    summary = json.loads((folder / SUMMARY).read_text())
    context.progress.say(f"This run is finished: {folder / REPORT}. run.resume=false makes another beside it.")
    _announce(summary["passed"], summary["verdict"], context)
    return summary


def _teacher(settings: DistilSettings) -> Teacher:
    assert settings.teacher is not None
    return Teacher(settings.teacher)


def _label(settings: DistilSettings, context: RunContext, seeds: Sequence[Atoms] | None, teacher: Teacher) -> Labelled:
    """Structures and the teacher's labels of them."""
    folder, progress = context.folder.path, context.progress
    structures = settings.structures
    if seeds is None:
        seeds = load_seeds(structures.source, structures.supercell)
    capabilities = teacher.check(seeds[0], {"energy", "forces"} | ({"stress"} if _wants_stress(settings) else set()))
    for note in capabilities.notes:
        progress.say(f"NOTE: {note}.")
    engine = settings.engine.build(context.interruption.check)
    sampled = sample(seeds, teacher, structures, engine, folder / "structures", progress, settings.seed, capabilities)
    metadata = {"fingerprint": teacher.fingerprint(), "teacher": teacher.describe(), "units": UNITS}
    store = LabelStore.open_or_create(folder / "labels", metadata)
    label(sampled, teacher, store, engine, settings.labelling, progress, capabilities)
    everything = store.fetch(range(len(store)))
    records = [record for record in everything if not record.rejected and record.labels is not None]
    return Labelled(
        records=records,
        test=[],
        held_out={record.trajectory for record in records if is_held_out(record.trajectory)},
        rejected=Counter(record.rejected for record in everything if record.rejected),
        teacher=teacher,
        start=_nearest_to_a_minimum(records),
    )


def _wants_stress(settings: DistilSettings) -> bool:
    return any(stage.loss_weights.get("stress", 0.0) > 0 for stage in settings.stages.values())


def _read(settings: DistilSettings, context: RunContext) -> Labelled:
    """The user's own labels."""
    data, say = settings.data, context.progress.say
    assert data.train is not None
    keys = data.energy_key, data.forces_key, data.stress_key
    records = read_labelled(data.train, *keys, say=say)
    test = read_labelled(data.test, *keys, say=say) if data.test is not None else []
    teacher = None if settings.teacher is None else Teacher(settings.teacher)
    if teacher is not None:
        _require_teachers_labels(records[0], teacher, data.train)
    return Labelled(records, test, set(), Counter(), teacher, _nearest_to_a_minimum(records))


def _require_teachers_labels(record: Record, teacher: Teacher, file: str) -> None:
    """Labels of one method must not carry the name and licence of another, nor be compared with its dynamics."""
    assert record.labels is not None
    remedy = "Add teacher=none (experiment=labelled has it), or choose the teacher that made these labels."
    try:
        answer = evaluate(teacher.calculator(), record.atoms, {"energy", "forces"})
    except TeacherFailed as error:
        raise InputError(
            f"Teacher {teacher.name} has no answer for the first frame of {file}: {error}. {remedy}"
        ) from error
    difference = float(np.abs(answer.forces - record.labels.forces).mean())
    if difference > SAME_METHOD:
        raise InputError(
            f"{file} does not hold labels of the teacher {teacher.name}: on the first frame its forces differ by "
            f"{1000 * difference:.0f} meV/Å. {remedy}"
        )


def _nearest_to_a_minimum(records: Sequence[Record]) -> Atoms:
    """The structure of lowest energy per atom among those of the first composition."""
    formula = records[0].atoms.get_chemical_formula()
    alike = [r for r in records if r.labels is not None and r.atoms.get_chemical_formula() == formula]
    return min(alike, key=lambda r: r.labels.energy if r.labels is not None else 0.0).atoms


def _describe(material: Material, context: RunContext) -> None:
    forces = material.statistics.forces
    context.progress.say(
        f"Data: {len(material.train):,} training, {len(material.validation):,} validation, "
        f"{len(material.held_out):,} held-out structures; forces {1000 * forces.mean_abs:.0f} meV/Å on average, "
        f"{forces.largest:.1f} eV/Å at most."
    )
    for note in material.notes:
        context.progress.say(f"  {note}")


def _exporter(
    path: Path, model: Any, material: Material, labelled: Labelled, settings: DistilSettings
) -> Callable[[dict[str, Any]], None]:
    """A function that writes the student with what is known of its accuracy."""
    teacher = (
        labelled.teacher.describe() if labelled.teacher is not None else {"name": f"labels of {settings.data.train}"}
    )
    metadata = {
        "teacher": teacher,
        "licence": teacher.get("licence", "that of the labels"),
        "data_fingerprint": material.fingerprint,
        "training_structures": len(material.train),
        "seed": settings.seed,
    }
    return lambda accuracy: save_student(path, model, {**metadata, "accuracy": accuracy})


def _examine(
    calculator: StudentCalculator,
    material: Material,
    labelled: Labelled,
    settings: DistilSettings,
    context: RunContext,
) -> Examined:
    """Accuracy, dynamics and speed of the exported student."""
    validation, folder, progress = settings.validation, context.folder.path, context.progress
    figures = folder / "figures"
    accuracy, drawn = examine_accuracy(calculator, material, validation, progress, figures)
    examined = Examined(Results(accuracy=accuracy), drawn)
    progress.say(
        f"Held out: forces {accuracy.force_mae_meV_per_A:.1f} meV/Å, energy "
        f"{accuracy.energy_mae_meV_per_atom:.2f} meV/atom (mean absolute errors; a student that always says zero: "
        f"{accuracy.force_mae_of_zero_meV_per_A:.0f} meV/Å)."
    )
    context.interruption.check()
    teacher = labelled.teacher.build() if labelled.teacher is not None else None
    timing = None
    if validation.timing is not None and teacher is not None and labelled.teacher is not None:
        held_out = [record.atoms for record in material.held_out]
        timing = examine_speed(calculator, teacher, labelled.teacher.name, held_out, validation, progress)
    dynamics = None
    if validation.molecular_dynamics is not None:
        dynamics, drawn = examine_dynamics(
            calculator,
            labelled.start,
            material.held_out,
            teacher,
            validation.molecular_dynamics,
            progress,
            figures,
            state=folder / "md" / "nve.safetensors",
            seed=validation.seed,
            student=weights_fingerprint(calculator.model),
            held_out_mae=accuracy.force_mae_meV_per_A,
            check=context.interruption.check,
        )
        examined.figures += drawn
    examined.results = Results(
        accuracy=accuracy,
        stability=None if dynamics is None else dynamics.stability,
        along_trajectory=None if dynamics is None else dynamics.along_trajectory,
        distances=None if dynamics is None else dynamics.distances,
        timing=timing,
    )
    return examined


def _accuracy_of(accuracy: Accuracy) -> dict[str, Any]:
    return {name: value for name, value in accuracy.to_dict().items() if value is not None}


def _conclude(
    examined: Examined, material: Material, labelled: Labelled, settings: DistilSettings, context: RunContext
) -> dict[str, Any]:
    """Judge, write summary, model card and report, and say the verdict."""
    folder, results = context.folder.path, examined.results
    rows = read_metrics(folder / METRICS)
    figures = [
        *examined.figures,
        *draw_learning(rows, list(settings.stages), folder / "figures"),
        *draw_data(material, labelled.rejected, folder / "figures"),
    ]
    gates = judge(results.figures(), settings.validation.gates)
    facts = gather_facts(material, labelled.start, labelled.teacher, labelled.rejected, settings, context)
    verdict = sentence(gates, results.stability.failure if results.stability else "")
    summary = write_summary(folder, results, gates, {"facts": facts.to_dict()})
    write_model_card(folder / "model_card.md", results, facts, verdict)
    report = write_report(folder, results, gates, figures, facts)
    for saved in figures:
        context.tracker.figure(saved.name, saved.png)
    context.tracker.summary({name: value for name, value in results.figures().items() if value is not None})
    context.folder.mark_done(FINISHED, {"verdict": verdict})
    context.progress.say(f"Report: {report}")
    _announce(summary["passed"], verdict, context)
    return summary


def _announce(passed: bool, verdict: str, context: RunContext) -> None:
    if not passed:
        raise GateFailed(f"{verdict}\nAll files are kept in {context.folder.path}.")
    context.progress.say(verdict)


@contextmanager
def _phase(context: RunContext, name: str) -> Iterator[None]:
    """Note how long a phase took, for the report; time spent in earlier processes is added."""
    before = context.folder.summary(name)["seconds"] if context.folder.done(name) else 0.0
    start = time.monotonic()
    with profiling.phase(name):
        yield
    # a phase that was complete already is not run again but read; that is no work of the phase
    seconds = before or time.monotonic() - start
    context.folder.mark_done(name, {"seconds": seconds})
    context.interruption.check()
