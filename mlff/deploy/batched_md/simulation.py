"""Molecular dynamics of many systems at once with a student: `simulate`.

Integrator, random numbers, neighbour lists, forces and the watch for failures stay on the device; frames and
observations leave it for a thread that writes them. A killed simulation goes on where its last saved state was, on the
CPU bit for bit as if nobody had killed it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from mlff.deploy.batched_md.failures import Watch
from mlff.deploy.batched_md.folder import Output, SimulationFolder
from mlff.deploy.batched_md.forces import Surface, group_systems
from mlff.deploy.batched_md.groups import Forces
from mlff.deploy.batched_md.preparation import (
    check_structures,
    copy_to,
    identify,
    make_integrator,
    read_settings,
    start,
)
from mlff.deploy.batched_md.settings import SimulationSettings
from mlff.deploy.batched_md.state import State
from mlff.deploy.batched_md.systems import Systems
from mlff.deploy.batched_md.trajectory import require_format
from mlff.deploy.calculator import DTYPES, choose_device
from mlff.deploy.export import load_student
from mlff.student import PaiNN
from training import profiling
from training.errors import InputError
from training.files import write_json_atomically
from training.interruption import Interruption
from training.profiling import Profile
from training.progress import Phase, Progress

EDGES_OF_A_GROUP = {"cpu": 20_000, "cuda": 1_000_000}
"""What suits a processor's caches, and what fills a GPU."""

SHOW_SECONDS = 0.5
"""Seconds between movements of the progress bar."""


@dataclass(frozen=True)
class Outcome:
    """How one system fared.

    Attributes:
        name: place in the list and formula; its trajectory is called so.
        steps: taken by it.
        failure: empty, or why and when it was frozen.
    """

    name: str
    steps: int
    failure: str


@dataclass(frozen=True)
class Simulation:
    """What `simulate` leaves behind, besides the files.

    Attributes:
        folder: holds ``trajectory/``, ``observables.csv``, ``summary.json`` and ``state.safetensors``.
        steps: of the whole simulation.
        structures: the last state of every system with momenta, energy and forces; a failed one as it was before it
            failed.
        outcomes: of every system.
        seconds_per_step: wall time of a step of all systems, the writing included.
        profile: where the time went, if asked for.
    """

    folder: Path
    steps: int
    structures: list[Atoms]
    outcomes: list[Outcome]
    seconds_per_step: float
    profile: Profile | None

    @property
    def failed(self) -> list[Outcome]:
        """The systems that were frozen."""
        return [outcome for outcome in self.outcomes if outcome.failure]


def simulate(
    systems: Sequence[Atoms],
    student: str | Path | PaiNN,
    folder: str | Path,
    duration_ps: float,
    ensemble: Literal["nve", "langevin", "npt"] = "nve",
    device: str = "auto",
    dtype: Literal["float32", "float64"] = "float32",
    progress: Progress | None = None,
    profile: bool = False,
    **settings: Any,
) -> Simulation:
    """Run molecular dynamics of many systems at once; called again after a kill, it goes on where it was.

    Args:
        systems: molecules and crystals in any mixture; not changed. Those with momenta keep them, the others get
            velocities of ``temperature_K`` without momentum and, if they are molecules, without rotation. Atoms under
            ``FixAtoms`` are held.
        student: ``student.safetensors``, the folder of a run that holds it, or a network.
        folder: for trajectory, observables and state; empty, or that of the same simulation.
        duration_ps: length in ps; a larger one makes a finished simulation longer.
        ensemble: "nve", "langevin" or "npt".
        device: "cpu", "cuda", …; "auto" takes a GPU if there is one.
        dtype: of the network; positions, velocities and sums are float64 always.
        progress: where to report; standard output unless given.
        profile: print where the time went, and name the bottleneck.
        **settings: ``time_step_fs``, ``temperature_K``, ``friction_per_ps``, ``pressure_GPa``, ``seed``,
            ``trajectory``, ``frame_every``, ``observe_every``, …: see
            `mlff.deploy.batched_md.settings.SimulationSettings`.

    Raises:
        InputError: if a setting, structure, student or folder is not usable; names it. Nothing has been computed then.
        Interrupted: after Ctrl-C or SIGTERM; the state is saved.
    """
    chosen = read_settings({"duration_ps": duration_ps, "ensemble": ensemble, **settings})
    if dtype not in DTYPES:
        raise InputError(f"The dtype is float32 or float64; got {dtype!r}.")
    require_format(chosen.trajectory)
    where = choose_device(device)
    model = student if isinstance(student, PaiNN) else load_student(student)[0]
    identity = identify(systems, model, chosen, where, dtype)
    model = copy_to(model, where, DTYPES[dtype])
    edges = check_structures(systems, model, chosen)
    moving = start(systems, chosen, where)
    most = chosen.max_edges or EDGES_OF_A_GROUP[where.type]
    surface = Surface(model, moving, chosen.skin, group_systems(edges, most))
    recorded = Profile() if profile and profiling.active() is None else None
    progress = Progress() if progress is None else progress
    with SimulationFolder(folder) as opened, torch.inference_mode(), Interruption() as interruption:
        run = _Run(moving, surface, chosen, opened, identity, progress, interruption)
        with recorded or nullcontext():
            run.go()
        if recorded is not None:
            progress.say(recorded.table())
        return run.conclude(recorded)


