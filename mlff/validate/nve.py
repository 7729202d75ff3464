"""Molecular dynamics of a student at constant energy: does it hold its energy, its temperature and its bonds?"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import BaseCalculator, CalculatorError
from ase.md.verlet import VelocityVerlet
from ase.optimize import LBFGS

from mlff.validate.bonds import Bonds
from mlff.validate.nve_state import NveState
from mlff.validate.settings import MolecularDynamicsSettings
from mlff.validate.stability import Stability, Trajectory, measure_stability
from training import profiling
from training.errors import InputError
from training.progress import Progress

REPORT_EVERY = 50
"""Steps between movements of the progress bar."""


def run_nve(
    atoms: Atoms,
    calculator: BaseCalculator,
    settings: MolecularDynamicsSettings,
    path: Path,
    progress: Progress,
    seed: int = 0,
    student: str = "",
    reference: Sequence[Atoms] = (),
    check: Callable[[], None] = lambda: None,
) -> tuple[Stability, Trajectory]:
    """Relax, heat and run at constant energy, to the end or to the first failure; a killed run continues from its file.

    At every save the calculator is told to forget (``reset``), in the uninterrupted run too, so that both have the same
    history: with a calculator that remembers nothing beyond that, the continued trajectory is equal to the last bit.

    Args:
        atoms: the start, near a minimum; it also says which atoms are bonded. Not changed.
        calculator: the student.
        settings: length, temperature and bookkeeping.
        path: file for the state, ``.safetensors``; a finished one is read and not run again.
        progress: where the user looks.
        seed: of the velocities.
        student: fingerprint of the student, so that states of two students never mix.
        reference: frames of the same atoms whose mean bond lengths are the usual ones.
        check: called after every save; may raise to stop the run, as ``Interruption.check`` does.

    Raises:
        InputError: if there is nothing that can move, or the file belongs to another run.
    """
    if len(atoms) < 2:
        raise InputError("Dynamics at constant energy need at least two atoms; set validation.molecular_dynamics=null.")
    moving = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    moving.set_masses(atoms.get_masses())
    moving.calc = calculator
    bonds, identity = Bonds(atoms, reference), _identity(atoms, settings, seed, student)
    run = _Run(moving, settings, path, progress, seed, bonds, identity, degrees_of_freedom(atoms), check)
    if path.exists():
        state = NveState.load(path, run.identity)
    else:
        state = run.prepare()
        state.save(path, run.identity)
    if state.step < settings.steps and not state.failure:
        run.integrate(state)
    return run.stability(state), run.trajectory(state)


def thermalise(atoms: Atoms, temperature_K: float, random: np.random.Generator) -> None:
    """Maxwell–Boltzmann velocities of exactly this temperature, without momentum and, for a molecule, rotation."""
    spread = np.sqrt(atoms.get_masses() * units.kB * temperature_K)
    momenta = spread[:, None] * random.standard_normal((len(atoms), 3))
    momenta -= atoms.get_masses()[:, None] * momenta.sum(axis=0) / atoms.get_masses().sum()
    if not atoms.pbc.any():
        momenta = _without_rotation(atoms, momenta)
    atoms.set_momenta(momenta)
    aim = 0.5 * degrees_of_freedom(atoms) * units.kB * temperature_K
    atoms.set_momenta(atoms.get_momenta() * np.sqrt(aim / atoms.get_kinetic_energy()))


def _without_rotation(atoms: Atoms, momenta: np.ndarray) -> np.ndarray:
    """Momenta less those of the rigid rotation with their angular momentum; a linear molecule has no third axis."""
    masses = atoms.get_masses()[:, None]
    arms = atoms.positions - atoms.get_center_of_mass()
    inertia = np.sum(
        masses[..., None] * (np.eye(3) * (arms**2).sum(1)[:, None, None] - arms[:, :, None] * arms[:, None]), 0
    )
    spin = np.linalg.pinv(inertia, rcond=1e-6, hermitian=True) @ np.cross(arms, momenta).sum(axis=0)
    return momenta - masses * np.cross(spin, arms)


def degrees_of_freedom(atoms: Atoms) -> int:
    """Directions in which atoms move once momentum and, for a molecule, rotation are gone."""
    if atoms.pbc.any():
        return 3 * len(atoms) - 3
    moments = atoms.get_moments_of_inertia()
    return 3 * len(atoms) - 3 - int((moments > 1e-6 * moments.max()).sum())


def _identity(atoms: Atoms, settings: MolecularDynamicsSettings, seed: int, student: str) -> dict[str, Any]:
    return {
        **settings.model_dump(mode="json", exclude={"teacher_frames"}),
        **{"seed": seed, "student": student, "elements": atoms.numbers.tolist(), "start": atoms.positions.tolist()},
    }


@dataclass(frozen=True)
class _Run:
    atoms: Atoms
    settings: MolecularDynamicsSettings
    path: Path
    progress: Progress
    seed: int
    bonds: Bonds
    identity: dict[str, Any]
    degrees_of_freedom: int
    check: Callable[[], None]

    @property
    def frame_every(self) -> int:
        return max(1, self.settings.steps // self.settings.frames)

    def prepare(self) -> NveState:
        """The structure the student relaxed, with all thermal energy in its velocities."""
        failure, steps, fmax, forces = "", 0, None, np.full((len(self.atoms), 3), np.nan)
        with self.progress.phase("Student relaxation", unit="steps") as phase:
            relaxation = LBFGS(self.atoms, logfile=None)  # type: ignore[arg-type]
            try:
                relaxation.run(fmax=self.settings.relaxation_fmax_eV_per_A, steps=self.settings.relaxation_steps)
                forces = self.atoms.get_forces()
                fmax = float(np.linalg.norm(forces, axis=1).max())
                failure = self._broken(self.atoms.positions, forces, "after the relaxation")
            except (InputError, CalculatorError) as error:
                failure = f"the relaxation stopped: {error}"
            steps = relaxation.nsteps
            phase.advance(steps, note=failure or f"largest force {fmax:.4f} eV/Å")
        thermalise(self.atoms, 2 * self.settings.temperature_K, np.random.default_rng(self.seed))
        samples, frames = self.settings.steps // self.settings.log_every, self.settings.steps // self.frame_every
        return NveState(
            step=-self.settings.thermalisation_steps,
            positions=self.atoms.get_positions(),
            momenta=self.atoms.get_momenta(),
            forces=forces,
            potential=np.full(samples, np.nan),
            kinetic=np.full(samples, np.nan),
            deviation=np.full(samples, np.nan),
            frames=np.full((frames, len(self.atoms), 3), np.nan),
            failure=failure,
            notes={"relaxation_steps": steps, "relaxation_fmax_eV_per_A": fmax},
        )

    def integrate(self, state: NveState) -> None:
        """Velocity Verlet from the state to the end or the first failure, saved at regular steps and at the end."""
        self.atoms.set_positions(state.positions)
        self.atoms.set_momenta(state.momenta)
        self.atoms.calc.reset()
        dynamics = VelocityVerlet(self.atoms, timestep=self.settings.timestep_fs * units.fs)
        first, noted = -self.settings.thermalisation_steps, state.step
        start = time.perf_counter() - state.seconds
        with self.progress.phase("Student dynamics", self.settings.steps - first, "steps", state.step - first) as phase:
            while state.step < self.settings.steps and not state.failure:
                self._advance(state, dynamics)
                if state.step % REPORT_EVERY == 0:
                    phase.advance(state.step - noted)
                    noted = state.step
                if state.step % self.settings.save_every == 0 or state.step == self.settings.steps or state.failure:
                    state.seconds = time.perf_counter() - start
                    self._save(state)
                    self.check()
            phase.advance(state.step - noted, note=state.failure)

    def _advance(self, state: NveState, dynamics: VelocityVerlet) -> None:
        """One step; what is due at it is noted, and a calculator that gives up ends the run."""
        try:
            with profiling.phase("ASE"):
                state.forces = dynamics.step(state.forces)
        except (InputError, CalculatorError) as error:
            state.failure = f"{error} ({self._when(state)})"
            return
        state.step += 1
        if state.step % self.settings.log_every == 0:
            self._note(state)
        if (
            state.step > 0
            and state.step % self.frame_every == 0
            and state.step // self.frame_every <= len(state.frames)
        ):
            state.frames[state.step // self.frame_every - 1] = self.atoms.positions

    def _note(self, state: NveState) -> None:
        """Energies of the judged part, and the physics stops."""
        kinetic, potential = self.atoms.get_kinetic_energy(), self.atoms.calc.results["energy"]
        sample = state.step // self.settings.log_every - 1
        if sample >= 0:
            state.potential[sample], state.kinetic[sample] = potential, kinetic
            state.deviation[sample], _ = self.bonds.largest_deviation(self.atoms.positions)
        state.failure = self._broken(self.atoms.positions, state.forces, self._when(state))
        temperature = self._temperature(kinetic)
        if not state.failure and temperature > self.settings.explosion_factor * self.settings.temperature_K:
            state.failure = f"the temperature reached {temperature:.0f} K {self._when(state)}"

    def _save(self, state: NveState) -> None:
        state.positions, state.momenta = self.atoms.get_positions(), self.atoms.get_momenta()
        state.save(self.path, self.identity)
        self.atoms.calc.reset()

    def _broken(self, positions: np.ndarray, forces: np.ndarray, when: str) -> str:
        """Why this is no structure of the molecule any more; empty if it is one."""
        if not (np.isfinite(positions).all() and np.isfinite(forces).all()):
            return f"a position or force is not a number {when}"
        deviation, bond = self.bonds.largest_deviation(positions)
        limit = self.settings.bond_limit_A
        return f"the bond {bond} is {deviation:.2f} Å from its usual length {when}" if deviation > limit else ""

    def _when(self, state: NveState) -> str:
        time_ps = state.step * self.settings.timestep_fs / 1000
        return f"at {time_ps:.3f} ps" if time_ps > 0 else f"{-time_ps:.3f} ps before the end of thermalisation"

    def _temperature(self, kinetic: np.ndarray) -> np.ndarray:
        return 2 * kinetic / (self.degrees_of_freedom * units.kB)

    def trajectory(self, state: NveState) -> Trajectory:
        noted, kept = np.isfinite(state.kinetic), np.isfinite(state.frames).all(axis=(1, 2))
        step_ps = self.settings.timestep_fs / 1000
        frames = []
        for positions in state.frames[kept]:
            frame = self.atoms.copy()
            frame.set_momenta(None)
            frame.set_positions(positions)
            frames.append(frame)
        return Trajectory(
            n_atoms=len(self.atoms),
            time_ps=step_ps * self.settings.log_every * (1 + np.flatnonzero(noted)),
            potential_eV=state.potential[noted],
            kinetic_eV=state.kinetic[noted],
            temperature_K=self._temperature(state.kinetic[noted]),
            frame_time_ps=step_ps * self.frame_every * (1 + np.flatnonzero(kept)),
            frames=frames,
        )

    def stability(self, state: NveState) -> Stability:
        per_step = max(state.step + self.settings.thermalisation_steps, 1)
        deviations = state.deviation[np.isfinite(state.deviation)]
        return measure_stability(
            self.trajectory(state),
            survived=not state.failure,
            failure=state.failure,
            duration_ps=max(state.step, 0) * self.settings.timestep_fs / 1000,
            timestep_fs=self.settings.timestep_fs,
            bonds=len(self.bonds),
            largest_bond_deviation_A=float(deviations.max()) if len(deviations) else None,
            seconds_per_step=state.seconds / per_step if state.seconds else None,
            **state.notes,
        )
