"""The whole configuration of a run that solves a parametric equation and fits specimens with it."""

from __future__ import annotations

from pydantic import Field, PositiveFloat, field_validator

from pinn.configuration import SolveSettings
from pinn.specimens.gates import GateSettings
from training.settings import Settings


class SpecimensSettings(Settings):
    """The group ``specimens``: synthetic measurements from the problem's exact solution, and their bars."""

    count: int = Field(default=1000, ge=10)
    """Specimens, each with a coefficient and an amplitude of its own."""

    parameters: tuple[str, ...] = Field(default=("D",), min_length=1)
    """Coordinates of the problem that are a specimen's own."""

    field: str = "u"
    """What is measured."""

    sensors: dict[str, tuple[float, ...]] = {"x": (0.15, 0.35, 0.6, 0.8)}  # noqa: RUF012 (frozen)
    """Values of the space coordinates at which sensors sit; all combinations."""

    times: int = Field(default=25, ge=1)
    """Equal steps up to the end at which every sensor is read."""

    noise: PositiveFloat = 0.02
    """Standard error of a reading, over the amplitude's unit."""

    amplitude: tuple[PositiveFloat, PositiveFloat] = (0.5, 2.0)
    """From and to; the amplitude is unknown to the fit, which projects it out."""

    margin: float = Field(default=0.1, ge=0, lt=0.5)
    """Share of a parameter's range at each end from which no specimen comes."""

    seed: int = Field(default=1, ge=0)

    gates: GateSettings = GateSettings()
    """The bars of the fits; those of the solution are in ``validation``."""

    @field_validator("sensors")
    @classmethod
    def _somewhere(cls, sensors: dict[str, tuple[float, ...]]) -> dict[str, tuple[float, ...]]:
        if not sensors or not all(sensors.values()):
            raise ValueError("every space coordinate needs at least one value")
        return sensors


class SpecimenRunSettings(SolveSettings):
    """What ``python train.py experiment=diffusion_specimens`` runs."""

    specimens: SpecimensSettings = SpecimensSettings()
