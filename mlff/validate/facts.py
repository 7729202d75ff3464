"""What a report says about a run beside its measurements: who was distilled, from what, with what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class RunFacts:
    """Everything a reader needs to judge and repeat a run. Empty fields leave their lines out of the report.

    Attributes:
        title: what was distilled, as "Aspirin from GFN2-xTB".
        system: name or formula of the structure, as a reader knows it.
        formula: chemical formula.
        elements: symbols.
        teacher: name with version.
        licence: of the teacher and so of its labels.
        citation: of the teacher.
        structures: how many structures each part of the data holds (training, validation, held out).
        rejected: structures turned away, by reason.
        sources: how the structures were made, structures per source.
        student: the student's make (channels, layers, cutoff, parameters), in words or numbers.
        seeds: by what they decide.
        phases: wall time of each phase in seconds.
        environment: machine and versions.
        command: what repeats the run.
        files: what the run folder holds, by file name.
        student_file: the exported student's file name.
        teacher_to_truth_force_mae_meV_per_A: published error of the teacher against its truth, if one is known.
        notes: anything the reader must not miss, a sentence each.
    """

    title: str
    system: str
    formula: str
    elements: tuple[str, ...]
    teacher: str
    licence: str = ""
    citation: str = ""
    structures: Mapping[str, int] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)
    sources: Mapping[str, int] = field(default_factory=dict)
    student: Mapping[str, Any] = field(default_factory=dict)
    seeds: Mapping[str, int] = field(default_factory=dict)
    phases: Mapping[str, float] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    student_file: str = "student.safetensors"
    teacher_to_truth_force_mae_meV_per_A: float | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)
