"""Student and teacher timed side by side: same process, same structures, call by call in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator

from mlff.validate.settings import TimingSettings
from training.errors import InputError
from training.progress import Progress

FEWEST_CALLS = 3


@dataclass(frozen=True)
class Contender:
    """One calculator in the comparison.

    Attributes:
        name: as the report calls it.
        calculator: energy and forces are asked of it.
        threads: how many it computes with; stated in the report.
        use_threads: sets that number before every call, outside the clock (``torch.set_num_threads``); None where the
            number is fixed from outside (``OMP_NUM_THREADS=1``).
    """

    name: str
    calculator: BaseCalculator
    threads: int
    use_threads: Callable[[int], None] | None = None


@dataclass(frozen=True)
class CallTimes:
    """Wall time of single calls for energy and forces, neighbour lists included.

    Attributes:
        name: of the contender.
        threads: it computed with.
        seconds: (n_calls,) every timed call, in order.
    """

    name: str
    threads: int
    seconds: tuple[float, ...]

    @property
    def median_ms(self) -> float:
        return 1000 * float(np.median(self.seconds))

    @property
    def quartiles_ms(self) -> tuple[float, float]:
        """A quarter of the calls is faster than the first, a quarter slower than the second."""
        low, high = np.percentile(self.seconds, (25, 75))
        return 1000 * float(low), 1000 * float(high)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; units are in the keys."""
        low, high = self.quartiles_ms
        return {**asdict(self), "seconds": list(self.seconds), "median_ms": self.median_ms, "quartiles_ms": [low, high]}


@dataclass(frozen=True)
class Timing:
    """Latency of contenders, student first and teacher last, and the student's throughput in batches.

    Attributes:
        atoms: in the structure.
        contenders: times of each.
        batched_ms_per_structure: student's time per structure in a batched call; None where it has none.
        batch: structures in that call.
    """

    atoms: int
    contenders: tuple[CallTimes, ...]
    batched_ms_per_structure: float | None = None
    batch: int | None = None

    @property
    def speed_up(self) -> float:
        """Teacher's median over the student's, both as stated in ``contenders``."""
        return self.contenders[-1].median_ms / self.contenders[0].median_ms

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; units are in the keys."""
        return {
            "atoms": self.atoms,
            "contenders": [times.to_dict() for times in self.contenders],
            "speed_up": self.speed_up,
            "batched_ms_per_structure": self.batched_ms_per_structure,
            "batch": self.batch,
        }


def time_side_by_side(
    contenders: Sequence[Contender],
    structures: Sequence[Atoms],
    settings: TimingSettings,
    progress: Progress,
    seed: int = 0,
) -> Timing:
    """Time calls for energy and forces in turn, so that a busy machine slows all contenders alike.

    Atoms move before every call, since ASE answers from memory for atoms that did not; each contender gets the same
    structures. What is timed is what dynamics pay: the calculator's neighbour list and all conversions included.

    Args:
        contenders: the student first, the teacher last.
        structures: of the same size, such as frames of dynamics.
        settings: how many calls, and how the atoms move.
        progress: where the user looks.
        seed: of the moves.

    Raises:
        InputError: without structures, or if they differ in size.
    """
    if not structures or len({len(atoms) for atoms in structures}) != 1:
        raise InputError("Timing needs structures of one size; give frames of one system.")
    seconds: list[list[float]] = [[] for _ in contenders]
    random = np.random.default_rng(seed)
    started = time.perf_counter()
    with progress.phase("Student and teacher timed", total=settings.warm_up + settings.calls, unit="calls") as phase:
        for call in range(settings.warm_up + settings.calls):
            atoms = _moved(structures[call // settings.calls_per_frame % len(structures)], settings.step_A, random)
            for times, contender in zip(seconds, contenders, strict=True):
                times.append(_time_call(contender, atoms))
            phase.advance()
            if call + 1 >= FEWEST_CALLS + settings.warm_up and time.perf_counter() - started > settings.max_seconds:
                break
    measured = tuple(
        CallTimes(contender.name, contender.threads, tuple(times[settings.warm_up :]))
        for contender, times in zip(contenders, seconds, strict=True)
    )
    batched = _time_batch(contenders[0], structures, settings, random)
    return Timing(len(structures[0]), measured, batched, settings.batch if batched is not None else None)


def _time_call(contender: Contender, atoms: Atoms) -> float:
    if contender.use_threads is not None:
        contender.use_threads(contender.threads)
    atoms = atoms.copy()
    atoms.calc = contender.calculator
    start = time.perf_counter()
    atoms.get_forces()
    atoms.get_potential_energy()
    return time.perf_counter() - start


def _time_batch(
    student: Contender, structures: Sequence[Atoms], settings: TimingSettings, random: np.random.Generator
) -> float | None:
    """Milliseconds per structure in a batched call: the median of three, after one to warm up."""
    calculate_many = getattr(student.calculator, "calculate_many", None)
    if calculate_many is None:
        return None
    if student.use_threads is not None:
        student.use_threads(student.threads)
    seconds = []
    for _ in range(4):
        batch = [_moved(structures[i % len(structures)], settings.step_A, random) for i in range(settings.batch)]
        start = time.perf_counter()
        calculate_many(batch)
        seconds.append(time.perf_counter() - start)
    return 1000 * float(np.median(seconds[1:])) / settings.batch


def _moved(atoms: Atoms, step_A: float, random: np.random.Generator) -> Atoms:
    moved = atoms.copy()
    moved.set_constraint()
    moved.set_positions(atoms.positions + step_A / np.sqrt(3) * random.standard_normal((len(atoms), 3)))
    return moved
