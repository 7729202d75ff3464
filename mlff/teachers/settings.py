"""Settings of a teacher and of labelling; a new teacher is one YAML file with these keys in ``configs/teacher``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from training.settings import Settings

Property = Literal["energy", "forces", "stress", "energies"]


class TeacherSettings(Settings):
    """An ASE calculator by its dotted path."""

    name: str
    """what tables and reports call it"""
    calculator: str
    """dotted path of an ASE calculator class, or of a function that returns a calculator"""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """keyword arguments of the calculator"""
    properties: list[Property] = Field(default=["energy", "forces"])
    """energy, forces, and where it has them: stress (periodic cells), energies (one per atom, if they sum to energy)"""
    keeps_state: bool = True
    """whether an answer depends a little on the calls before it, as a self-consistent field that starts from the last
    one does; then every shard and segment starts from a fresh calculator, so that a resumed run equals an uninterrupted
    one. false keeps one calculator in each worker: right for neural potentials, which take long to load"""
    licence: str = "unknown"
    """licence of the teacher; it travels with every label and every student"""
    citation: str = ""
    """what to cite"""

    @field_validator("calculator")
    @classmethod
    def _dotted(cls, calculator: str) -> str:
        parts = calculator.split(".")
        if len(parts) < 2 or not all(part.isidentifier() for part in parts):
            raise ValueError(
                "give the dotted path of an ASE calculator, such as mace.calculators.mace_mp or ase.calculators.emt.EMT"
            )
        return calculator

    @field_validator("properties")
    @classmethod
    def _enough(cls, properties: list[Property]) -> list[Property]:
        lacking = {"energy", "forces"} - set(properties)
        if lacking:
            raise ValueError(f"a student learns from energy and forces; add {' and '.join(sorted(lacking))}")
        return list(dict.fromkeys(properties))


class LabellingSettings(Settings):
    """How structures are labelled, and which labels are good enough to train on."""

    shard_size: int | None = Field(default=None, ge=1)
    """structures in one file, all that a killed worker loses; null: about 10 s of work, 64 at most"""
    max_force: float = Field(default=30.0, gt=0)
    """eV/Å; a structure with a larger force on any atom is kept, but not trained on"""
    min_distance: float = Field(default=0.5, gt=0, lt=1)
    """closest allowed pair, as a share of the sum of the covalent radii"""
    max_failures: float = Field(default=0.2, ge=0, le=1)
    """share of calls that may fail, for want of convergence for example, before labelling stops"""
