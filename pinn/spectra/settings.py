"""The whole configuration of a run that trains an emulator and fits spectra with it: one settings class per group."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, PositiveFloat, field_validator

from pinn.spectra.gates import GateSettings
from training.context import RunSettings
from training.settings import Settings
from training.stages import Stage


class AtmosphereSettings(Settings):
    """The group ``atmosphere``: the formula behind emulator and survey, and the pixels of both."""

    first: PositiveFloat = 4000.0
    """Å, the first observed pixel."""

    last: PositiveFloat = 5000.0
    """Å, the last one."""

    pixels: int = Field(default=1500, ge=100)
    """Observed, at equal steps of ln λ."""

    padding: int = Field(default=18, ge=8)
    """Pixels on each side beyond the observed range, for lines that move in and out."""

    lines: int = Field(default=90, ge=1)
    """Absorption lines."""

    width_pixels: float = Field(default=1.8, ge=1.5)
    """Standard deviation of a weak line; narrower ones are not resolved by the pixels."""

    seed: int = Field(default=0, ge=0)
    """Of the line list."""


class EmulatorSettings(Settings):
    """The group ``emulator``: what the network learns from."""

    templates: int = Field(default=2000, ge=10)
    """Spectra at random labels that it is trained on."""

    held_out: int = Field(default=500, ge=10)
    """Further ones on which its error is stated."""

    components: int = Field(default=48, ge=1)
    """Principal components of the templates in which it is trained; they become part of its last layer."""

    batch: int = Field(default=500, ge=1)
    """Templates in an optimizer step."""


class EmulatorStage(Stage):
    """One stage of the emulator's training; the loss has the single term ``flux``."""

    loss_weights: dict[str, Annotated[float, Field(ge=0)]] = Field(default={"flux": 1.0}, min_length=1)


class FittingSettings(Settings):
    """The group ``fitting``: how spectra are fitted."""

    continuum: int = Field(default=5, ge=1, le=12)
    """Legendre polynomials by whose sum the flux is multiplied; their coefficients are linear terms."""

    velocity: PositiveFloat = 500.0
    """km/s, largest radial velocity allowed in a fit."""

    start_velocity: PositiveFloat = 320.0
    """km/s, up to which starts are tried."""

    start_velocity_step: PositiveFloat = 80.0
    """km/s between them; half a line's width finds the right dip of χ²."""

    start_rotations: tuple[float, ...] = (30.0, 120.0)
    """km/s at which starts are tried."""

    start_labels: tuple[int, ...] = (2, 1, 2)
    """Values of each label at which starts are tried, spread over its range."""

    keep_starts: int = Field(default=1, ge=1)
    """Starts that go down in every fit, the best first."""

    rotation: PositiveFloat = 250.0
    """km/s, largest rotation allowed in a fit."""

    tolerance: PositiveFloat = 1e-3
    """Distance to the minimum, in standard errors, at which a fit has converged."""

    max_iterations: int = Field(default=50, ge=1)
    """Evaluations of a fit, at most."""

    limb_darkening: float = Field(default=0.6, ge=0, le=1)
    """Coefficient of the linear law."""


class SurveySettings(Settings):
    """The group ``survey``: synthetic spectra drawn from the formula, whose labels are known."""

    spectra: int = Field(default=10000, ge=10)

    velocity: PositiveFloat = 300.0
    """km/s; radial velocities are uniform between minus and plus this."""

    rotation: tuple[PositiveFloat, PositiveFloat] = (5.0, 150.0)
    """km/s, from and to."""

    signal_to_noise: tuple[PositiveFloat, ...] = (10.0, 30.0, 100.0)
    """Per pixel at the continuum; each spectrum has one of them."""

    continuum: float = Field(default=0.15, ge=0)
    """Standard deviation of the coefficients of the continuum's polynomials but the first."""

    masked: float = Field(default=0.05, ge=0, lt=1)
    """Share of pixels that are masked, and filled with nonsense."""

    margin: float = Field(default=0.1, ge=0, lt=0.5)
    """Share of a label's range at each end from which no star comes; there fits run into their bounds."""

    seed: int = Field(default=1, ge=0)


class ValidationSettings(Settings):
    """The group ``validation``."""

    gates: GateSettings = GateSettings()
    """The bars."""


class SpectraSettings(RunSettings):
    """What ``python train.py experiment=spectra`` runs."""

    atmosphere: AtmosphereSettings = AtmosphereSettings()
    emulator: EmulatorSettings = EmulatorSettings()
    network: dict[str, Any]
    """``_target_`` (pinn.networks.MLP) and its arguments, without those that follow from the labels."""

    stages: dict[str, EmulatorStage] = Field(min_length=1)
    """Optimization stages by name, in the order in which they are trained."""

    survey: SurveySettings = SurveySettings()
    fitting: FittingSettings = FittingSettings()
    validation: ValidationSettings = ValidationSettings()

    @field_validator("network")
    @classmethod
    def _network_is_dense(cls, spec: dict[str, Any]) -> dict[str, Any]:
        if spec.get("_target_") != "pinn.networks.MLP":
            raise ValueError("_target_ must be pinn.networks.MLP: an emulator's last layer is read as a matrix")
        return spec
