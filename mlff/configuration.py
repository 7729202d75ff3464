"""The whole configuration of a force-field run: one settings class per group, each from the room it configures."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_validator

from mlff.data.settings import DataSettings
from mlff.distill.stage import DistillStage
from mlff.structures.settings import StructureSettings
from mlff.student.settings import StudentSettings
from mlff.teachers.settings import LabellingSettings, TeacherSettings
from mlff.validate.settings import ValidationSettings
from training.context import RunSettings
from training.engines import EngineSettings


class DistilSettings(RunSettings):
    """What ``python train.py`` runs when the half is ``mlff``."""

    teacher: TeacherSettings | None = None
    """None (``teacher=none``): there are labels already and no teacher to ask (``data=labelled``)."""

    structures: StructureSettings = StructureSettings()
    labelling: LabellingSettings = LabellingSettings()
    engine: EngineSettings = EngineSettings()
    data: DataSettings = DataSettings()
    student: StudentSettings = StudentSettings()

    stages: dict[str, DistillStage] = Field(min_length=1)
    """Optimization stages by name, in the order in which they are trained."""

    validation: ValidationSettings = ValidationSettings()

    @field_validator("teacher", mode="before")
    @classmethod
    def _none(cls, teacher: Any) -> Any:
        # an empty file of the group
        return teacher or None

    @model_validator(mode="after")
    def _has_labels(self) -> DistilSettings:
        if self.teacher is None and self.data.train is None:
            raise ValueError(
                "there is neither a teacher nor a file of labels; choose teacher=gfn2 or data=labelled data.train=FILE"
            )
        return self
