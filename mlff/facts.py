"""What the report says of a run beside its measurements, gathered from all rooms."""

from __future__ import annotations

import json
from collections import Counter

from ase import Atoms
from ase.data import chemical_symbols

from mlff.configuration import DistilSettings
from mlff.data.material import Material
from mlff.teachers.teacher import Teacher
from mlff.validate.facts import RunFacts
from training.context import RunContext
from training.environment import FILE as ENVIRONMENT

FILES = {
    "student.safetensors": "the student: weights and metadata, for StudentCalculator",
    "model_card.md": "what it is for, how good it is, where it ends",
    "summary.json": "the final numbers",
    "metrics.jsonl": "every logged value",
    "config.yaml": "what was run",
    "environment.json": "on what, with which versions",
    "figures/": "every figure as SVG and PNG",
    "labels/": "the teacher's labels",
    "last.ckpt": "the training's state, from which the same command continues",
}


def gather_facts(
    material: Material,
    start: Atoms,
    teacher: Teacher | None,
    rejected: Counter[str],
    settings: DistilSettings,
    context: RunContext,
) -> RunFacts:
    """Facts of a run for report, summary and model card."""
    folder = context.folder
    described = teacher.describe() if teacher is not None else {"name": f"the labels of {settings.data.train}"}
    name = " ".join(str(described[key]) for key in ("name", "version") if described.get(key))
    environment = json.loads((folder.path / ENVIRONMENT).read_text())
    phases = ("structures and labels", "reading labels", "training", "validation")
    sources = Counter(record.source for record in material.train + material.validation + material.held_out)
    system = settings.structures.source if settings.data.train is None else settings.data.train
    return RunFacts(
        title=f"{system} from {described['name']}",
        system=system,
        formula=start.get_chemical_formula(),
        elements=tuple(chemical_symbols[z] for z in sorted(material.references.energies)),
        teacher=name,
        licence=described.get("licence", ""),
        citation=described.get("citation", ""),
        structures={
            "training": len(material.train),
            "validation": len(material.validation),
            "held out": len(material.held_out),
        },
        rejected=dict(rejected),
        sources=dict(sources),
        student={"network": "PaiNN", **settings.student.model_dump(mode="json")},
        seeds={"run": settings.seed, "dynamics": settings.validation.seed},
        phases={phase: folder.summary(phase)["seconds"] for phase in phases if folder.done(phase)},
        environment={key: value for key, value in environment.items() if key != "earlier"},
        command=environment["command"],
        files={file: words for file, words in FILES.items() if (folder.path / file.rstrip("/")).exists()},
        notes=material.notes,
    )