class _Run:
    """One simulation in one process."""

    def __init__(
        self,
        systems: Systems,
        surface: Surface,
        settings: SimulationSettings,
        folder: SimulationFolder,
        identity: dict[str, Any],
        progress: Progress,
        interruption: Interruption,
    ) -> None:
        self.systems, self.surface, self.settings, self.folder = systems, surface, settings, folder
        self.identity, self.progress, self.interruption = identity, progress, interruption
        self.integrator = make_integrator(settings)
        self.watch = Watch(systems, settings.largest_temperature_K)
        self.noise = torch.Generator(systems.device).manual_seed(settings.seed)
        self.with_pressure = bool(systems.pbc.all(dim=1).any())
        self.step, self.seconds, self.told = 0, 0.0, 0
        self.written: dict[str, int] = {}
        if folder.state.exists():
            self.forces = self._restore(State.load(folder.state, identity))
        else:
            self.forces = surface(stress=self.integrator.needs_stress or self.with_pressure)
            self._save_state({})

    def go(self) -> None:
        """From where it is to the end, or until all systems have failed."""
        steps, systems = self.settings.steps, self.systems
        name = f"Dynamics of {systems.n_systems} systems, {systems.n_atoms} atoms"
        with (
            Output(self.folder, systems, self.settings, self.written) as self.output,
            self.progress.phase(name, steps, "steps", min(self.step, steps)) as phase,
        ):
            self._start = self._saved = time.monotonic()
            if self.step == 0:
                self._put_out(phase)
            shown, shown_at = self.step, self._start
            while self.step < steps and self.told < systems.n_systems:
                self._advance()
                self._put_out(phase)
                now = time.monotonic()
                if now - shown_at >= SHOW_SECONDS:
                    phase.advance(self.step - shown)
                    shown, shown_at = self.step, now
                if self.interruption.requested or now - self._saved >= self.settings.save_seconds:
                    self._save()
                    self.interruption.check()
            phase.advance(self.step - shown)
            self._save()
        self._tell_failures()

    def _advance(self) -> None:
        """One step of all systems."""
        systems, self.step = self.systems, self.step + 1
        before = systems.positions, systems.velocities, systems.cell, self.forces
        observed = self.with_pressure and self.step % self.settings.observe_every == 0
        with profiling.phase("integration"):
            self.integrator.begin(systems, self.forces, self.noise)
        forces = self.surface(stress=self.integrator.needs_stress or observed)
        with profiling.phase("integration"):
            self.integrator.finish(systems, forces)
            self.forces = self.watch.judge(systems, forces, before, self.step)

    def _put_out(self, phase: Phase) -> None:
        """What is due at this step: a frame, an observation, news of failures."""
        if self.step % self.settings.frame_every == 0:
            with profiling.phase("output"):
                self.output.frame(self.step, self.systems, self.forces)
        if self.step % self.settings.observe_every == 0:
            with profiling.phase("output"):
                mean = self.output.observe(self.step, self.systems, self.forces)
            if self._tell_failures():
                self.surface.leave_out_failed()
            self.told = int((~self.systems.included).sum())
            phase.advance(0, f"{mean:.0f} K" + (f", {self.told} failed" if self.told else ""))

    def _tell_failures(self) -> int:
        """How many systems have failed that still go through the network, after saying so."""
        failed = torch.nonzero(self.systems.included & ~self.systems.alive)[:, 0].tolist()
        for n in failed:
            self.progress.say(f"  FAILED: {self.systems.names[n]}: {self.watch.describe(n)}. It is frozen there.")
        return len(failed)

    def _save(self) -> None:
        with profiling.phase("saving"):
            now = time.monotonic()
            self.seconds += now - self._start
            self._start = self._saved = now
            self._save_state(self.output.written())

    def _save_state(self, written: dict[str, int]) -> None:
        systems, forces = self.systems, self.forces
        tensors = {
            "positions": systems.positions,
            "velocities": systems.velocities,
            "cell": systems.cell,
            "alive": systems.alive,
            "included": systems.included,
            "forces": forces.forces,
            "energy": forces.energy,
            "closest": forces.closest,
            "reason": self.watch.reason,
            "failed_at": self.watch.step,
            "noise": self.noise.get_state(),
        }
        if forces.stress is not None:
            tensors["stress"] = forces.stress
        State(self.step, tensors, self.identity, written, self.seconds).save(self.folder.state)

    def _restore(self, state: State) -> Forces:
        systems, tensors = self.systems, state.tensors
        self.noise.set_state(tensors.pop("noise"))
        tensors = {name: tensor.to(systems.device) for name, tensor in tensors.items()}
        for name in ("positions", "velocities", "cell", "alive", "included"):
            setattr(systems, name, tensors[name])
        self.watch.reason, self.watch.step = tensors["reason"], tensors["failed_at"]
        self.step, self.seconds, self.written = state.step, state.seconds, state.written
        self.told = int((~systems.included).sum())
        where = f"at {self.step * self.settings.time_step_fs / 1000:g} ps"
        verb = "is finished" if self.step >= self.settings.steps else "continues"
        self.progress.say(f"The simulation in {self.folder.path} {verb} {where}.")
        return Forces(tensors["energy"], tensors["forces"], tensors.get("stress"), tensors["closest"])

    def conclude(self, profile: Profile | None) -> Simulation:
        """The result; ``summary.json`` says it in short."""
        systems, structures = self.systems, []
        energy, forces = self.forces.energy.cpu().numpy(), self.forces.forces.cpu().numpy()
        for n in range(systems.n_systems):
            atoms, (first, last) = systems.atoms(n), systems.first[n : n + 2].tolist()
            atoms.calc = SinglePointCalculator(atoms, energy=float(energy[n, 0]), forces=forces[first:last])
            structures.append(atoms)
        outcomes = []
        for n, name in enumerate(systems.names):
            failure = self.watch.describe(n)
            outcomes.append(Outcome(name, int(self.watch.step[n]) - 1 if failure else self.step, failure))
        per_step = self.seconds / max(self.step, 1)
        failed = {outcome.name: outcome.failure for outcome in outcomes if outcome.failure}
        summary = {
            "steps": self.step,
            "time_ps": self.step * self.settings.time_step_fs / 1000,
            "systems": systems.n_systems,
            "atoms": systems.n_atoms,
            "failed": failed,
            "seconds_per_step": per_step,
            "neighbour_lists": self.surface.builds,
            "settings": self.settings.model_dump(mode="json"),
            **({"profile": profile.to_dict()} if profile is not None else {}),
        }
        write_json_atomically(self.folder.summary, summary)
        count = f"{systems.n_systems} systems; {len(failed)} failed"
        self.progress.say(f"{1e3 * per_step:.3g} ms per step of {count}. Files: {self.folder.path}")
        return Simulation(self.folder.path, self.step, structures, outcomes, per_step, profile)
