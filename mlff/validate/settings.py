"""What a finished student is put through, and the bars it has to pass."""

from __future__ import annotations

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from training.settings import Settings


class MolecularDynamicsSettings(Settings):
    """The student's own molecular dynamics at constant energy."""

    temperature_K: PositiveFloat = 300.0
    """Aimed mean temperature; the one really reached is reported."""

    timestep_fs: PositiveFloat = 0.5
    """0.5 fs resolves the C–H and O–H stretches; 1–2 fs do for systems without hydrogen."""

    duration_ps: PositiveFloat = 5.0
    """Length of the judged trajectory."""

    thermalisation_ps: float = Field(default=0.5, ge=0)
    """Dynamics before the judged part, in which kinetic energy spreads into the bonds; not in any figure."""

    log_every: PositiveInt = 5
    """Energies are noted every so many steps."""

    frames: PositiveInt = 250
    """Structures kept along the trajectory, for the distribution of distances."""

    save_every: PositiveInt = 500
    """A killed run continues from the last multiple of so many steps."""

    relaxation_fmax_eV_per_A: PositiveFloat = 0.01
    """The student relaxes the start until no force is larger."""

    relaxation_steps: PositiveInt = 500
    """Steps the relaxation may take; an unfinished one is reported and the dynamics start from where it stopped."""

    teacher_frames: int = Field(default=50, ge=0)
    """Structures of the trajectory that the teacher labels, to see its force error where the student went."""

    bond_limit_A: PositiveFloat = 0.5
    """A bond this far from its usual length is broken: the dynamics end there and count as failed."""

    explosion_factor: float = Field(default=5.0, gt=2)
    """The run counts as failed when the temperature exceeds so many times the aim."""

    @model_validator(mode="after")
    def _has_something_to_fit(self) -> MolecularDynamicsSettings:
        if self.steps < 20 * self.log_every:
            raise ValueError(
                f"{self.steps} steps noted every {self.log_every} leave fewer than 20 energies for the drift; "
                "choose a longer duration_ps or a smaller log_every."
            )
        return self

    @property
    def steps(self) -> int:
        """Steps of the judged trajectory."""
        return round(1000 * self.duration_ps / self.timestep_fs)

    @property
    def thermalisation_steps(self) -> int:
        return round(1000 * self.thermalisation_ps / self.timestep_fs)


class TimingSettings(Settings):
    """Student and teacher on the same machine, call by call in turn."""

    calls: PositiveInt = 30
    """Timed calls of each."""

    warm_up: int = Field(default=5, ge=0)
    """Calls of each before the clock starts."""

    step_A: PositiveFloat = 0.01
    """Every atom moves about so far before every call, as in dynamics; ASE would otherwise answer from memory."""

    calls_per_frame: PositiveInt = 20
    """A different structure after so many calls, so that neighbour lists are rebuilt about as often as in dynamics."""

    batch: PositiveInt = 64
    """Structures in one batched call of the student, for its throughput."""

    max_seconds: PositiveFloat = 60.0
    """A slow teacher ends the comparison early, after at least three calls of each."""


class GateSettings(Settings):
    """Bars to pass; null reports the figure without judging it. A bar whose figure was not measured fails."""

    force_mae_meV_per_A: PositiveFloat | None = 25.0
    """Mean absolute error of the force components on held-out structures."""

    energy_mae_meV_per_atom: PositiveFloat | None = 1.0
    """Mean absolute error of the energy on held-out structures."""

    stress_mae_meV_per_A3: PositiveFloat | None = None
    """Mean absolute error of the stress components on held-out structures."""

    nve_drift_meV_per_atom_per_ps: PositiveFloat | None = 0.02
    """Size of the slope of the total energy at constant energy."""

    nve_drift_over_kinetic_spread: PositiveFloat | None = 1.0
    """Total drift over the run against the natural spread of the kinetic energy."""

    bond_deviation_A: PositiveFloat | None = 0.5
    """Largest departure of any bond from its usual length."""

    trajectory_force_mae_meV_per_A: PositiveFloat | None = None
    """Teacher's force error on structures the student itself went to."""

    distance_mae_over_noise: PositiveFloat | None = None
    """Difference of the distance distributions, student against teacher, in units of the sampling noise."""

    speed_up: PositiveFloat | None = None
    """Teacher's time per call over the student's, at least."""


class ValidationSettings(Settings):
    """Config group ``validation``."""

    batch_size: PositiveInt = 32
    """Structures per batched call of the student."""

    seed: int = 0
    """Of the initial velocities and of the moves between timed calls."""

    molecular_dynamics: MolecularDynamicsSettings | None = MolecularDynamicsSettings()
    """null: no dynamics."""

    timing: TimingSettings | None = TimingSettings()
    """null: no timing."""

    gates: GateSettings = GateSettings()
