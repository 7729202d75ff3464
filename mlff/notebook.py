"""A run from a script or a notebook, with structures and a calculator that live in its process."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from omegaconf import DictConfig, OmegaConf

from mlff.configuration import DistilSettings
from mlff.data.split import geometry_key
from mlff.deploy.calculator import StudentCalculator
from mlff.pipeline import run
from mlff.structures.sources import as_seed, repeated
from mlff.teachers.teacher import Teacher
from training.context import RunContext
from training.errors import ConfigurationError, InputError
from training.overrides import composed, set_value
from training.run import execute


@dataclass(frozen=True)
class Distilled:
    """What `distil` returns.

    Attributes:
        calculator: the student as an ASE calculator.
        folder: of the run, with report.html.
        summary: the final numbers, as in summary.json.
    """

    calculator: StudentCalculator
    folder: Path
    summary: dict[str, Any]


def distil(atoms: Atoms | Sequence[Atoms], teacher: str | BaseCalculator = "gfn2", **overrides: Any) -> Distilled:
    """Distil a student for a structure, as ``python train.py`` does, from a script or a notebook.

    Args:
        atoms: one structure or several to start from; not changed.
        teacher: a file of the config group ``teacher`` ("gfn2", "emt", …), or any ASE calculator, which is then asked
            in this process.
        **overrides: configuration, dots written as two underscores or given in a dictionary:
            ``structures__steps=200`` or ``**{"structures.steps": 200}``; a group by its name: ``validation="quick"``.

    Raises:
        GateFailed: if a bar is not met; the run folder is kept and holds the student.
        LimbeckError: its subclasses say what the user can do.

    Example:
        >>> from ase.build import molecule
        >>> from mlff import distil
        >>> student = distil(molecule("CH3OH"), teacher="gfn2", experiment="quick")  # doctest: +SKIP
    """
    seeds = [atoms] if isinstance(atoms, Atoms) else list(atoms)
    if not seeds or not all(isinstance(seed, Atoms) and len(seed) for seed in seeds):
        raise InputError("distil takes one ASE Atoms object or several, none of them empty.")
    config, live = configure(seeds, teacher, overrides)
    folder: list[Path] = []

    def keep(settings: DistilSettings, context: RunContext) -> dict[str, Any]:
        folder.append(context.folder.path)
        structures = settings.structures
        starts = [repeated(as_seed(a, structures.source), structures.supercell) for a in seeds]
        return run(settings, context, starts, live)

    summary = execute(config, pipeline=keep)
    return Distilled(StudentCalculator(folder[0]), folder[0], summary)


def configure(
    seeds: Sequence[Atoms], teacher: str | BaseCalculator, overrides: Mapping[str, Any]
) -> tuple[DictConfig, Teacher | None]:
    """The composed configuration, and the teacher if it is a live calculator.

    The structures' digest stands in ``structures.source`` and the calculator's description in ``teacher``, so that the
    run folder is found again by the same call and by no other.

    Raises:
        ConfigurationError: if a key is unknown; names the nearest known one. If a key asks for labels from a file.
    """
    given = {key.replace("__", "."): value for key, value in overrides.items()}
    if given.get("data") == "labelled" or "data.train" in given:
        raise ConfigurationError(
            "distil starts from structures and a teacher; for labels you have, run "
            "`python train.py experiment=labelled data.train=FILE data.test=FILE`."
        )
    live = None if isinstance(teacher, str) else Teacher.from_calculator(teacher)
    config = composed(overrides, [f"teacher={teacher}"] if isinstance(teacher, str) else [])
    set_value(config, "structures.source", _digest(seeds))
    if not {"experiment", "run.experiment"} & given.keys():
        # not the name of the default experiment, whose molecule this is not
        set_value(config, "run.experiment", seeds[0].get_chemical_formula())
    if live is not None:
        described = live.settings.model_dump(mode="json")
        described["citation"] = described["citation"] or f"fingerprint {live.fingerprint()}"
        OmegaConf.update(config, "teacher", described, merge=False, force_add=True)
    return config, live


def _digest(seeds: Sequence[Atoms]) -> str:
    digest = hashlib.sha256(b"".join(geometry_key(atoms) for atoms in seeds)).hexdigest()[:12]
    return f"{seeds[0].get_chemical_formula()} given as Atoms, {digest}"
