"""A teacher: any ASE calculator behind a name, a fingerprint and a record of what it can do."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import inspect
import json
import time
from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator

from mlff.teachers.evaluate import PropertyMissing, TeacherFailed, evaluate
from mlff.teachers.settings import TeacherSettings
from training.engines import Engine, SerialEngine
from training.errors import ConfigurationError, InputError
from training.progress import duration

PACKAGES = {
    "chgnet": "chgnet",
    "fairchem": "fairchem-core",
    "gpaw": "gpaw",
    "mace": "mace-torch",
    "mattersim": "mattersim",
    "orb_models": "orb-models",
    "pyscf": "pyscf",
    "sevenn": "sevenn",
    "tblite": "tblite",
    "torchani": "torchani",
    "xtb": "xtb",
}
"""What to install for a calculator's module where the two names are not to be guessed."""

PROBE_SECONDS = 0.5
"""A probe repeats the call for about this long, so that a fast teacher's time per call means something."""

COLD_SECONDS = 10.0
"""A first call that takes less than this is timed again, because most of it may be loading and starting up."""


class Speaker(Protocol):
    """Where messages to the user go."""

    def say(self, text: str) -> None:
        """One message."""


@dataclass(frozen=True)
class Capabilities:
    """What a teacher has proved it can do for a structure.

    Attributes:
        properties: what it can be asked for.
        seconds_per_call: time for all of them together.
        notes: declared properties that had to be dropped, and why.
    """

    properties: frozenset[str]
    seconds_per_call: float
    notes: tuple[str, ...] = ()

    def cost(self, calls: int, workers: int) -> str:
        """What so many calls will take: ``3,400 teacher calls × 6.1 ms / 2 workers ≈ 10 s``."""
        total = calls * self.seconds_per_call / workers
        each = (
            f"{self.seconds_per_call * 1e3:.2g} ms" if self.seconds_per_call < 0.1 else duration(self.seconds_per_call)
        )
        who = "1 worker" if workers == 1 else f"{workers} workers"
        return f"{calls:,} teacher calls × {each} / {who} ≈ {duration(total)}"


