"""Labelled structures from and to the files users have: extended XYZ, ASE databases, ASE LMDB databases.

Values are taken as ASE's units: eV, Å, eV/Å, stress in eV/Å³ with ASE's sign; a virial W is turned into −W/V. What was
found under which key is said in a `LabelSummary`; a missing energy or force is an error, never a zero.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import iread, write
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress

from mlff.data.label_keys import Frame, find_key, is_virial, missing, numbers
from mlff.data.records import Labels, Record
from training.errors import InputError
from training.files import write_atomically

_log = logging.getLogger(__name__)

# What text files keep of an energy (8 decimals) adds up over the atoms; a true sum over atoms agrees better than this.
SUM_TOLERANCE = 1e-6  # eV per atom


@dataclass(frozen=True)
class LabelSummary:
    """What was found in a file.

    Attributes:
        path: the file.
        frames: structures in it.
        energy_key, forces_key: where the labels were.
        stress_key: where the stress was, or None.
        with_stress: frames whose stress is used: periodic in all directions, with a stress in the file.
        with_energies: frames with energies per atom that add up to the energy.
        remarks: what a user should know about the choices.
    """

    path: Path
    frames: int
    energy_key: str
    forces_key: str
    stress_key: str | None
    with_stress: int
    with_energies: int
    remarks: tuple[str, ...]

    def __str__(self) -> str:
        stress = f"stress from {self.stress_key!r} ({self.with_stress} frames)" if self.with_stress else "no stress"
        energies = f", energies per atom ({self.with_energies} frames)" if self.with_energies else ""
        head = (
            f"{self.path.name}: {self.frames} frames, energy from {self.energy_key!r}, forces from {self.forces_key!r}"
        )
        return "\n  ".join([f"{head}, {stress}{energies}; read as eV, Å, eV/Å, eV/Å³", *self.remarks])


def read_labelled(
    path: Path | str,
    energy_key: str | None = None,
    forces_key: str | None = None,
    stress_key: str | None = None,
    say: Callable[[str], None] = _log.info,
) -> list[Record]:
    """The labelled structures of a file, and one line to ``say`` that names the keys used; see `load_labelled`."""
    records, summary = load_labelled(path, energy_key, forces_key, stress_key)
    say(str(summary))
    return records


def load_labelled(
    path: Path | str, energy_key: str | None = None, forces_key: str | None = None, stress_key: str | None = None
) -> tuple[list[Record], LabelSummary]:
    """The labelled structures of a file and what was found in it.

    One file is one trajectory, unless its frames carry a property ``trajectory``. A lattice is periodic only where the
    file's ``pbc`` says so (extended XYZ without ``pbc`` is periodic, as everywhere in ASE).

    Args:
        path: extended XYZ (.xyz, .extxyz), ASE database (.db), ASE LMDB database (.aselmdb), or another file ASE reads.
        energy_key, forces_key, stress_key: where the labels are, if the known names do not suffice. A stress key with
            "virial" in its name is read as virial.

    Raises:
        InputError: if the file cannot be read or is empty, labels are missing on any frame, not finite, or ambiguous.
    """
    path = Path(path)
    structures, frames = [], []
    for number, (atoms, values) in enumerate(_read(path)):
        structures.append(atoms)
        frames.append(Frame(f"frame {number} ({atoms.get_chemical_formula()}) of {path.name}", values))
    if not frames:
        raise InputError(f"{path} holds no structures.")
    keys: dict[str, str] = {}
    remarks: list[str] = []
    for kind, asked in (("energy", energy_key), ("forces", forces_key), ("stress", stress_key)):
        key, remark = find_key(kind, frames, asked)
        if key is not None:
            keys[kind] = key
        remarks += [f"{kind} from {key!r}: {remark}"] if remark else []
    records = [_record(path, atoms, frame, keys) for atoms, frame in zip(structures, frames, strict=True)]
    return records, _summarise(path, records, frames, keys, remarks)


def read_isolated_atoms(path: Path | str, energy_key: str | None = None) -> dict[int, float]:
    """Energies in eV of isolated atoms by atomic number, from a file of frames with one atom each; needs no forces.

    Raises:
        InputError: if a frame holds several atoms or lacks the energy, or an element appears twice.
    """
    path = Path(path)
    energies: dict[int, float] = {}
    read = list(_read(path))
    frames = [Frame(f"frame {n} ({a.get_chemical_formula()}) of {path.name}", v) for n, (a, v) in enumerate(read)]
    if not frames:
        raise InputError(f"{path} holds no structures.")
    key, _ = find_key("energy", frames, energy_key)
    assert key is not None  # find_key raises where there is no energy
    for (atoms, _), frame in zip(read, frames, strict=True):
        if len(atoms) != 1 or int(atoms.numbers[0]) in energies:
            raise InputError(f"{frame} should be one isolated atom, each element once.")
        if key not in frame.values:
            raise missing("energy", frame, key)
        energies[int(atoms.numbers[0])] = float(numbers(frame, key, ()))
    return energies


def write_extxyz(path: Path, records: Sequence[Record]) -> None:
    """Extended XYZ under ASE's own keys; positions and forces keep 8 decimals, as ASE writes them.

    Raises:
        InputError: if a record has no labels or the file cannot be written.
    """
    images = []
    for record in records:
        atoms = _with_results(record)
        atoms.info = _names(record)
        images.append(atoms)
    write_atomically(Path(path), lambda temporary: write(temporary, images, format="extxyz"))


def write_ase_db(path: Path, records: Sequence[Record]) -> None:
    """ASE's SQLite database; names and per-atom energies are in each row's ``data``.

    Raises:
        InputError: if a record has no labels or the file cannot be written.
    """
    write_atomically(Path(path), lambda temporary: _fill_database(temporary, "db", records))


def write_aselmdb(path: Path, records: Sequence[Record]) -> None:
    """ASE's LMDB database (package ase-db-backends); names and per-atom energies are in each row's ``data``.

    Raises:
        InputError: if a record has no labels, the package is not installed, or the file cannot be written.
    """
    _require_aselmdb()
    write_atomically(Path(path), lambda temporary: _fill_database(temporary, "aselmdb", records))


def _read(path: Path) -> Iterator[tuple[Atoms, dict[str, Any]]]:
    """Every structure with all values found beside it."""
    if not path.is_file():
        raise InputError(f"The data file {path} does not exist.")
    if path.suffix in (".aselmdb", ".lmdb"):
        _require_aselmdb()
        yield from _read_database(path, "aselmdb")
    elif path.suffix == ".db":
        yield from _read_database(path, "db")
    else:
        yield from _read_frames(path, "extxyz" if path.suffix in (".xyz", ".extxyz") else None)


def _read_frames(path: Path, kind: str | None) -> Iterator[tuple[Atoms, dict[str, Any]]]:
    try:
        for atoms in iread(path, index=":", format=kind):
            arrays = {k: v for k, v in atoms.arrays.items() if k not in ("numbers", "positions")}
            yield atoms, arrays | atoms.info | (atoms.calc.results if atoms.calc is not None else {})
    except Exception as error:  # ASE's readers raise whatever their parsing runs into
        raise InputError(f"ASE cannot read {path}: {type(error).__name__}, {error}") from error


def _read_database(path: Path, kind: str) -> Iterator[tuple[Atoms, dict[str, Any]]]:
    from ase.db import connect

    try:
        options = {"readonly": True} if kind == "aselmdb" else {}
        database = connect(path, type=kind, **options)
        _require_units(path, database.metadata)
        for row in database.select():
            atoms = row.toatoms()
            results = atoms.calc.results if atoms.calc is not None else {}
            yield atoms, dict(row.data) | dict(row.key_value_pairs) | results
    except InputError:
        raise
    except Exception as error:  # as above; also SQLite's and LMDB's own errors
        raise InputError(f"ASE cannot read {path}: {type(error).__name__}, {error}") from error


def _require_units(path: Path, metadata: dict[str, Any]) -> None:
    """SchNetPack's databases name the units of their labels; others are refused, because nothing here converts."""
    length = ("Ang", "A", "Angstrom")
    accepted = {
        "energy": {"eV"},
        "forces": {f"eV/{unit}" for unit in length},
        "stress": {f"eV/{unit}{power}" for unit in length for power in ("^3", "**3")},
        "distances": set(length),
    }
    units = dict(metadata.get("_property_unit_dict") or {})
    if "_distance_unit" in metadata:
        units["distances"] = metadata["_distance_unit"]
    wrong = {name: units[name] for name in accepted if name in units and str(units[name]) not in accepted[name]}
    if wrong:
        named = ", ".join(f"{name} in {unit}" for name, unit in wrong.items())
        raise InputError(f"{path} holds {named}; eV and Å are needed. Convert the database first.")


