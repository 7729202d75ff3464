"""From labelled structures to a trained student: data module, network, stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mlff.data.dataset import InMemoryStructures
from mlff.data.material import Material
from mlff.data.module import StructureDataModule
from mlff.data.records import Record
from mlff.data.settings import DataSettings
from mlff.data.shards import fingerprint
from mlff.data.store import LabelStore
from mlff.data.stored_dataset import StoredStructures
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
        ConfigurationError: if a stage weights stress and the data have none.
        Interrupted: after a signal; the state is saved.
    """
    has_energies, has_stress = (
        _all_have(material.train + material.validation, name) for name in ("energies", "stress")
    )
    stages = _learnable(stages, has_energies, has_stress, context.progress.say)
    model = untrained_student(material, student)
    context.progress.say(
        f"Student: PaiNN, {student.channels} channels, {student.layers} layers, cutoff {student.cutoff:g} Å, "
        f"{sum(p.numel() for p in model.parameters()):,} parameters."
    )
    module = Distillation(model, has_energies, has_stress)
    batches = StructureDataModule(
        _structures(material.train, "training", student.cutoff, data.in_memory, context),
        _structures(material.validation, "validation", student.cutoff, data.in_memory, context),
        max_edges=data.max_edges,
        max_structures=data.batch_size,
        seed=context.seed,
        workers=data.workers,
    )
    fit_stages(module, batches, stages, context)
    judged = module.judged_model
    assert isinstance(judged, PaiNN)
    return judged


def untrained_student(material: Material, student: StudentSettings) -> PaiNN:
    """A network of random weights whose zero and scale of energy are those of the training data."""
    model = PaiNN(sorted(material.references.energies), **student.model_dump(exclude={"output_scale"}))
    model.set_reference(material.references.energies, material.statistics.forces.rms * student.output_scale)
    return model


def _structures(
    records: Sequence[Record], role: str, cutoff: float, in_memory: bool, context: RunContext
) -> InMemoryStructures | StoredStructures:
    """A data set with its neighbour lists in memory, or one that makes them for every batch."""
    if in_memory:
        return InMemoryStructures(records, cutoff)
    folder = context.folder.path / "batches" / role
    store = LabelStore.open_or_create(folder, {"fingerprint": fingerprint(records), "name": f"{role} structures"})
    store.add(role, records)
    return StoredStructures(store, np.arange(len(records)), cutoff)


def _all_have(records: Sequence[Record], name: str) -> bool:
    values = (getattr(record.labels, name) for record in records)
    return all(value is not None and bool(np.isfinite(value).all()) for value in values)


def _learnable(
    stages: Mapping[str, DistillStage], has_energies: bool, has_stress: bool, say: Callable[[str], None]
) -> dict[str, DistillStage]:
    """The stages without a weight on energies per atom where the labels have none.

    These energies help where a teacher has them, and few have: they are weighted by default and let go with a word.
    Stress is weighted by those who need it, so its absence is an error.
    """
    weighted = {
        term: [f"stages.{name}.loss_weights.{term}" for name, s in stages.items() if s.loss_weights.get(term, 0.0) > 0]
        for term in ("energies", "stress")
    }
    if weighted["stress"] and not has_stress:
        raise ConfigurationError(
            f"{', '.join(weighted['stress'])}: not every structure has a stress. Set the weight to 0, or take labels "
            "that have it."
        )
    if not weighted["energies"] or has_energies:
        return dict(stages)
    say(f"NOTE: not every structure has energies per atom, so {', '.join(weighted['energies'])} have nothing to weigh.")
    return {
        name: stage.model_copy(update={"loss_weights": {**stage.loss_weights, "energies": 0.0}})
        for name, stage in stages.items()
    }
