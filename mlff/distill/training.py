"""From labelled structures to a trained student: data module, network, stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mlff.data.dataset import InMemoryStructures
from mlff.data.material import Material
from mlff.data.module import StructureDataModule
from mlff.data.records import Record
from mlff.data.settings import DataSettings
from mlff.distill.module import Distillation
from mlff.distill.stage import DistillStage
from mlff.student.painn import PaiNN
from mlff.student.settings import StudentSettings
from training.context import RunContext
from training.errors import ConfigurationError
from training.fitting import fit_stages


def train_student(
    material: Material,
    student: StudentSettings,
    data: DataSettings,
    stages: Mapping[str, DistillStage],
    context: RunContext,
) -> PaiNN:
    """Train through all stages, or continue where an earlier process stopped.

    Args:
        material: labelled structures by role, with statistics.
        student: architecture.
        data: limits of the batches.
        stages: in the order in which they are trained.
        context: the run.

    Returns:
        The network to judge and export: the average of the weights where the last stage keeps one.

    Raises:
        ConfigurationError: if a stage weights labels that the data do not have.
        Interrupted: after a signal; the state is saved.
    """
    has_energies, has_stress = (_all_have(material.train + material.validation, name) for name in ("energies", "stress"))
    _require_labels(stages, {"energies": has_energies, "stress": has_stress})
    model = untrained_student(material, student)
    context.progress.say(
        f"Student: PaiNN, {student.channels} channels, {student.layers} layers, cutoff {student.cutoff:g} Å, "
        f"{sum(p.numel() for p in model.parameters()):,} parameters."
    )
    module = Distillation(model, has_energies, has_stress)
    batches = StructureDataModule(
        InMemoryStructures(material.train, student.cutoff),
        InMemoryStructures(material.validation, student.cutoff),
        max_edges=data.max_edges,
        max_structures=data.batch_size,
        seed=context.seed,
        workers=data.workers,
    )
    fit_stages(module, batches, stages, context)
    return module.judged_model


def untrained_student(material: Material, student: StudentSettings) -> PaiNN:
    """A network of random weights whose zero and scale of energy are those of the training data."""
    model = PaiNN(sorted(material.references.energies), **student.model_dump())
    model.set_reference(material.references.energies, material.statistics.forces.rms)
    return model


def _all_have(records: Sequence[Record], name: str) -> bool:
    values = (getattr(record.labels, name) for record in records)
    return all(value is not None and bool(np.isfinite(value).all()) for value in values)


def _require_labels(stages: Mapping[str, DistillStage], available: Mapping[str, bool]) -> None:
    lacking = [
        f"stages.{stage}.loss_weights.{term}"
        for stage, settings in stages.items()
        for term, present in available.items()
        if settings.loss_weights.get(term, 0.0) > 0 and not present
    ]
    if lacking:
        raise ConfigurationError(
            f"{', '.join(lacking)}: not every structure has such a label. Set the weight to 0, or label with a teacher "
            "that has it."
        )