def _require_aselmdb() -> None:
    try:
        import ase_db_backends.aselmdb  # noqa: F401
    except ImportError as error:
        raise InputError("ASE LMDB databases need a package: pip install 'limbeck[aselmdb]'.") from error


def _record(path: Path, atoms: Atoms, frame: Frame, keys: dict[str, str]) -> Record:
    n_atoms = len(atoms)
    for kind in ("energy", "forces"):
        if keys[kind] not in frame.values:
            raise missing(kind, frame, keys[kind])
    if not np.isfinite(atoms.positions).all():
        raise InputError(f"The positions of {frame} are not finite (NaN or infinite).")
    energy = float(numbers(frame, keys["energy"], ()))
    group = frame.values.get("config_type", frame.values.get("group"))
    return Record(
        atoms=Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc),
        trajectory=str(frame.values.get("trajectory", path.name)),
        source=str(frame.values.get("source", path.name if group is None else f"{path.name}, {group}")),
        labels=Labels(
            energy=energy,
            forces=numbers(frame, keys["forces"], (n_atoms, 3)),
            energies=_energies(frame, n_atoms, energy),
            stress=_stress(frame, atoms, keys.get("stress")),
        ),
        rejected=str(frame.values.get("rejected", "")),
    )


def _energies(frame: Frame, n_atoms: int, energy: float) -> np.ndarray | None:
    """Energies per atom, if they are there and add up to the energy."""
    if "energies" not in frame.values:
        return None
    energies = numbers(frame, "energies", (n_atoms,))
    return energies if abs(energies.sum() - energy) <= SUM_TOLERANCE * max(n_atoms, 1) else None


