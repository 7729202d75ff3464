"""The whole configuration of a run that solves an equation: one settings class per group."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_validator

from pinn.solve.gates import GateSettings
from pinn.solve.stage import SolveStage
from training.context import RunSettings
from training.settings import Settings

NETWORKS = ("pinn.networks.",)
"""Where networks come from."""


class ValidationSettings(Settings):
    """The group ``validation``."""

    residual_points: int = Field(default=4000, ge=1)
    """Points of the domain on which the residual is measured while training; they are the same throughout."""

    chunk: int = Field(default=10000, ge=1)
    """Points that are evaluated together, at most; it bounds the memory."""

    snapshots: int = Field(default=12, ge=0)
    """How many moments of the collocation points the report shows, at most."""

    gates: GateSettings = GateSettings()
    """The bars."""


class SolveSettings(RunSettings):
    """What ``python train.py`` runs when the half is ``pinn``."""

    problem: dict[str, Any]
    """``_target_`` (a subclass of `pinn.problem.Problem`) and its arguments."""

    network: dict[str, Any]
    """``_target_`` (a class of `pinn.networks`) and its arguments, without those that follow from the problem."""

    stages: dict[str, SolveStage] = Field(min_length=1)
    """Optimization stages by name, in the order in which they are trained."""

    validation: ValidationSettings = ValidationSettings()

    @field_validator("problem")
    @classmethod
    def _names_a_problem(cls, spec: dict[str, Any]) -> dict[str, Any]:
        if "." not in str(spec.get("_target_", "")):
            raise ValueError("_target_ must name a problem by its dotted path such as pinn.problems.burgers.Burgers")
        return spec

    @field_validator("network")
    @classmethod
    def _network_is_allowed(cls, spec: dict[str, Any]) -> dict[str, Any]:
        if not str(spec.get("_target_", "")).startswith(NETWORKS):
            raise ValueError("_target_ must name a class of pinn.networks such as pinn.networks.MLP")
        return spec

    @model_validator(mode="after")
    def _first_stage_has_points(self) -> SolveSettings:
        name, first = next(iter(self.stages.items()))
        if first.sampler is None:
            raise ValueError(
                f"stages.{name}.sampler is null, but there is no stage before it whose points it could use"
            )
        return self
