"""The whole configuration of a run that solves one equation under many frozen paths."""

from __future__ import annotations

from typing import Any

from pydantic import Field, PositiveFloat, field_validator

from pinn.ensembles.draws import Kind
from pinn.ensembles.training import EnsembleTraining
from training.context import RunSettings
from training.settings import Settings

PROCESSES = ("pinn.ensembles.processes.",)


class DrawSettings(Settings):
    """The group ``draws``: how many paths, and how they are drawn."""

    members: int = Field(default=50, ge=1)
    """Paths, and networks."""

    kind: Kind = "sobol"
    """plain or sobol (scrambled)."""

    steps: int = Field(default=64, ge=1)
    """Straight lines of a path."""


class GateSettings(Settings):
    """Bars to pass; null reports the figure without judging it."""

    relative_l2: PositiveFloat | None = None
    """Error of the worst member against the exact solution under its path."""

    residual_rms: PositiveFloat | None = None
    """Of the worst member."""

    failed_members: float | None = Field(default=None, ge=0)
    """How many may fail."""


class BandSettings(Settings):
    """The group ``band``: what is said of the ensemble."""

    share: float = Field(default=0.9, gt=0, lt=1)
    """Of the members that the band holds."""

    largest_residual: PositiveFloat | None = None
    """A member whose residual is larger at the end has failed; null: only one that is not finite."""

    gates: GateSettings = GateSettings()
    """The bars."""


class ScenarioSettings(RunSettings):
    """What ``python train.py experiment=scenarios`` runs."""

    scenario: dict[str, Any]
    """``_target_`` (a subclass of `pinn.ensembles.driven.DrivenProblem`) and its arguments."""

    paths: dict[str, Any]
    """``_target_`` (a class of `pinn.ensembles.processes`) and its arguments."""

    draws: DrawSettings = DrawSettings()

    network: dict[str, Any]
    """``_target_`` `pinn.networks.MLP` and its arguments, of every member."""

    training: EnsembleTraining = EnsembleTraining()

    band: BandSettings = BandSettings()

    @field_validator("paths")
    @classmethod
    def _names_a_process(cls, spec: dict[str, Any]) -> dict[str, Any]:
        if not str(spec.get("_target_", "")).startswith(PROCESSES):
            raise ValueError("_target_ must name a class of pinn.ensembles.processes such as OrnsteinUhlenbeck")
        return spec

    @field_validator("scenario")
    @classmethod
    def _names_a_problem(cls, spec: dict[str, Any]) -> dict[str, Any]:
        if "." not in str(spec.get("_target_", "")):
            raise ValueError("_target_ must name a driven problem such as pinn.ensembles.driven.Decay")
        return spec