def _stress(frame: Frame, atoms: Atoms, key: str | None) -> np.ndarray | None:
    """(3, 3) eV/Å³, or None where there is none or the structure is not periodic in all directions."""
    if key is None or key not in frame.values or not atoms.pbc.all():
        return None
    six = np.size(frame.values[key]) == 6
    value = numbers(frame, key, (6,) if six else (3, 3))
    stress = voigt_6_to_full_3x3_stress(value) if six else (value + value.T) / 2
    return -stress / atoms.get_volume() if is_virial(key) else stress


def _summarise(
    path: Path, records: Sequence[Record], frames: Sequence[Frame], keys: dict[str, str], remarks: list[str]
) -> LabelSummary:
    labels = [record.labels for record in records if record.labels is not None]
    still = sum(not label.forces.any() for label in labels)
    if still == len(labels):
        raise InputError(f"All forces under {keys['forces']!r} in {path} are exactly zero: they are placeholders.")
    if still:
        remarks.append(f"{still} frames have forces that are exactly zero; a perfect crystal has, a missing label too")
    stress_key = keys.get("stress")
    with_stress = sum(label.stress is not None for label in labels)
    if stress_key is not None and with_stress < len(records):
        remarks.append(f"{len(records) - with_stress} frames have no stress or are not periodic in all directions")
    if stress_key is not None and is_virial(stress_key):
        remarks.append(f"stress = −{stress_key} / volume")
    with_energies = sum(label.energies is not None for label in labels)
    unused = sum("energies" in frame.values for frame in frames) - with_energies
    if unused:
        remarks.append(f"energies per atom of {unused} frames do not add up to the energy and are not used")
    return LabelSummary(
        path, len(records), keys["energy"], keys["forces"], stress_key, with_stress, with_energies, tuple(remarks)
    )


def _with_results(record: Record) -> Atoms:
    if record.labels is None:
        formula = record.atoms.get_chemical_formula()
        raise InputError(f"A structure ({formula}, {record.source}) has no labels; export labelled ones only.")
    atoms, labels = record.atoms.copy(), record.labels
    results = {"energy": labels.energy, "forces": labels.forces}
    if labels.energies is not None:
        results["energies"] = labels.energies
    if labels.stress is not None:
        results["stress"] = full_3x3_to_voigt_6_stress(labels.stress)
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def _names(record: Record) -> dict[str, str]:
    names = {"trajectory": record.trajectory, "source": record.source}
    return names | ({"rejected": record.rejected} if record.rejected else {})


def _fill_database(path: Path, kind: str, records: Sequence[Record]) -> None:
    from ase.db import connect

    rows: list[tuple[Atoms, dict[str, Any]]] = []
    for record in records:
        atoms, data = _with_results(record), dict(_names(record))
        # ASE's SQLite drops energies per atom from the results
        rows.append((atoms, data | {k: v for k, v in atoms.calc.results.items() if k == "energies"}))
    path.unlink()  # a database is made where there is no file
    try:
        with connect(path, type=kind, use_lock_file=False) as database:
            for atoms, data in rows:
                database.write(atoms, data=data)
    finally:
        path.with_name(f"{path.name}-lock").unlink(missing_ok=True)
