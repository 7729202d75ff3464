"""The configuration of a run that a script asks for, with structures and a calculator that live in its process."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from omegaconf import DictConfig, OmegaConf

from mlff.data.split import geometry_key
from mlff.teachers.teacher import Teacher
from training.composition import compose, configs_folder
from training.errors import ConfigurationError


def configure(
    seeds: Sequence[Atoms], teacher: str | BaseCalculator, overrides: Mapping[str, Any]
) -> tuple[DictConfig, Teacher | None]:
    """The composed configuration, and the teacher if it is a live calculator.

    The structures' digest stands in ``structures.source`` and the calculator's description in ``teacher``, so that the
    run folder is found again by the same call and by no other.

    Raises:
        ConfigurationError: if a key is unknown; names the nearest known one.
    """
    given = {key.replace("__", "."): value for key, value in overrides.items()}
    groups = {path.name for path in configs_folder().iterdir() if path.is_dir()}
    chosen = [f"{key}={value}" for key, value in given.items() if key in groups and isinstance(value, str)]
    live = None if isinstance(teacher, str) else Teacher.from_calculator(teacher)
    if isinstance(teacher, str):
        chosen.append(f"teacher={teacher}")
    config = compose(chosen)
    for key, value in given.items():
        if key not in groups or not isinstance(value, str):
            _set(config, key, value)
    _set(config, "structures.source", _digest(seeds))
    if live is not None:
        described = live.settings.model_dump(mode="json")
        described["citation"] = described["citation"] or f"fingerprint {live.fingerprint()}"
        OmegaConf.update(config, "teacher", described, merge=False, force_add=True)
    return config, live


def _set(config: DictConfig, key: str, value: Any) -> None:
    if OmegaConf.select(config, key, default=config) is config:
        raise ConfigurationError(f"There is no configuration key {key}; `python train.py --cfg job` shows all of them.")
    OmegaConf.update(config, key, value, merge=False)


def _digest(seeds: Sequence[Atoms]) -> str:
    digest = hashlib.sha256(b"".join(geometry_key(atoms) for atoms in seeds)).hexdigest()[:12]
    return f"{seeds[0].get_chemical_formula()} given as Atoms, {digest}"