class Teacher:
    """An ASE calculator that can be built again in any process; picklable.

    Args:
        settings: which calculator, and what is known of it.
    """

    def __init__(self, settings: TeacherSettings) -> None:
        self.settings = settings
        self._live: BaseCalculator | None = None

    @classmethod
    def from_calculator(cls, calculator: BaseCalculator, name: str = "", licence: str = "unknown") -> Teacher:
        """A teacher around a calculator that exists already; it answers in this process only.

        Args:
            calculator: any ASE calculator.
            name: for tables and reports; the name of its class unless given.
            licence: of the teacher.

        Raises:
            InputError: if it is no ASE calculator.
        """
        kind = type(calculator)
        path = f"{kind.__module__}.{kind.__qualname__}"
        _require_calculator(calculator, path)
        offered = getattr(calculator, "implemented_properties", [])
        teacher = cls(
            TeacherSettings(
                name=name or kind.__name__,
                calculator=path.replace("<locals>.", ""),
                arguments=_plain(getattr(calculator, "parameters", {})),
                properties=["energy", "forces", *(p for p in ("energies", "stress") if p in offered)],
                licence=licence,
            )
        )
        teacher._live = calculator
        return teacher

    @property
    def name(self) -> str:
        return self.settings.name

    def build(self) -> BaseCalculator:
        """A fresh calculator, or the live one this teacher wraps.

        Raises:
            ConfigurationError: if its package is not installed (names it and the command to install it), the path does
                not exist in it, or the arguments are refused.
        """
        if self._live is not None:
            return self._live
        maker = _import(self.settings.calculator)
        try:
            calculator = maker(**self.settings.arguments)
        except Exception as error:
            raise ConfigurationError(
                f"Teacher {self.name}: {self.settings.calculator} refuses teacher.arguments="
                f"{self.settings.arguments}: {type(error).__name__}: {error}"
            ) from error
        return _require_calculator(calculator, self.settings.calculator)

    def calculator(self) -> BaseCalculator:
        """The calculator for one piece of work: fresh if it keeps state between calls, else one for this process."""
        if self._live is not None or self.settings.keeps_state:
            return self.build()
        return _kept(self.settings.model_dump_json())

    def engine(self, engine: Engine, progress: Speaker) -> Engine:
        """The engine this teacher can work on: a live calculator stays in this process, which is said."""
        if self._live is None or isinstance(engine, SerialEngine):
            return engine
        progress.say(f"{self.name} is a live calculator, so its calls run one after another in this process.")
        return SerialEngine()

    def fingerprint(self) -> str:
        """SHA-256 of what the numbers depend on: calculator, version of its package, arguments, files they name."""
        identity = {
            "calculator": self.settings.calculator,
            "version": _version(self.settings.calculator),
            "arguments": _by_content(self.settings.arguments),
        }
        return hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()

    def describe(self) -> dict[str, Any]:
        """What travels with labels and students, as JSON values."""
        described = self.settings.model_dump(mode="json")
        return {"fingerprint": self.fingerprint(), "version": _version(self.settings.calculator), **described}

    def check(self, atoms: Atoms, required: Collection[str] = ("energy", "forces")) -> Capabilities:
        """Really ask about one structure, before anything is spent.

        Args:
            atoms: a structure of the kind that will be labelled.
            required: properties the run cannot do without.

        Returns:
            what it can do: declared and required properties, less those it declares and does not have. Stress is asked
            for periodic structures only.

        Raises:
            InputError: if it fails on this structure, or lacks a required property; names both.
            ConfigurationError: as `build` does.
        """
        calculator = self.calculator()
        formula = atoms.get_chemical_formula()
        properties, notes = {"energy", "forces"}, []
        start = time.perf_counter()
        self._probe(calculator, atoms, properties, formula)
        seconds = time.perf_counter() - start
        optional = (set(self.settings.properties) | set(required)) - properties
        if not atoms.pbc.all() and "stress" not in required:
            optional -= {"stress"}
        for name in sorted(optional):
            try:
                evaluate(calculator, atoms, {name})
                properties.add(name)
            except TeacherFailed as error:
                if name in required:
                    raise InputError(f"Teacher {self.name} cannot give {name} for {formula}: {error}.") from error
                notes.append(f"{self.name} declares {name}, but: {error}; it is not used")
        if seconds < COLD_SECONDS:
            seconds = _seconds_per_call(calculator, atoms, properties)
        return Capabilities(frozenset(properties), seconds, tuple(notes))

    def _probe(self, calculator: BaseCalculator, atoms: Atoms, properties: set[str], formula: str) -> None:
        try:
            evaluate(calculator, atoms, properties)
        except PropertyMissing as error:
            raise InputError(
                f"Teacher {self.name} cannot teach: {error}, and a student learns from energy and forces. "
                "Choose another teacher."
            ) from error
        except TeacherFailed as error:
            raise InputError(
                f"Teacher {self.name} fails on the first structure ({formula}): {error}. Check teacher.arguments "
                "(elements, charge, spin) and the structure."
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        if self._live is not None:
            raise InputError(f"{self.name} is a live calculator and cannot be sent to other processes: engine=serial.")
        return self.__dict__


def _seconds_per_call(calculator: BaseCalculator, atoms: Atoms, properties: set[str]) -> float:
    """Median over slightly different structures, so that no answer comes from the memory of the calculator."""
    random = np.random.default_rng(0)
    times: list[float] = []
    while not times or (sum(times) < PROBE_SECONDS and len(times) < 20):
        moved = atoms.copy()
        moved.positions += random.normal(scale=0.01, size=moved.positions.shape)
        start = time.perf_counter()
        evaluate(calculator, moved, properties)
        times.append(time.perf_counter() - start)
    return median(times)


@cache
def _kept(settings: str) -> BaseCalculator:
    return Teacher(TeacherSettings.model_validate_json(settings)).build()


def _import(path: str) -> Any:
    module_name, _, name = path.rpartition(".")
    top = module_name.partition(".")[0]
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name == top:
            remedy = f"pip install {PACKAGES.get(top, top.replace('_', '-'))}"
            raise ConfigurationError(f"teacher.calculator={path}: package {top} is not installed: {remedy}") from error
        raise ConfigurationError(f"teacher.calculator={path} cannot be imported: {error}.") from error
    except ImportError as error:
        raise ConfigurationError(f"teacher.calculator={path} cannot be imported: {error}.") from error
    if not hasattr(module, name):
        close = get_close_matches(name, [entry for entry in dir(module) if not entry.startswith("_")])
        hint = f"; did you mean {close[0]}?" if close else "."
        raise ConfigurationError(f"teacher.calculator={path}: module {module_name} has no {name}{hint}")
    return getattr(module, name)


def _require_calculator(candidate: Any, path: str) -> BaseCalculator:
    if inspect.isclass(candidate) or not callable(getattr(candidate, "get_property", None)):
        raise InputError(
            f"{path} gives a {type(candidate).__name__}, which is no ASE calculator (it has no get_property)."
        )
    return candidate


@cache
def _version(path: str) -> str:
    """Version of the distribution that a dotted path belongs to; "unknown" for a module that belongs to none."""
    top = path.partition(".")[0]
    names = importlib.metadata.packages_distributions().get(top, [top])
    try:
        return f"{names[0]} {importlib.metadata.version(names[0])}"
    except importlib.metadata.PackageNotFoundError:
        return f"{top} unknown"


def _by_content(arguments: Any) -> Any:
    """The arguments with files, such as a model's weights, as checksums: their content decides, not their place."""
    if isinstance(arguments, dict):
        return {key: _by_content(value) for key, value in arguments.items()}
    if isinstance(arguments, list | tuple):
        return [_by_content(value) for value in arguments]
    if isinstance(arguments, str) and len(arguments) < 4096 and Path(arguments).is_file():
        with Path(arguments).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return arguments


def _plain(parameters: Any) -> dict[str, Any]:
    """Parameters of a live calculator as JSON values; of what has no JSON form, only the type."""
    return json.loads(json.dumps(dict(parameters), default=_jsonable))


def _jsonable(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else f"<{type(value).__qualname__}>"
